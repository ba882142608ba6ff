"""The promise to customers survives training, storage and export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from honeyguard import artifacts
from honeyguard.checks import CLASSES, SHAPE, tiny_task
from honeyguard.defenses import Honeypot
from honeyguard.defenses.honeypot.kept import GAP, KeptTop1
from honeyguard.oracle import predict
from honeyguard.types import OwnerData, Protected
from honeyguard.verbs import protect
from tests.defenses.test_contract import SMALL

IMAGES = tiny_task(9).images


def layers(margin: float) -> KeptTop1:
    """The victim is sure of class 1 by its first feature; the honeypot says class 0 of everything."""
    honeypot, victim = nn.Linear(2, 3), nn.Linear(2, 3)
    with torch.no_grad():
        for layer, bias in ((honeypot, [3.0, 1.0, 2.0]), (victim, [0.0, 0.0, 0.0])):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor(bias))
        victim.weight[1, 0] = 5.0
    return KeptTop1(honeypot, victim, margin)


def test_the_victims_class_stays_where_it_is_sure_and_nowhere_else() -> None:
    sure, unsure = layers(0.9)(torch.tensor([[1.0, 0.0], [0.1, 0.0]]))
    torch.testing.assert_close(sure, torch.tensor([1.0 - GAP, 1.0, 1.0 - GAP]))
    assert unsure.tolist() == [3.0, 1.0, 2.0]


def test_a_margin_of_nothing_keeps_every_label(victim: nn.Module, owner: OwnerData) -> None:
    honeypot = SMALL["honeypot"]
    assert isinstance(honeypot, Honeypot)
    loose = replace(
        honeypot, lessons=replace(honeypot.lessons, carriers=50.0, agreement=0.0), carriers=replace(honeypot.carriers, share=0.3)
    )
    spoilt = predict(loose.protect(victim, owner).network, IMAGES).argmax(1)
    kept = predict(replace(loose, keep_top1=0.0).protect(victim, owner).network, IMAGES).argmax(1)
    assert (spoilt != predict(victim, IMAGES).argmax(1)).any()
    assert torch.equal(kept, predict(victim, IMAGES).argmax(1))


@pytest.fixture(params=[1, 2])
def protected(victim: nn.Module, owner: OwnerData, request: pytest.FixtureRequest) -> Protected:
    honeypot = SMALL["honeypot"]
    assert isinstance(honeypot, Honeypot)
    return protect(
        victim,
        owner,
        replace(honeypot, keep_top1=0.8, depth=request.param, lessons=replace(honeypot.lessons, carriers=50.0, agreement=0.0)),
    )


def test_it_is_stored_and_loaded(protected: Protected, tmp_path: Path) -> None:
    artifacts.save(protected, tmp_path / "guarded", shape=SHAPE, names=("a", "b", "c", "d"))
    assert torch.equal(artifacts.load(tmp_path / "guarded")[0].model(IMAGES), protected.model(IMAGES))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_it_is_exported(protected: Protected, tmp_path: Path) -> None:
    torch.onnx.export(protected.model, (IMAGES,), str(tmp_path / "model.onnx"), input_names=["images"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (answers,) = session.run(None, {"images": IMAGES.numpy()})
    np.testing.assert_allclose(answers, protected.model(IMAGES).detach().numpy(), atol=1e-5)
    assert answers.shape[1] == CLASSES
