"""Promises to customers, kept in every row, whatever defense is behind them."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from honeyguard import types
from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ParameterError
from honeyguard.types import OwnerData, Protected

HALVINGS = 22  # of the segment from the answer to its perturbation; further ones float32 can't tell from its end
LEAD = 5e-7  # what the top class is given so that rounding can't decide; kept from the other limits
HAIR = 3e-7  # by how much another class may pass it before: two that are as likely don't hold the row back for a difference in rounding


@dataclass(frozen=True, kw_only=True)
class Guarantee(OutputDefense):
    """Perturb as another defense does, and pull each row back towards the true answer as far as the promises need.

    Source: the constraints are those of Orekondy, Schiele, Fritz: Prediction Poisoning, ICLR 2020, eqs. 6-8 (L1 budget, top class kept).
    Threat model: none of its own; it bounds what `defense` costs customers, and with that what it costs a thief.
    Args:
        defense: what perturbs.
        keep_top1: the top class stays on top.
        max_l1: largest L1 distance of a row from the true answer, from 1e-5 to 2; None for no limit.
        max_kl: largest KL(true ‖ given) of a row in nats, from 1e-5; None for no limit.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: a limit out of range, no promise at all, or, in `protect`, a defense that needs images.
    Example:
        >>> from honeyguard.defenses import Rounding
        >>> Guarantee(defense=Rounding(), max_l1=0.01)(torch.tensor([[0.74, 0.23, 0.03]]))
        tensor([[0.7450, 0.2290, 0.0260]])
    Deviations: where a limit binds, the answer is the point of the segment that meets it, not another perturbation of equal size.
    """

    defense: OutputDefense
    keep_top1: bool = True
    max_l1: float | None = None
    max_kl: float | None = None

    def __post_init__(self) -> None:
        if not self.keep_top1 and self.max_l1 is None and self.max_kl is None:
            raise ParameterError("a promise: keep_top1, max_l1 or max_kl", "none", "Use the defense without a guarantee.")
        if self.max_l1 is not None:
            check_range("max_l1", self.max_l1, 1e-5, 2)
        if self.max_kl is not None:
            check_range("max_kl", self.max_kl, 1e-5, math.inf)

    def __call__(self, probabilities: Tensor) -> Tensor:
        y = probabilities
        move = self.defense(y) - y
        high, place = y.max(1, keepdim=True)
        share = torch.ones_like(high)
        if self.max_l1 is not None:
            share = torch.minimum(share, (self.max_l1 - LEAD) / move.abs().sum(1, keepdim=True))
        if self.keep_top1:
            lift = move - move.gather(1, place)  # what a class gains on the top class
            share = torch.minimum(share, ((high - y + HAIR) / lift.clamp_min(1e-12)).amin(1, keepdim=True))
        if self.max_kl is not None:
            share = _within_kl(y, move, share, self.max_kl - LEAD)
        perturbed = (y + share * move).to(y.dtype)
        return perturbed.scatter_add(1, place, torch.full_like(high, LEAD)) if self.keep_top1 else perturbed

    def fitted(self, protected: Protected, owner: OwnerData | None) -> types.OutputDefense:
        """With whatever its defense learns from the owner's data."""
        learnt = self.defense.fitted(protected, owner)
        if not isinstance(learnt, OutputDefense):
            do = "Guarantee the same defense without its network; it keeps promises of its own."
            raise ParameterError("a defense that works from probabilities alone", repr(learnt), do)
        return replace(self, defense=learnt)


def _within_kl(y: Tensor, move: Tensor, most: Tensor, limit: float) -> Tensor:
    """The largest share ≤ `most` (N, 1) with KL(y ‖ y + share · move) ≤ `limit`, which is convex in the share and 0 at 0.

    In double precision: where the limit is small, float32's noise in it would be seen in the answers.
    """
    y, move, most = y.double(), move.double(), most.double()

    def fits(share: Tensor) -> Tensor:
        return torch.where(y > 0, y * torch.log(y / (y + share * move)), 0).sum(1, keepdim=True) <= limit

    share = torch.where(fits(most), most, 0)
    for halving in range(1, HALVINGS):
        further = share + most * 0.5**halving
        share = torch.where((further <= most) & fits(further), further, share)
    return share
