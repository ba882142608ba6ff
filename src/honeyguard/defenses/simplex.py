"""The linear program of several defenses, solved for all rows at once."""

import torch
from torch import Tensor

MARGIN = 1e-4
"""The top class stays ahead of the others by this much, or by what it was ahead if that is less."""
POINTS, ROUNDS = 17, 8


def cheapest(y: Tensor, cost: Tensor, epsilon: float, *, keep_top1: bool = True) -> Tensor:
    """Per row, the distribution ỹ that minimises cost · ỹ with Σ|ỹ - y| ≤ epsilon and, on demand, with the top class of y kept.

    Mass moves from the dearest classes to the cheapest. Without the promise the cheapest takes all, and that is exact. With it, no class
    may exceed the top one: for a given top probability t the others are filled up to t in the order of their costs, and the minimum is
    convex in t, so that t is found by narrowing a grid, to 3e-8 of epsilon.
    Args:
        y: probabilities (N, K).  cost: (N, K).  epsilon: in [0, 2].
    """
    # In float32 rounding would place the minimum; equal costs are told apart, because sorts differ in what they do with them.
    exact = cost.double()
    exact = exact / exact.abs().amax(1, keepdim=True).clamp_min(1e-30) + 1e-12 * torch.arange(y.shape[1], device=y.device)
    if not keep_top1:
        return _freely(y.double(), exact, epsilon).to(y.dtype)
    found = _keeping_top1(y.double(), exact, epsilon).to(y.dtype)
    return torch.where(found.argmax(1, keepdim=True) == y.argmax(1, keepdim=True), found, y)  # near-ties stay as they are


def _keeping_top1(y: Tensor, cost: Tensor, epsilon: float) -> Tensor:
    top, place = y.max(1, keepdim=True)
    order = cost.argsort(1)
    total, cost, is_top = y.sum(1, keepdim=True), cost.gather(1, order), order == place
    rest, top_cost = y.gather(1, order).masked_fill(is_top, 0), cost.masked_fill(~is_top, 0).sum(1, keepdim=True)
    margin = (top - rest.amax(1, keepdim=True)).clamp_max(MARGIN)
    grid = torch.linspace(-1, 1, POINTS, device=y.device, dtype=y.dtype)
    t, width = top, epsilon / 2
    for _ in range(ROUNDS):
        tops = (t + width * grid).clamp(0, 1)  # (N, POINTS); the best so far stays among them, in the middle
        others, feasible = _fill(
            rest[:, None], tops[..., None], top[..., None], total[..., None], margin[..., None], is_top[:, None], epsilon
        )
        value = (others * cost[:, None]).sum(2) + tops * top_cost
        t = tops.gather(1, torch.where(feasible, value, torch.inf).argmin(1, keepdim=True))
        width *= 2 / (POINTS - 1)
    others, _ = _fill(rest, t, top, total, margin, is_top, epsilon)
    return torch.zeros_like(y).scatter(1, order, torch.where(is_top, t, others))


def _freely(y: Tensor, cost: Tensor, epsilon: float) -> Tensor:
    """Up to epsilon / 2 from the dearest classes to the cheapest one."""
    order = cost.argsort(1, descending=True)
    have = y.gather(1, order)[:, :-1]
    taken = torch.minimum(have, (epsilon / 2 - (have.cumsum(1) - have)).clamp_min(0))
    return y + torch.zeros_like(y).scatter(1, order, torch.cat([-taken, taken.sum(1, keepdim=True)], 1))


def _fill(rest: Tensor, t: Tensor, top: Tensor, total: Tensor, margin: Tensor, is_top: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The other classes (…, K), cheapest first, when the top class has t (…, 1); and where that can be had (…)."""
    cap = (t - margin).clamp_min(0) * ~is_top
    start = torch.minimum(rest, cap)  # what exceeds the cap is forced down
    spare = top - t + (rest - start).sum(-1, keepdim=True)  # so much is to be given away, or to be found where it is negative
    room = cap.cumsum(-1)
    wish = torch.minimum(cap, ((total - t) - (room - cap)).clamp_min(0))  # of unlimited means
    most = epsilon / 2 - (t - top).clamp_min(0)  # what may be given, Σ|ỹ - y| = 2 (given + what the top class gains)
    given = torch.minimum(most, (wish - start).clamp_min(0).sum(-1, keepdim=True))
    taken = given - spare
    give, take = cap - start, start
    before, after = give.cumsum(-1) - give, take.sum(-1, keepdim=True) - take.cumsum(-1)
    filled = start + torch.minimum(give, (given - before).clamp_min(0)) - torch.minimum(take, (taken - after).clamp_min(0))
    slack = 1e-9
    feasible = (most > -slack) & (taken > -slack) & (room[..., -1:] > total - t - slack)
    return filled, feasible.squeeze(-1)
