"""Perturbations that turn a thief's gradient round: GRAD²."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import Strength
from honeyguard.defenses.simplex import cheapest
from honeyguard.defenses.surrogate_defense import SurrogateDefense
from honeyguard.defenses.surrogates import alignment


@dataclass(frozen=True, kw_only=True)
class GRAD2(SurrogateDefense):
    """Gradient redirection: answer so that the thief's gradient goes as far as it can against the true one, within an L1 budget.

    Source: Mazeika, Li, Forsyth: How to Steer Your Adversary: Targeted and Efficient Model Stealing Defenses with Gradient Redirection,
        ICML 2022, eq. 2 and algorithm 1, with the target direction -Gᵀy.
    Threat model: spoils the training of a thief who reads answers as given. Doesn't stop one who reads labels where the top class is kept.
    Args:
        epsilon: the budget, Σ|ỹ - y|, in [0, 2].
        keep_top1: no class may exceed the top one.
        surrogate: stands in for the thief's network; None: the last layer alone. There ⟨Gᵀỹ, Gᵀy⟩ is |h|² (ỹ·y - 1/K) for a thief that
            answers uniformly, and the features h don't matter.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: epsilon out of range.
    Example:
        >>> GRAD2(epsilon=0.4)(torch.tensor([[0.7, 0.2, 0.1]]))
        tensor([[0.5000, 0.2000, 0.3000]])
    Deviations: the published code takes the gradient of a whole batch as the target, so that an answer depends on its batch; here each
        image has its own. `keep_top1` is a second constraint of the same linear program (`honeyguard.defenses.simplex`).
    """

    strength: ClassVar[Strength] = Strength("epsilon", 0, 2)

    epsilon: float = 1.0
    keep_top1: bool = True

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0, 2)

    def see(self, network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
        return alignment(network, images, y)

    def perturb(self, y: Tensor, seen: Tensor | None) -> Tensor:
        return cheapest(y, y if seen is None else seen, self.epsilon, keep_top1=self.keep_top1)
