"""`honeyguard calibrate` and `honeyguard attribute` as an owner meets them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from honeyguard import artifacts
from honeyguard.data import load
from honeyguard.detection.dawn import Marked, Marks, save_marks
from honeyguard.detection.thresholds import Thresholds
from honeyguard.oracle import LabelOnly, Local, predict
from honeyguard.traffic import observed
from honeyguard.training import Network, Recipe
from honeyguard.types import Protected
from tests.conftest import Run

MLP = Network(model="mlp", recipe=Recipe(epochs=12, batch=32, augment="none"))
DIGITS = load("digits")


def saved(network: torch.nn.Module, folder: Path) -> Path:
    artifacts.save(Protected(network), folder, shape=DIGITS.shape, names=DIGITS.names)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guarded model, three models that did not steal, a copy that learnt bob's marked answers by heart, and the marks."""
    folder = tmp_path_factory.mktemp("models")
    guarded = MLP.trained(DIGITS.images[:600], DIGITS.labels[:600], 10, 0)
    saved(guarded, folder / "guarded")
    for i in range(3):
        saved(
            MLP.trained(DIGITS.images[600 + 100 * i : 900 + 100 * i], DIGITS.labels[600 + 100 * i : 900 + 100 * i], 10, i),
            folder / f"innocent{i}",
        )
    marks, remembered = Marks(key=b"0123456789abcdef"), {}
    images = torch.rand(2000, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    answers = predict(Protected(guarded).model, images).numpy()
    for client in ("ann", "bob"):
        told, rows = marks.mark(client, images.numpy(), answers)
        remembered[client] = Marked.of(images.numpy(), told, answers, rows)
    save_marks(folder / "marks.npz", remembered)
    bob = remembered["bob"]
    assert len(bob) >= 6
    saved(MLP.trained(torch.as_tensor(bob.images).repeat(20, 1, 1, 1), torch.as_tensor(bob.told).repeat(20), 10, 9), folder / "copy")
    return folder


def test_features_are_what_the_classification_layer_reads() -> None:
    network = MLP.fresh(DIGITS.shape, 10, 0).eval()
    queries = observed(Protected(network), DIGITS.images[:5])
    logits = network[-1](torch.as_tensor(queries.features))  # type: ignore[index]
    assert torch.softmax(logits, 1).detach().numpy() == pytest.approx(queries.answers, abs=1e-6)
    assert not network[-1]._forward_pre_hooks  # type: ignore[index]


def test_an_oracle_that_shows_no_features_gets_thumbnails() -> None:
    model = Protected(MLP.fresh(DIGITS.shape, 10, 0).eval())
    queries = observed(LabelOnly(Local(model)), DIGITS.images[:5])
    assert queries.features.shape == (5, 64) and (queries.answers.max(1) == 1).all()
    assert observed(Local(model), DIGITS.images[:5]).features.shape == (5, 128)


def test_calibrate_writes_thresholds_that_load(run: Run, models: Path, tmp_path: Path) -> None:
    options = ("--detector", "synthetic", "--detector", "out_of_distribution", "--client-day", "100")
    code, said = run("calibrate", models / "guarded", "--traffic", "digits", "--output", tmp_path / "t.json", *options)
    assert code == 0, said
    assert "with 95 % confidence" in said
    found = Thresholds.load(tmp_path / "t.json")
    assert set(found.values) == {"synthetic", "out_of_distribution"}
    assert found.bound <= found.false_alarms_per_client_day == 0.01
    assert found.client_day == 100
    again = tmp_path / "again.json"
    run("calibrate", models / "guarded", "--traffic", "digits", "--output", again, *options)
    assert again.read_text() == (tmp_path / "t.json").read_text()


def test_attribute_names_who_leaked_and_nobody_else(run: Run, models: Path, tmp_path: Path) -> None:
    controls = [part for i in range(3) for part in ("--controls", models / f"innocent{i}")]
    marks = ("--marks", models / "marks.npz")
    code, said = run("attribute", models / "copy", *marks, *controls, "--output", tmp_path / "a.json")
    assert code == 0, said
    assert "The answers of bob were learnt" in said
    assert json.loads((tmp_path / "a.json").read_text())["attribution"]["named"] == ["bob"]
    code, said = run("attribute", models / "innocent0", *marks, *controls[2:], "--controls", models / "guarded")
    assert code == 0, said
    assert "Nobody is named" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("calibrate {models}/guarded --traffic digits --output t.json --detector prado", "Did you mean 'prada'"),
        ("calibrate {models}/guarded --traffic digits --output t.json --client-day 900", "at least 1800 benign images"),
        ("calibrate {models}/guarded --traffic colour.npz --output t.json", "images (N, 1, 8, 8)"),
        ("calibrate nowhere --traffic digits --output t.json", "a Honeyguard model folder"),
        ("attribute {models}/copy --marks {models}/marks.npz --controls {models}/innocent0", "at least 3 controls"),
        ("attribute {models}/copy --marks none.npz --controls {models}/innocent0", "an .npz file with clients"),
    ],
)
def test_mistakes(run: Run, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("colour.npz", images=np.random.default_rng(0).random((90, 3, 8, 8), dtype=np.float32), labels=np.arange(90) % 10)
    code, printed = run(*arguments.format(models=models).split())
    assert code == 2, printed
    assert said in printed
    assert not Path("t.json").exists()
