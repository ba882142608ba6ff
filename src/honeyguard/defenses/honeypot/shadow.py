"""Step 1 of a round: the defender simulates the theft; and the reference models that did not steal."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from honeyguard.repro import derive
from honeyguard.training import Network, fit
from honeyguard.types import Labelled


def simulate_extraction(shadow: nn.Module, images: Tensor, answers: Tensor, network: Network, seed: int) -> nn.Module:
    """θ_S = argmin E[L(S(x), H(x))]: train the shadow model on the honeypot's answers (N, K) to the shadow set."""
    return fit(shadow.requires_grad_(True), images, answers, network.recipe, seed=seed).requires_grad_(False)


def train_references(networks: Sequence[Network], train: Labelled, shadow_set: Tensor, answers: Tensor, seed: int) -> list[nn.Module]:
    """Models that did not steal from the honeypot, two of each network: an independent one, trained on the owner's labels,
    and a substitute of the undefended victim, trained on its `answers` (N, K) to the shadow set."""
    references = []
    for i, network in enumerate(networks):
        references.append(network.trained(train.images, train.labels, train.classes, derive(seed, "independent", i)))
        references.append(network.trained(shadow_set, answers, train.classes, derive(seed, "undefended", i)))
    return [reference.requires_grad_(False) for reference in references]


def labels_of(models: Sequence[nn.Module], images: Tensor) -> list[Tensor]:
    """Each model's own labels (N,) for images (N, C, H, W)."""
    with torch.no_grad():
        return [torch.cat([model(part).argmax(1) for part in images.split(512)]) for model in models]
