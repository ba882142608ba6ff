"""Deceptive perturbations: the reverse sigmoid."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense, Strength
from honeyguard.errors import ParameterError

GAMMAS = {"mnist": 0.2, "fashion_mnist": 0.4, "cifar10": 0.1}
MARGIN = 1e-3
"""By how much steeper a row's r / β is taken than it is: at the limit itself two classes tie, and rounding would decide."""
NEAR = 1 - 1e-6
"""Share of the top class's answer from which on rounding may decide."""
SURE = 0.99
"""From here on 1 - y has lost digits that the sum of the other classes still has."""
FEW, BLOCK, MANY = 64, 2**16, 256
"""Numbers for which calls cost more than the arithmetic, numbers that stay in the cache, and classes that are compared row by row."""

Rows = NDArray[np.float32]


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
        than rounding tells apart stays as it is, and nearly uniform rows move less than they could.
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
        if not y.is_cpu or y.requires_grad or y.dtype is not torch.float32:
            found = self._graph(y)
            return torch.where(found.argmax(1, keepdim=True) == y.argmax(1, keepdim=True), found, y) if self.keep_top1 else found
        if y.numel() <= FEW:
            return torch.tensor([self._row(row) for row in y.tolist()], dtype=y.dtype).view(y.shape)
        found, n = torch.empty(y.shape), max(1, BLOCK // y.shape[1])
        with np.errstate(divide="ignore", over="ignore"):  # the logit of 0 and 1
            for rows, perturbed in zip(y.split(n), found.split(n), strict=True):
                self._rows(rows.numpy(), perturbed.numpy())
        return found

    def _rows(self, rows: Rows, found: Rows) -> None:
        """The same for a block of rows, with NumPy, whose calls cost less than PyTorch's, and in place."""
        y = rows.T if rows.shape[1] > MANY else np.ascontiguousarray(rows.T)  # (K, N): what runs along N is fast, few classes are not
        high, others = y.max(0), 1 - y
        sure = np.flatnonzero(high > SURE)
        if len(sure):
            certain = y[:, sure]
            top = certain.argmax(0)
            certain[top, np.arange(len(sure))] = 0
            others[top, sure] = certain.sum(0)
        twice = np.log(np.divide(y, others, out=others), out=others)
        twice *= self.gamma / 2
        np.tanh(twice, out=twice)
        if not self.keep_top1:
            twice *= self.beta / 2
            perturbed = np.subtract(y, twice, out=twice)
            np.divide(perturbed, _totals(perturbed), out=found.T)
            return
        steepest = twice.max(0)
        beta = np.minimum((high - y.min(0)) / (steepest - twice.min(0) + 2 * MARGIN), self.beta / 2)  # as _largest
        limit = (high - beta * steepest) * NEAR
        twice *= beta
        perturbed = np.subtract(y, twice, out=twice)
        near = perturbed >= limit
        perturbed /= _totals(perturbed)
        found[:] = perturbed.T
        if np.count_nonzero(near) > len(rows):  # more than the top class alone, somewhere
            unsure = np.flatnonzero(near.sum(0) > 1)
            flipped = unsure[found[unsure].argmax(1) != rows[unsure].argmax(1)]
            found[flipped] = rows[flipped]

    def _row(self, y: list[float]) -> list[float]:
        """The same for one row: Python is done before PyTorch has begun."""
        gamma, beta, total, small = self.gamma, self.beta, sum(y), sum([p for p in y if p <= 0.5])
        bend = [p**gamma / (p**gamma + (total - p if p <= 0.5 else small) ** gamma) - 0.5 for p in y]
        if self.keep_top1:
            beta = min(beta, (max(y) - min(y)) / (max(bend) - min(bend) + MARGIN))
        perturbed = [p - beta * b for p, b in zip(y, bend, strict=True)]
        total = sum(perturbed)
        found = [p / total for p in perturbed]
        if self.keep_top1:
            top = y.index(max(y))
            near = [p for p in found if p >= NEAR * found[top]]
            if len(near) > 1 and int(torch.tensor(found).argmax()) != top:  # in single precision, as it is answered
                return y
        return found

    def _graph(self, y: Tensor) -> Tensor:
        """The same in few steps and without branches; 1 - y is the sum of the others in every row."""
        others = y @ (1 - torch.eye(y.shape[1], dtype=y.dtype, device=y.device))
        twice = torch.tanh(torch.log(y / others) * (self.gamma / 2))  # 2 r(y) / β = 2 s(γ·s⁻¹(y)) - 1, eq. 3
        if not self.keep_top1:
            return _normalised(y - twice * (self.beta / 2))
        spread, steep = (t.amax(1, keepdim=True) - t.amin(1, keepdim=True) for t in (y, twice))
        return _normalised(y - _largest(self.beta / 2, spread, steep) * twice)


def _largest(beta: float, spread: Tensor, steep: Tensor) -> Tensor:
    """Per row (N, 1), the largest β' ≤ β with y_top - r(y_top) ≥ y_j - r(y_j) for every j, from max - min of a row and of its r / β; or,
    with twice the latter, half of both.

    That is the smallest (y_top - y_j) / (s_top - s_j), and the least likely class has it. The slope of the chord of s(γ·s⁻¹(p)) between
    y_j and y_top grows as y_j falls, for the chord is never steeper than the curve at y_j: the curve is concave up to ½, and beyond it
    point-symmetric about (½, ½), where y_top ≤ 1 - y_j leaves the chord no steeper part to end in.
    """
    return (spread / (steep + 2 * MARGIN)).clamp_max(beta)


def _totals(perturbed: Rows) -> Rows:
    total: Rows = perturbed.sum(0, dtype=np.float64).astype(perturbed.dtype)  # one by one in single precision, hundreds of classes drift
    return total


def _normalised(perturbed: Tensor) -> Tensor:
    return perturbed / perturbed.sum(1, keepdim=True)  # α, eq. 4
