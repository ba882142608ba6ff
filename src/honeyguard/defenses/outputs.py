"""The base of every defense that is a pure function of the answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor, nn

from honeyguard import types
from honeyguard.types import OwnerData, Protected


@dataclass(frozen=True, kw_only=True)
class OutputDefense(ABC):
    """Probabilities (N, K) -> probabilities (N, K), applied after whatever already protects the victim."""

    @abstractmethod
    def __call__(self, probabilities: Tensor) -> Tensor:
        """Perturbed answers."""

    def protect(self, victim: nn.Module | Protected, owner: OwnerData | None = None) -> Protected:
        """The victim with this function at its outputs; most need nothing of the owner's data."""
        protected = Protected.of(victim)
        return replace(protected, outputs=(*protected.outputs, self.fitted(protected, owner)), defenses=(*protected.defenses, self))

    def fitted(self, protected: Protected, owner: OwnerData | None) -> types.OutputDefense:  # noqa: ARG002
        """What is served: this function itself, unless it learns something from the owner's data first."""
        return self
