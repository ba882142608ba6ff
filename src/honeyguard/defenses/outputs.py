"""The base of every defense that is a pure function of the answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from honeyguard import types
from honeyguard.contract import check_answers
from honeyguard.errors import AnswerError
from honeyguard.types import OwnerData, Protected


class Strength(NamedTuple):
    """The parameter that makes a defense stronger, its values from the weakest to the strongest, and whether only whole ones count."""

    parameter: str
    weakest: float
    strongest: float
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class OutputDefense(ABC):
    """Probabilities (N, K) -> probabilities (N, K), applied after whatever already protects the victim."""

    strength: ClassVar[Strength | None] = None

    @abstractmethod
    def __call__(self, probabilities: Tensor) -> Tensor:
        """Perturbed answers."""

    def checked(self, probabilities: Tensor) -> Tensor:
        """The same for answers from outside: refused unless they are distributions, never renormalised.

        Raises: AnswerError: K = 1, NaN, negative values, or rows that don't sum to 1 within 1e-3, such as logits.
        """
        return self(check_answers(probabilities))

    def checked_binary(self, probabilities: Tensor) -> Tensor:
        """The same for a model of one output (N, 1), the probability of one of two classes.

        Raises: AnswerError: another shape, NaN, or values outside [0, 1].
        """
        if not isinstance(probabilities, Tensor) or probabilities.ndim != 2 or probabilities.shape[1] != 1:
            got = f"shape {tuple(probabilities.shape)}" if isinstance(probabilities, Tensor) else f"a {type(probabilities).__name__}"
            raise AnswerError("probabilities (N, 1) of one class", got, "Rows of several classes go to checked().")
        if len(probabilities) and not 0 <= float(probabilities.min()) <= float(probabilities.max()) <= 1:
            got = f"values from {float(probabilities.min()):.3g} to {float(probabilities.max()):.3g}"
            raise AnswerError("probabilities from 0 to 1", got, "Logits? Apply the logistic function first.")
        return self(torch.cat([probabilities, 1 - probabilities], 1))[:, :1]

    def protect(self, victim: nn.Module | Protected, owner: OwnerData | None = None) -> Protected:
        """The victim with this function at its outputs; most need nothing of the owner's data."""
        protected = Protected.of(victim)
        return replace(protected, outputs=(*protected.outputs, self.fitted(protected, owner)), defenses=(*protected.defenses, self))

    def fitted(self, protected: Protected, owner: OwnerData | None) -> types.OutputDefense:  # noqa: ARG002
        """What is served: this function itself, unless it learns something from the owner's data first."""
        return self
