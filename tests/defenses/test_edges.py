"""What every output defense of the registry refuses, and that its graph answers like Python."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from honeyguard.checks import SHAPE, tiny_task
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import AnswerError
from honeyguard.export import export_onnx
from tests.defenses.test_contract import SMALL
from tests.test_export import run_onnx

OUTPUTS = [defense for defense in SMALL.values() if isinstance(defense, OutputDefense)]
pytestmark = pytest.mark.parametrize("defense", OUTPUTS, ids=repr)


def test_the_graph_equals_python(defense: OutputDefense, victim: nn.Module, tmp_path: Path) -> None:
    protected, images = defense.protect(victim), tiny_task(6).images
    export_onnx(protected, tmp_path / "model.onnx", SHAPE, features=False)
    for n in (1, 3, 64):
        found = run_onnx(tmp_path / "model.onnx", images[:n])["probabilities"]
        torch.testing.assert_close(found, protected.model(images[:n]).detach(), atol=1e-6, rtol=0)


BAD = {
    "negative": torch.tensor([[1.2, -0.2]]),
    "unnormalised": torch.tensor([[0.5, 0.502]]),
    "logits": torch.tensor([[3.0, -1.0, 0.5]]),
    "nan": torch.tensor([[torch.nan, 1.0]]),
    "one class": torch.ones(3, 1),
    "no rows": torch.tensor([0.5, 0.5]),
}


@pytest.mark.parametrize("answers", BAD.values(), ids=BAD)
def test_what_is_no_distribution_is_refused(defense: OutputDefense, answers: Tensor) -> None:
    with pytest.raises(AnswerError, match=r"K ≥ 2, rows summing to 1"):
        defense.checked(answers)


def test_one_output_of_two_classes(defense: OutputDefense) -> None:
    p = torch.tensor([[0.0], [0.3], [0.5], [1.0]])
    found = defense.checked_binary(p)
    torch.testing.assert_close(found, defense.checked(torch.cat([p, 1 - p], 1))[:, :1])
    for bad in (p.squeeze(1), torch.cat([p, p], 1), p + 1, p * torch.nan):
        with pytest.raises(AnswerError):
            defense.checked_binary(bad)
