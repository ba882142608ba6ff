"""Deceptive perturbations: the reverse sigmoid."""

from dataclasses import dataclass

import torch
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import ParameterError


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
        bend = torch.sigmoid(self.gamma * torch.logit(y)) - 0.5  # r(y) / β, eq. 3; exact at 0 and 1, where the logit is infinite
        beta = self._largest_keeping_top1(y, bend) if self.keep_top1 else self.beta
        perturbed = y - beta * bend
        perturbed = perturbed / perturbed.sum(1, keepdim=True)  # α, eq. 4
        if self.keep_top1:  # near-ties below float32's resolution stay as they are
            perturbed = torch.where(perturbed.argmax(1, keepdim=True) == y.argmax(1, keepdim=True), perturbed, y)
        return perturbed

    def _largest_keeping_top1(self, y: Tensor, bend: Tensor) -> Tensor:
        """Per row (N, 1), the largest β' ≤ β with y_top - β' · bend_top ≥ y_j - β' · bend_j for every j."""
        top, place = y.max(1, keepdim=True)
        lift = bend.gather(1, place) - bend  # ≥ 0: the top class has the largest bend
        limit = torch.where(lift > 0, (top - y) / lift.clamp_min(1e-12), torch.inf).scatter(1, place, torch.inf)
        # A share below the limit: at the limit itself the two classes would tie, and rounding would decide.
        return (limit.amin(1, keepdim=True) * (1 - 1e-3)).clamp_max(self.beta)
