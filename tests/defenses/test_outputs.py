"""What every output defense of the registry promises, and what it refuses."""

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


def rows(k: int) -> Tensor:
    """Of every kind: uniform to one-hot, tied and nearly tied tops."""
    generator = torch.Generator().manual_seed(k)
    drawn = [torch.softmax(scale * torch.randn(40, k, generator=generator), 1) for scale in (0, 0.1, 1, 3, 10, 100)]
    near = torch.softmax(torch.randn(200, k, generator=generator), 1)
    near[:, 1] = torch.nextafter(near.amax(1), torch.ones(()))
    return torch.cat([*drawn, torch.eye(k)[:5], near / near.sum(1, keepdim=True)])


@pytest.mark.parametrize("k", [2, 3, 10, 64, 65, 1000])
def test_answers_are_distributions_that_keep_the_top_class(defense: OutputDefense, k: int) -> None:
    y = rows(k)
    found = defense.checked(y)
    assert torch.isfinite(found).all() and (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(len(y)), atol=1e-5, rtol=0)
    if getattr(defense, "keep_top1", True):
        top = found.argmax(1, keepdim=True)
        assert torch.equal(y.gather(1, top), y.amax(1, keepdim=True))  # of tied classes, any is the top


def test_a_row_is_answered_alike_in_every_batch(defense: OutputDefense) -> None:
    y = rows(10)
    together = defense(y)
    for i in range(0, len(y), 7):
        torch.testing.assert_close(defense(y[i : i + 1]), together[i : i + 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(defense(torch.cat([y] * 60))[-len(y) :], together, atol=1e-6, rtol=0)  # in blocks, where there are any
    assert defense(y[:0]).shape == (0, 10)


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
