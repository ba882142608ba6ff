"""Perturbations that leave a thief the most uncertain: ModelGuard-W."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import OutputDefense, Strength
from honeyguard.defenses.simplex import cheapest


@dataclass(frozen=True, kw_only=True)
class ModelGuardW(OutputDefense):
    """Within an L1 budget, answer what is least likely under the true probabilities, with the top class kept.

    Source: Tang, Dai, DiValentin, Ding, Hass, Gong, Chen, Li: ModelGuard: Information-Theoretic Defense Against Model Extraction Attacks,
        USENIX Security 2024; the weak version, against thieves who train on what they get.
    Threat model: spoils the answers for a thief who reads them as given. Doesn't stop one who reads labels; one who knows the defense
        regains most (partial Bayes).
    Args:
        epsilon: the budget, Σ|ỹ - y|, in [0, 2].
        keep_top1: no class may exceed the top one.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: epsilon out of range.
    Example:
        >>> ModelGuardW(epsilon=0.4)(torch.tensor([[0.7, 0.2, 0.1]]))
        tensor([[0.5000, 0.2000, 0.3000]])
    Deviations: reconstructed from the paper: ỹ minimises Σ ỹ log y, the published linear program, solved for all rows at once
        (`honeyguard.defenses.simplex`) instead of one program a row; published answers keep the top class always.
    """

    strength: ClassVar[Strength] = Strength("epsilon", 0, 2)

    epsilon: float = 1.0
    keep_top1: bool = True

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0, 2)

    def __call__(self, probabilities: Tensor) -> Tensor:
        return cheapest(probabilities, (probabilities + 1e-6).log(), self.epsilon, keep_top1=self.keep_top1)
