"""The vectorised solution against one linear program a row."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from honeyguard.defenses.simplex import MARGIN, cheapest
from tests.defenses.rows import rows


def slow(y: Tensor, cost: Tensor, epsilon: float, keep_top1: bool) -> float:
    """The minimum for one row: ỹ = y + up - down, with up and down the unknowns."""
    k, top = len(y), int(y.argmax())
    p, c = y.double().numpy(), cost.double().numpy()
    eye = np.eye(k)
    bounds, limits = [-np.hstack([eye, -eye]), np.ones((1, 2 * k))], [p, np.array([epsilon])]
    if keep_top1:
        ahead = eye - eye[top]
        others = np.arange(k) != top
        margin = min(MARGIN, p[top] - p[others].max())
        bounds.append(np.hstack([ahead, -ahead])[others])
        limits.append((p[top] - p - margin)[others])
    found = linprog(
        np.hstack([c, -c]), np.vstack(bounds), np.concatenate(limits), np.hstack([np.ones((1, k)), -np.ones((1, k))]), [0], method="highs"
    )
    assert found.status == 0
    return float(found.fun + c @ p)


@pytest.mark.parametrize("k", [2, 3, 4, 10, 60])
@pytest.mark.parametrize("epsilon", [0.05, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("keep_top1", [True, False])
def test_it_is_the_minimum(k: int, epsilon: float, keep_top1: bool) -> None:
    y = rows(25, k, k)
    generator = torch.Generator().manual_seed(k)
    for cost in (torch.randn(25, k, generator=generator), (y + 1e-6).log()):
        found = cheapest(y, cost, epsilon, keep_top1=keep_top1)
        assert (found >= -1e-6).all()
        torch.testing.assert_close(found.sum(1), torch.ones(25), atol=2e-6, rtol=0)
        assert (found - y).abs().sum(1).max() <= epsilon + 1e-5
        expected = torch.tensor([slow(a, b, epsilon, keep_top1) for a, b in zip(y, cost, strict=True)])
        torch.testing.assert_close((found * cost).sum(1), expected.float(), atol=1e-4, rtol=1e-5)
        if keep_top1:
            assert torch.equal(found.argmax(1), y.argmax(1))


def test_nothing_to_answer_is_fine() -> None:
    assert cheapest(torch.empty(0, 5), torch.empty(0, 5), 0.5).shape == (0, 5)
