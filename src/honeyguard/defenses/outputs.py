"""The base of every defense that is a pure function of the answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor, nn

from honeyguard.types import OwnerData, Protected


@dataclass(frozen=True, kw_only=True)
class OutputDefense(ABC):
    """Probabilities (N, K) -> probabilities (N, K), applied after whatever already protects the victim."""

    @abstractmethod
    def __call__(self, probabilities: Tensor) -> Tensor:
        """Perturbed answers."""

    def protect(self, victim: nn.Module | Protected, owner: OwnerData | None = None) -> Protected:  # noqa: ARG002
        """The victim with this function at its outputs; the owner's data are not needed."""
        protected = Protected.of(victim)
        return replace(protected, outputs=(*protected.outputs, self), defenses=(*protected.defenses, self))
