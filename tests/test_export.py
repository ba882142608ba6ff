"""A guarded model as one file: the same answers, no chatter, nothing half-written, no need of this package."""

import builtins
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from honeyguard import artifacts
from honeyguard.checks import SHAPE, tiny_task
from honeyguard.defenses import ReverseSigmoid, Rounding
from honeyguard.errors import ClassificationLayerError, MissingExtraError, ModelError, OutputError
from honeyguard.export import export_onnx, export_program
from honeyguard.models import MODELS, find_head, head_features
from honeyguard.types import OwnerData, Protected
from honeyguard.verbs import protect
from tests.conftest import Run

IMAGES = tiny_task(9).images
NAMES = tuple("abcd")


class Branching(nn.Module):
    """A network whose forward depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits if float(logits.sum()) > 0 else -logits


class Squared(Branching):
    """A network without a classification layer."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits**2


def run_onnx(path: Path, images: Tensor) -> dict[str, Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.as_tensor, session.run(names, {"images": images.numpy()})), strict=True))


@pytest.mark.parametrize("name", ["cnn", "lenet"])
def test_both_files_answer_as_the_model_whatever_the_batch(name: str, tmp_path: Path) -> None:
    protected = Protected(MODELS[name]((1, 8, 8), 4).eval(), (ReverseSigmoid(gamma=0.1), Rounding(decimals=3)))
    export_onnx(protected, tmp_path / "model.onnx", SHAPE)
    export_program(protected, tmp_path / "model.pt2", SHAPE)
    program = torch.export.load(tmp_path / "model.pt2").module()
    head = find_head(protected.network, IMAGES[:1])
    for n in (1, 3, 64):
        expected = protected.model(IMAGES[:n]).detach()
        found = run_onnx(tmp_path / "model.onnx", IMAGES[:n])
        torch.testing.assert_close(found["probabilities"], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(found["features"], head_features(protected.network, head, IMAGES[:n]), atol=1e-5, rtol=0)
        torch.testing.assert_close(program(IMAGES[:n]).detach(), expected, atol=1e-6, rtol=0)


def test_uniform_answers_stay_uniform_in_the_file(tmp_path: Path) -> None:
    network = MODELS["cnn"]((1, 8, 8), 4).eval()
    head = find_head(network, IMAGES[:1])
    for parameter in network.get_submodule(head).parameters():
        torch.nn.init.zeros_(parameter)
    export_onnx(ReverseSigmoid().protect(network), tmp_path / "model.onnx", SHAPE, features=False)
    found = run_onnx(tmp_path / "model.onnx", IMAGES[:3])["probabilities"]
    torch.testing.assert_close(torch.as_tensor(found), torch.full((3, 4), 0.25))


def test_the_files_serve_without_this_package(victim: nn.Module, owner: OwnerData, tmp_path: Path) -> None:
    protected = protect(victim, owner, ReverseSigmoid())
    export_onnx(protected, tmp_path / "model.onnx", SHAPE, features=False)
    np.save(tmp_path / "images.npy", IMAGES[:3].numpy())
    script = (
        "import sys; sys.modules['honeyguard'] = None\n"
        "import numpy as np, onnxruntime\n"
        "session = onnxruntime.InferenceSession('model.onnx', providers=['CPUExecutionProvider'])\n"
        "np.save('answers.npy', session.run(None, {'images': np.load('images.npy')})[0])"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), protected.model(IMAGES[:3]).detach(), atol=1e-6)


def test_the_exporter_keeps_quiet(tmp_path: Path) -> None:
    script = (
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from pathlib import Path\n"
        "from honeyguard.export import export_onnx, export_program\n"
        "from honeyguard.models import lenet\n"
        "from honeyguard.types import Protected\n"
        "protected = Protected.of(lenet((1, 8, 8), 4))\n"
        "export_onnx(protected, Path('model.onnx'), (1, 8, 8))\n"
        "export_program(protected, Path('model.pt2'), (1, 8, 8))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("write", [export_onnx, export_program])
def test_a_model_that_cannot_be_exported_leaves_nothing(write: Callable[..., None], tmp_path: Path) -> None:
    keep = {"features": False} if write is export_onnx else {}
    with pytest.raises(ModelError, match="a model that can be exported"):
        write(Protected(Branching()), tmp_path / "model.pt2", SHAPE, **keep)
    assert not list(tmp_path.iterdir())


def test_no_classification_layer_no_features(tmp_path: Path) -> None:
    with pytest.raises(ClassificationLayerError):
        export_onnx(Protected(Squared()), tmp_path / "model.onnx", SHAPE)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(victim: nn.Module) -> None:
    with pytest.raises(OutputError):
        export_onnx(Protected.of(victim), Path("/proc/none/model.onnx"), SHAPE)


def test_without_the_extra(victim: nn.Module, owner: OwnerData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("onnx"):
            raise ImportError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"honeyguard\[onnx\]"):
        export_onnx(Protected.of(victim), tmp_path / "model.onnx", SHAPE)
    artifacts.save(protect(victim, owner, ReverseSigmoid()), tmp_path / "guarded", shape=SHAPE, names=NAMES)
    assert not (tmp_path / "guarded" / "model.onnx").exists()


def test_a_guarded_folder_holds_the_graph_and_its_checksum(victim: nn.Module, owner: OwnerData, tmp_path: Path) -> None:
    protected = protect(victim, owner, ReverseSigmoid())
    artifacts.save(protected, tmp_path / "guarded", shape=SHAPE, names=NAMES)
    sums = json.loads((tmp_path / "guarded" / "manifest.json").read_text())["sha256"]
    assert sums.keys() == {"model.safetensors", "model.onnx"}
    answers = run_onnx(tmp_path / "guarded" / "model.onnx", IMAGES)
    assert answers.keys() == {"probabilities", "features"}
    torch.testing.assert_close(answers["probabilities"], protected.model(IMAGES).detach(), atol=1e-6, rtol=0)
    artifacts.save(Protected(victim), tmp_path / "substitute", shape=SHAPE, names=NAMES)
    assert not (tmp_path / "substitute" / "model.onnx").exists()


def test_saving_goes_on_without_a_graph(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for network, files in ((Branching(), 2), (Squared(), 3)):
        folder = tmp_path / type(network).__name__
        artifacts.save(ReverseSigmoid().protect(network), folder, shape=SHAPE, names=NAMES)
        assert len(list(folder.iterdir())) == files
    (record,) = [r for r in caplog.records if r.name == artifacts.__name__]
    assert "no model.onnx: expected a model that can be exported" in record.message
    assert "\n" not in record.message


def test_the_command(victim: nn.Module, owner: OwnerData, tmp_path: Path, run: Run) -> None:
    protected = protect(victim, owner, ReverseSigmoid(beta=0.5))
    artifacts.save(protected, tmp_path / "guarded", shape=SHAPE, names=NAMES)
    for name in ("model.onnx", "model.pt2"):
        code, text = run("export", tmp_path / "guarded", "--output", tmp_path / name)
        assert code == 0, text
        assert (tmp_path / name).is_file()
    found = run_onnx(tmp_path / "model.onnx", IMAGES[:3])
    torch.testing.assert_close(found["probabilities"], protected.model(IMAGES[:3]).detach(), atol=1e-6, rtol=0)
    code, text = run("export", tmp_path / "guarded", "--output", tmp_path / "model.pb")
    assert code == 2
    assert ".onnx or .pt2" in text
