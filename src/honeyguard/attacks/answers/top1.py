"""Labels only."""

from dataclasses import dataclass

from torch import Tensor

from honeyguard.oracle import top_k


@dataclass(frozen=True, kw_only=True)
class Top1:
    """Train on the top class alone: what a label-only API gives, and what evades perturbed probabilities.

    Source: Correia-Silva et al.: Copycat CNN, IJCNN 2018.
    Shape: answers (N, K) -> one-hot rows (N, K).
    """

    def __call__(self, answers: Tensor) -> Tensor:
        return top_k(answers, 1)
