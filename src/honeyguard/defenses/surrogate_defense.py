"""The base of the defenses that ask a network of the owner's about the image."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from honeyguard import types
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import DataError
from honeyguard.oracle import predict
from honeyguard.repro import derive
from honeyguard.training import Network
from honeyguard.types import OwnerData, Protected


@dataclass(frozen=True, kw_only=True)
class SurrogateDefense(OutputDefense):
    """Perturbs with what a network of the owner's says of the image; without one, with what the probabilities tell.

    Args:
        surrogate: the network and how it is trained in `protect`; None: none, and the defense is a pure function of the probabilities.
        seed: of the training.
    """

    surrogate: Network | None = None
    seed: int = 0

    def __call__(self, probabilities: Tensor) -> Tensor:
        return self.perturb(probabilities, None)

    @abstractmethod
    def perturb(self, y: Tensor, seen: Tensor | None) -> Tensor:
        """Answers (N, K) from probabilities and what `see` returned; None without a network."""

    @abstractmethod
    def see(self, network: nn.Module, images: Tensor, y: Tensor) -> Tensor:
        """What the network says of images (N, C, H, W) that the victim answers with y (N, K)."""

    def train(self, surrogate: Network, protected: Protected, owner: OwnerData) -> nn.Module:
        """As a thief would: on the victim's answers to the shadow set."""
        answers = predict(Protected(protected.network).model, owner.shadow_set)
        return surrogate.trained(owner.shadow_set, answers, owner.train.classes, derive(self.seed, "surrogate"))

    def fitted(self, protected: Protected, owner: OwnerData | None) -> types.OutputDefense:
        if self.surrogate is None:
            return self
        if owner is None:
            raise DataError("the owner's data, to train the surrogate", "none", "Pass them to protect, or leave the surrogate out.")
        return WithNetwork(self, self.train(self.surrogate, protected, owner).eval())


@dataclass(frozen=True, eq=False)
class WithNetwork:
    """A defense with its network: probabilities (N, K) and images (N, C, H, W) -> probabilities (N, K)."""

    defense: SurrogateDefense
    network: nn.Module

    needs_images: ClassVar[bool] = True

    def __call__(self, probabilities: Tensor, images: Tensor) -> Tensor:
        if not len(images):
            return probabilities
        with torch.inference_mode(False):
            y, given = probabilities.detach().clone(), images.detach().clone()
            return self.defense.perturb(y, self.defense.see(self.network, given, y))

    def __repr__(self) -> str:
        return repr(self.defense)
