"""Wrong answers to images that are not of the task: Adaptive Misinformation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.defenses.outputs import Strength
from honeyguard.defenses.surrogate_defense import SurrogateDefense
from honeyguard.repro import derive
from honeyguard.training import Network, fit
from honeyguard.types import OwnerData, Protected


@dataclass(frozen=True, kw_only=True)
class AdaptiveMisinformation(SurrogateDefense):
    """Blend in misinformation where the victim is unsure, as it is on a thief's images.

    Source: Kariyappa, Qureshi: Defending Against Model Stealing Attacks with Adaptive Misinformation, CVPR 2020, eqs. 4-7.
    Threat model: stops a thief whose images are not of the task. Doesn't stop one with images of the task; customers pay for unusual ones,
        because the top class of a blended answer is wrong.
    Args:
        tau: τ, top probability below which answers are misinformation, in [0, 1]; the paper fits it to each data set.
        nu: ν, how sharply, > 0.
        surrogate: the misinformation network, trained to avoid the right class; None: the row's probabilities in reverse order.
    Shape: probabilities (N, K) -> (N, K), rows sum to 1.
    Raises: ParameterError: tau or nu out of range.
    Example:
        >>> AdaptiveMisinformation(tau=0.8)(torch.tensor([[0.9, 0.08, 0.02], [0.5, 0.4, 0.1]]))
        tensor([[0.9000, 0.0800, 0.0200],
                [0.1000, 0.4000, 0.5000]])
    Deviations: the largest probability tells unusual images; the paper's victim is trained with outlier exposure besides. Without a network
        the probabilities in reverse order are the misinformation, so that the defense works on probabilities alone.
    """

    strength: ClassVar[Strength] = Strength("tau", 0, 1)

    tau: float = 0.5
    nu: float = 1000.0

    def __post_init__(self) -> None:
        check_range("tau", self.tau, 0, 1)
        check_range("nu", self.nu, 1e-6, 1e6)

    def train(self, surrogate: Network, protected: Protected, owner: OwnerData) -> nn.Module:  # noqa: ARG002
        """On the owner's labels, to give the right class no probability (reverse cross-entropy, eq. 5)."""
        seed = derive(self.seed, "misinformation")
        network = surrogate.fresh(owner.train.shape, owner.train.classes, seed)
        return fit(network, owner.train.images, owner.train.labels, surrogate.recipe, seed=seed, loss=_reverse_cross_entropy)

    def see(self, network: nn.Module, images: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        with torch.no_grad():
            return torch.softmax(network(images), 1)

    def perturb(self, y: Tensor, seen: Tensor | None) -> Tensor:
        if seen is None:
            values, order = y.sort(1)
            seen = torch.zeros_like(y).scatter(1, order, values.flip(1))
        share = torch.sigmoid(self.nu * (self.tau - y.amax(1, keepdim=True)))  # α, eq. 7
        return (1 - share) * y + share * seen


def _reverse_cross_entropy(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    right = network(images).float().softmax(1).gather(1, labels[:, None])
    return -torch.log1p(-right.clamp_max(1 - 1e-6)).mean()
