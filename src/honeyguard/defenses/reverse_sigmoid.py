"""Deceptive perturbations: the reverse sigmoid."""

from dataclasses import dataclass

import torch
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ParameterError

LEAD = 5e-7
"""What the top class is given so that rounding can't decide between it and one that is as likely: a few units in float32's last place."""


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

    beta: float = 0.75
    gamma: float = 0.2
    keep_top1: bool = True

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 0, 1)
        check_range("gamma", self.gamma, 1e-6, 1)
        if self.beta == self.gamma == 1:
            raise ParameterError("β and γ not both 1", "β = γ = 1, which answers uniformly", "Lower either.")

    def __call__(self, probabilities: Tensor) -> Tensor:
        y = probabilities
        bend = torch.sigmoid(self.gamma * torch.log(y / _rest(y))) - 0.5  # r(y) / β, eq. 3; exact at 0 and 1, where the logit is infinite
        perturbed = y - (_largest_keeping_top1(y, bend).clamp_max(self.beta) if self.keep_top1 else self.beta) * bend
        if self.keep_top1:
            perturbed = torch.where(y == y.amax(1, keepdim=True), perturbed + LEAD, perturbed)
        return perturbed / perturbed.sum(1, keepdim=True)  # α, eq. 4


def _rest(y: Tensor) -> Tensor:
    """1 - y; for a class above ½ as the sum of the others, because float32 holds little of 1 - y near 1, and the logit needs it."""
    likely = y > 0.5
    return torch.where(likely, y.masked_fill(likely, 0).sum(1, keepdim=True), 1 - y)


def _largest_keeping_top1(y: Tensor, bend: Tensor) -> Tensor:
    """Per row (N, 1), the largest β with y_top - β · bend_top ≥ y_j - β · bend_j for every j, less a thousandth so that they don't tie.

    That is the smallest (y_top - y_j) / (bend_top - bend_j), and the least likely class has it. The slope of the chord of s(γ·s⁻¹(p))
    between y_j and y_top grows as y_j falls, for the chord is never steeper than the curve at y_j: the curve is concave up to ½, and
    beyond it point-symmetric about (½, ½), where y_j ≤ 1 - y_top leaves the chord no steeper part to end in.
    """
    (low, high), (least, most) = y.aminmax(dim=1, keepdim=True), bend.aminmax(dim=1, keepdim=True)
    return (1 - 1e-3) * (high - low) / (most - least).clamp_min(1e-12)
