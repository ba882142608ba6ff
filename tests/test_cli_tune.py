"""`honeyguard tune` as a user meets it."""

import json
from pathlib import Path

import pytest
import torch

from honeyguard import artifacts
from honeyguard.data import load
from honeyguard.defenses import ReverseSigmoid
from honeyguard.defenses.tune import Utility, tune
from honeyguard.oracle import predict
from honeyguard.training import Network, Recipe
from honeyguard.types import Protected
from tests.conftest import Run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digits, folder = load("digits"), tmp_path_factory.mktemp("model") / "model"
    network = Network(model="mlp", recipe=Recipe(epochs=3, batch=32, augment="none")).trained(
        digits.images[:900], digits.labels[:900], 10, 0
    )
    artifacts.save(Protected(network), folder, shape=digits.shape, names=digits.names)
    return folder


def test_the_strongest_setting_within_the_budget_and_its_page(run: Run, model: Path, tmp_path: Path) -> None:
    code, said = run("tune", model, "--data", "digits", "--l1", 0.3, "--top1-lost", 0, "--output", tmp_path / "tuned")
    assert code == 0, said
    record = json.loads((tmp_path / "tuned/tuning.json").read_text())
    answers = predict(artifacts.load(model)[0].model, load("digits", "test").images)
    expected = tune(ReverseSigmoid(), answers, Utility(l1=0.3, top1_lost=0.0))
    assert record["defense"] == repr(expected.defense)
    assert 0.25 < record["cost"]["l1"] <= 0.3 and record["cost"]["top1_lost"] == 0
    assert repr(expected.defense) in said.replace("\n", " ")
    page = (tmp_path / "tuned/report.html").read_text()
    assert repr(expected.defense) in page and page.count('role="row"') == len(record["curve"]) + 1
    assert torch.tensor([point["l1"] for point in record["curve"]]).diff().min() >= 0

    code, said = run("report", tmp_path / "tuned/tuning.json", "--output", tmp_path / "again.html")
    assert code == 0 and (tmp_path / "again.html").read_text() == page


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected a budget; got none"),
        (("--l1", 0.1, "--defense", "honeypot"), "expected a perturbation of answers; got honeypot"),
        (("--l1", 0.1, "--defense", "label_only"), "expected a defense with a strength to tune; got LabelOnly"),
        (("--l1", 0.1, "--defense", "reverse"), "reverse_sigmoid"),
        (("--calibration-error", 0.0), "expected a utility budget that some setting keeps; got calibration_error ≤ 0. The nearest"),
    ],
)
def test_mistakes(run: Run, model: Path, tmp_path: Path, arguments: tuple[object, ...], expected: str) -> None:
    code, said = run("tune", model, "--data", "digits", "--output", tmp_path / "tuned", *arguments)
    assert (code, expected in said) == (2, True), said
    assert not (tmp_path / "tuned").exists()
