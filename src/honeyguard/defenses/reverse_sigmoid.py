"""Deceptive perturbations: the reverse sigmoid."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense, Strength
from honeyguard.errors import ParameterError

GAMMAS = {"mnist": 0.2, "fashion_mnist": 0.4, "cifar10": 0.1}
SHY = 1 - 1e-3
"""Share of the largest β that is used: at the limit itself two classes tie, and rounding would decide."""
NEAR = 1 - 1e-6
"""Share of the top class's answer from which on rounding may decide."""
TINY = 1e-30
"""Keeps a uniform row from 0 / 0."""
SURE = 0.99
"""From here on 1 - y has lost digits that the sum of the other classes still has."""
FEW, BLOCK = 64, 2**18
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
    Deviations: `keep_top1`; the paper keeps the top class only where β is small enough. A row whose two likeliest classes differ by less
        than rounding tells apart stays as it is.
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
        if torch.compiler.is_compiling():
            return self._graph(y)
        if y.numel() <= FEW and y.is_cpu and not y.requires_grad:
            return torch.tensor([self._row(row) for row in y.tolist()], dtype=y.dtype).view(y.shape)
        found, n = torch.empty_like(y), max(1, BLOCK // y.shape[1])
        for start in range(0, len(y), n):
            found[start : start + n] = self._rows(y[start : start + n])
        return found

    def _rows(self, y: Tensor) -> Tensor:
        high = y.amax(1, keepdim=True)
        bend, bend_high = self._bend(y), self._bend(high)
        sure = high.gt(SURE).nonzero()[:, 0]
        if len(sure):
            certain = y[sure]
            top = certain.argmax(1, keepdim=True)
            odds = high[sure] / certain.scatter(1, top, 0).sum(1, keepdim=True)
            bend_high.index_copy_(0, sure, torch.sigmoid(odds.log() * self.gamma) - 0.5)
            bend.index_put_((sure, top[:, 0]), bend_high[sure, 0])
        if not self.keep_top1:
            return _normalised(torch.sub(y, bend, alpha=self.beta))
        low = y.amin(1, keepdim=True)
        beta = _largest(self.beta, high - low, bend_high - self._bend(low))
        perturbed = torch.addcmul(y, bend, beta, value=-1)
        near = perturbed >= (high - beta * bend_high) * NEAR
        found = _normalised(perturbed)
        if int(near.count_nonzero()) > len(y):  # more than the top class alone, somewhere
            rows = near.sum(1).gt(1).nonzero()[:, 0]
            flipped = rows[found[rows].argmax(1) != y[rows].argmax(1)]
            found = found.index_copy(0, flipped, y[flipped])
        return found

    def _bend(self, y: Tensor) -> Tensor:
        """r(y) / β = s(γ·s⁻¹(y)) - ½, eq. 3; exact at 0 and 1, where the logit is infinite."""
        return torch.logit(y, 0).mul_(self.gamma).sigmoid_() - 0.5

    def _row(self, y: list[float]) -> list[float]:
        """The same for one row: Python is done before PyTorch has begun."""
        gamma, beta, total, small = self.gamma, self.beta, sum(y), sum([p for p in y if p <= 0.5])
        bend = [p**gamma / (p**gamma + (total - p if p <= 0.5 else small) ** gamma) - 0.5 for p in y]
        if self.keep_top1:
            beta = min(beta, (max(y) - min(y)) / (max(bend) - min(bend) + TINY) * SHY)
        perturbed = [p - beta * b for p, b in zip(y, bend, strict=True)]
        if self.keep_top1 and perturbed.index(max(perturbed)) != y.index(max(y)):
            return y
        total = sum(perturbed)
        return [p / total for p in perturbed]

    def _graph(self, y: Tensor) -> Tensor:
        """The same in few steps and without branches; 1 - y is the sum of the others in every row."""
        others = y @ (1 - torch.eye(y.shape[1], dtype=y.dtype, device=y.device))
        twice = torch.tanh(torch.log(y / others) * (self.gamma / 2))  # 2 r(y) / β
        if not self.keep_top1:
            return _normalised(y - twice * (self.beta / 2))
        spread, steep = (t.amax(1, keepdim=True) - t.amin(1, keepdim=True) for t in (y, twice))
        return _normalised(y - _largest(self.beta / 2, spread, steep) * twice)


def _largest(beta: float, spread: Tensor, steep: Tensor) -> Tensor:
    """Per row (N, 1), the largest β' ≤ β with y_top - r(y_top) ≥ y_j - r(y_j) for every j, from max - min of a row and of its r / β.

    That is the smallest (y_top - y_j) / (s_top - s_j), and the least likely class has it. The slope of the chord of s(γ·s⁻¹(p)) between
    y_j and y_top grows as y_j falls, for the chord is never steeper than the curve at y_j: the curve is concave up to ½, and beyond it
    point-symmetric about (½, ½), where y_top ≤ 1 - y_j leaves the chord no steeper part to end in.
    """
    return (spread / (steep + TINY) * SHY).clamp_max(beta)


def _normalised(perturbed: Tensor) -> Tensor:
    return perturbed / perturbed.sum(1, keepdim=True)  # α, eq. 4
