"""Perturbations that turn a thief's gradient away: MAD."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import Strength
from honeyguard.defenses.surrogate_defense import SurrogateDefense
from honeyguard.defenses.surrogates import gram

SIZE = 10
"""Corners with up to so many classes are tried where the top class is kept."""


@dataclass(frozen=True, kw_only=True)
class MAD(SurrogateDefense):
    """Maximising angular deviation: answer so that the thief's gradient points elsewhere, within an L1 budget.

    Source: Orekondy, Schiele, Fritz: Prediction Poisoning: Towards Defenses Against DNN Model Stealing Attacks, ICLR 2020, eqs. 4-9.
        `keep_top1` is its MAD-argmax.
    Threat model: spoils the training of a thief who reads answers as given. Doesn't stop one who reads labels where the top class is kept.
    Args:
        epsilon: the budget, Σ|ỹ - y|, in [0, 2].
        keep_top1: no class may exceed the top one.
        surrogate: stands in for the thief's network; None: the last layer of a network that answers uniformly, as a thief's does before
            training. There the gradient of class k is (e_k - 1/K) hᵀ, and the features h drop out of angles.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: epsilon out of range. ModelError: a surrogate of other layers than `surrogates.gram` knows.
    Example:
        >>> MAD(epsilon=0.5, keep_top1=False)(torch.tensor([[0.6, 0.3, 0.1]]))
        tensor([[0.4333, 0.2167, 0.3500]])
    Deviations: the angle (eq. 4) itself chooses the corner of the feasible set, where the published default takes the longest difference of
        gradients. With the top class kept, the published code tries all corners for K ≤ 10 and grows a set of classes greedily
        beyond; here the set grows greedily always, to ten classes at most. Needs inner products of the gradients alone (`surrogates.gram`).
    """

    strength: ClassVar[Strength] = Strength("epsilon", 0, 2)

    epsilon: float = 1.0
    keep_top1: bool = True

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0, 2)

    def see(self, network: nn.Module, images: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return gram(network, images)

    def perturb(self, y: Tensor, seen: Tensor | None) -> Tensor:
        align = y - y.mean(1, keepdim=True) if seen is None else (seen @ y[..., None]).squeeze(2)
        corner = self._corner(y, align, seen)
        step = (self.epsilon / (corner - y).abs().sum(1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
        return y + step * (corner - y)

    def _corner(self, y: Tensor, align: Tensor, seen: Tensor | None) -> Tensor:
        """The corner (N, K) of the simplex, or of its part with the same top class, whose gradient is the furthest turned.

        Gᵀv · Gᵀy / |Gᵀv| falls as the angle grows; a corner v is uniform over a set of classes, whose size drops out.
        """
        k = y.shape[1]
        lengths = y.new_full((1, k), 1 - 1 / k) if seen is None else seen.diagonal(dim1=1, dim2=2)
        if not self.keep_top1:
            return _one_hot((align / lengths.clamp_min(1e-20).sqrt()).argmin(1), y)

        def gradients(chosen: Tensor) -> Tensor:
            """Inner products (N, K) of one class's gradient with all."""
            return _one_hot(chosen, y) - 1 / k if seen is None else seen.gather(1, chosen[:, None, None].expand(-1, 1, k)).squeeze(1)

        top = y.argmax(1)
        members, product = _one_hot(top, y), gradients(top)
        along, length = align.gather(1, top[:, None]), lengths.expand_as(y).gather(1, top[:, None])
        best, corner = along / length.clamp_min(1e-20).sqrt(), members
        for size in range(2, min(k, SIZE) + 1):
            longer = length + 2 * product + lengths
            # A set of all classes has no gradient in the last layer; rounding must not make it one.
            score = torch.where(longer > 1e-6 * lengths, (along + align) / longer.clamp_min(1e-20).sqrt(), torch.inf)
            value, chosen = score.masked_fill(members > 0, torch.inf).min(1, keepdim=True)
            members = members + _one_hot(chosen.squeeze(1), y)
            corner = torch.where(value < best, members / size, corner)
            best = torch.minimum(best, value)
            along, length = along + align.gather(1, chosen), longer.gather(1, chosen)
            product = product + gradients(chosen.squeeze(1))
        return corner + 1e-5 * (_one_hot(top, y) - corner)  # the top class stays ahead of the other members


def _one_hot(classes: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(classes, like.shape[1]).to(like.dtype)
