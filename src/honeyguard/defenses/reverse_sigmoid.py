"""Deceptive perturbations: the reverse sigmoid."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense, Strength
from honeyguard.errors import ParameterError

GAMMAS = {"mnist": 0.2, "fashion_mnist": 0.4, "cifar10": 0.1}
LEAD, MARGIN = 5e-7, 1e-6
"""What the top class is given before and what is kept from β, so that rounding can't decide between two classes that are as likely."""
FEW, BLOCK = 64, 2**15
"""Numbers for which PyTorch's calls cost more than the arithmetic, and numbers that stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class ReverseSigmoid(OutputDefense):
    """Perturb probabilities so that they mislead a thief who trains on them and keep the customer's answer.

    Source: Lee, Edwards, Molloy, Su: Defending Against Neural Network Model Stealing Attacks Using Deceptive
        Perturbations, IEEE SPW 2019, arXiv 1806.00054, eqs. 3-4.
    Threat model: stops a thief who trains on the probabilities as given. Doesn't stop one who reads labels only, or who
        knows the defense and inverts it.
    Args:
        beta: strength β, in [0, 1].
        gamma: slope γ of the logistic function, in (0, 1]; published: MNIST 0.2, Fashion-MNIST 0.4, CIFAR-10 0.1.
        keep_top1: a row whose top class would flip gets the largest β that keeps it.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: a value out of range, or β = γ = 1, which answers uniformly.
    Example:
        >>> ReverseSigmoid(beta=0.5, gamma=0.2)(torch.tensor([[0.7, 0.2, 0.1]])).argmax().item()
        0
    Deviations: `keep_top1`; the paper keeps the top class only where β is small enough.
    """

    strength: ClassVar[Strength] = Strength("beta", 0, 1)

    beta: float = 0.75
    gamma: float = 0.2
    keep_top1: bool = True

    @classmethod
    def published(cls, data_set: str, **others: Any) -> Self:
        """With the slope that was published for a data set, or else for all others."""
        return cls(gamma=GAMMAS.get(data_set, 0.2), **others)

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 0, 1)
        check_range("gamma", self.gamma, 1e-6, 1)
        if self.beta == self.gamma == 1:
            raise ParameterError("β and γ not both 1", "β = γ = 1, which answers uniformly", "Lower either.")

    def __call__(self, probabilities: Tensor) -> Tensor:
        y = probabilities
        if torch.compiler.is_compiling():  # a graph has no branches
            return self._perturbed(y)
        if y.numel() > BLOCK:
            return torch.cat([self._perturbed(_by_class(part)) for part in y.split(max(1, BLOCK // y.shape[1]))])
        if y.numel() <= FEW and y.is_cpu and not y.requires_grad:
            return torch.tensor([self._perturbed_row(row) for row in y.tolist()], dtype=y.dtype).view(y.shape)
        return self._perturbed(y)

    def _perturbed(self, y: Tensor) -> Tensor:
        high = y.amax(1, keepdim=True)
        s = (y / _rest(y, high)).log().mul_(self.gamma).sigmoid_()  # s(γ·s⁻¹(y)); exact at 0 and 1, where the logit is infinite
        if not self.keep_top1:
            perturbed = y - self.beta * (s - 0.5)  # y - r(y), eq. 3
        else:
            beta = _largest_keeping_top1(y, high, s).clamp_max(self.beta)
            perturbed = torch.addcmul(y, beta, s - 0.5, value=-1)
            perturbed = _with_lead(perturbed, y, high)
        return perturbed / perturbed.sum(1, keepdim=True)  # α, eq. 4

    def _perturbed_row(self, y: list[float]) -> list[float]:
        """The same for one row: Python is done before PyTorch has begun."""
        gamma, beta, high, total, small = self.gamma, self.beta, max(y), sum(y), sum([p for p in y if p <= 0.5])
        s = [p**gamma / (p**gamma + (total - p if p <= 0.5 else small) ** gamma) for p in y]
        if self.keep_top1:
            beta = min(beta, (high - min(y)) / (max(s) - min(s) + MARGIN))
        lead = LEAD if self.keep_top1 else 0.0
        perturbed = [p - beta * (q - 0.5) + (lead if p == high else 0.0) for p, q in zip(y, s, strict=True)]
        total = sum(perturbed)
        return [p / total for p in perturbed]


def _by_class(y: Tensor) -> Tensor:
    """The same rows; few classes lie one after the other in memory, so that sums and maxima over them run on many rows at once."""
    return y.t().contiguous().t() if y.shape[1] <= FEW else y


def _rest(y: Tensor, high: Tensor) -> Tensor:
    """1 - y as the sum of the other classes, because float32 holds little of 1 - y for y near 1, and the logit needs it."""
    if torch.compiler.is_compiling() and y.shape[1] <= FEW:  # one step in a graph
        return y @ (1 - torch.eye(y.shape[1], dtype=y.dtype, device=y.device))
    likely = torch.nn.functional.hardshrink(y, 0.5)  # 0 but for a class above ½, of which there is one at most
    others = (y - likely).sum(1, keepdim=True)
    return torch.addcmul(1 - y, likely, (others - (1 - high)) / high)


def _with_lead(perturbed: Tensor, y: Tensor, high: Tensor) -> Tensor:
    """`LEAD` more for the top class."""
    if torch.compiler.is_compiling():  # fewer steps; eager, comparing and choosing are slow
        return torch.where(y == high, perturbed + LEAD, perturbed)
    return perturbed + (y - high).mul_(1e6).add_(LEAD).clamp_min(0)


def _largest_keeping_top1(y: Tensor, high: Tensor, s: Tensor) -> Tensor:
    """Per row (N, 1), the largest β with y_top - β·s_top ≥ y_j - β·s_j for every j; less a hair, so that they don't tie.

    That is the smallest (y_top - y_j) / (s_top - s_j), and the least likely class has it. The slope of the chord of s(γ·s⁻¹(p)) between
    y_j and y_top grows as y_j falls, for the chord is never steeper than the curve at y_j: the curve is concave up to ½, and beyond it
    point-symmetric about (½, ½), where y_top ≤ 1 - y_j leaves the chord no steeper part to end in.
    """
    return (high - y.amin(1, keepdim=True)) / (s.amax(1, keepdim=True) - s.amin(1, keepdim=True) + MARGIN)
