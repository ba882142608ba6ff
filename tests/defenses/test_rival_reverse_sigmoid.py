"""Against adversarial-robustness-toolbox: the same answers where it is right, and where it isn't."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from honeyguard.defenses import ReverseSigmoid
from honeyguard.errors import ParameterError

pytest.importorskip("art", reason="the rival is in the extra 'rivals'")
SETTINGS = [(1.0, 0.1), (0.75, 0.2), (0.5, 0.5)]
CONFIDENT = torch.tensor([[20.0, 0, 1], [16, 0, 1], [12, 0, 1]], dtype=torch.float64)


@pytest.fixture
def rival() -> Any:
    from art.defences.postprocessor import ReverseSigmoid as Rival

    def answers(beta: float, gamma: float, y: Tensor) -> Tensor:
        with np.errstate(divide="ignore"):  # its 1 - 1e-9 is 1 in float32
            return torch.as_tensor(Rival(beta=beta, gamma=gamma)(y.numpy()))

    return answers


def rows(k: int) -> Tensor:
    """Nothing below 1e-9, which the rival raises to that."""
    return torch.softmax((3 if k < 1000 else 1) * torch.randn(100, k, generator=torch.Generator().manual_seed(k), dtype=torch.float64), 1)


@pytest.mark.parametrize("k", [2, 10, 1000])
@pytest.mark.parametrize(("beta", "gamma"), SETTINGS)
def test_equal_in_double_precision(rival: Any, beta: float, gamma: float, k: int) -> None:
    found = ReverseSigmoid(beta=beta, gamma=gamma, keep_top1=False)(rows(k).float())
    np.testing.assert_allclose(found, rival(beta, gamma, rows(k)), atol=1e-6)


@pytest.mark.parametrize(("beta", "gamma"), SETTINGS)
def test_confident_rows_in_single_precision(rival: Any, beta: float, gamma: float) -> None:
    """1 - y is lost near 1 there: the rival's float32 answers are wrong, ours are its own float64 ones."""
    y = torch.softmax(CONFIDENT, 1)
    right = rival(beta, gamma, y)
    np.testing.assert_allclose(ReverseSigmoid(beta=beta, gamma=gamma, keep_top1=False)(y.float()), right, atol=1e-6)
    assert (rival(beta, gamma, y.float()) - right).abs().max() > 1e-5


def test_one_hot_rows(rival: Any) -> None:
    """By eqs. 3-4 a row (1, 0, 0) at β = ¾ is (1 - ⅜, ⅜, ⅜) / (1 + ⅜); the rival moves 0 and 1 away first."""
    right = torch.tensor([[0.625, 0.375, 0.375]]) / 1.375
    y = torch.tensor([[1.0, 0, 0]])
    torch.testing.assert_close(ReverseSigmoid(beta=0.75, gamma=0.2)(y), right, atol=1e-6, rtol=0)
    assert (rival(0.75, 0.2, y) - right).abs().max() > 1e-3


def test_the_rival_flips_the_top_class(rival: Any) -> None:
    y = rows(100).float()
    assert (rival(1.0, 0.1, y).argmax(1) == y.argmax(1)).float().mean() < 0.9
    assert torch.equal(ReverseSigmoid(beta=1.0, gamma=0.1)(y).argmax(1), y.argmax(1))


def test_the_rival_answers_uniformly_without_a_word(rival: Any) -> None:
    assert rival(1.0, 1.0, rows(4)).sub(0.25).abs().max() < 1e-6
    with pytest.raises(ParameterError, match="uniformly"):
        ReverseSigmoid(beta=1.0, gamma=1.0)
