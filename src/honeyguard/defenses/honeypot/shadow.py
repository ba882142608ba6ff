"""Step 1 of a round: the defender simulates the theft; and the reference models that did not steal."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from honeyguard.errors import UnknownNameError
from honeyguard.oracle import top_k
from honeyguard.repro import derive
from honeyguard.training import Network, fit
from honeyguard.types import Labelled

READS = {"probabilities": lambda answers: answers, "labels": lambda answers: top_k(answers, 1)}


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A simulated thief: its network, with the training of one round, and what it reads of the answers."""

    network: Network = field(default_factory=Network)
    reads: str = "probabilities"

    def __post_init__(self) -> None:
        if self.reads not in READS:
            raise UnknownNameError("way of reading answers", self.reads, READS)


def simulate_extraction(
    models: Sequence[nn.Module], shadows: Sequence[Shadow], images: Tensor, answers: Sequence[Tensor], seed: int
) -> list[nn.Module]:
    """θ_S = argmin E[L(S(x), H(x))]: train each shadow model in place, on all the kinds of the honeypot's `answers` (N, K)."""
    many, given = torch.cat([images] * len(answers)), torch.cat(list(answers))
    trained = [
        fit(model.requires_grad_(True), many, READS[shadow.reads](given), shadow.network.recipe, seed=derive(seed, i))
        for i, (model, shadow) in enumerate(zip(models, shadows, strict=True))
    ]
    return [model.requires_grad_(False) for model in trained]


def train_references(networks: Sequence[Network], train: Labelled, shadow_set: Tensor, answers: Tensor, seed: int) -> list[nn.Module]:
    """Models that did not steal from the honeypot, two of each network: an independent one, trained on the owner's labels,
    and a substitute of the undefended victim, trained on its `answers` (N, K) to the shadow set."""
    references = []
    for i, network in enumerate(networks):
        references.append(network.trained(train.images, train.labels, train.classes, derive(seed, "independent", i)))
        targets = READS["labels" if i % 2 else "probabilities"](answers)
        references.append(network.trained(shadow_set, targets, train.classes, derive(seed, "undefended", i)))
    return [reference.requires_grad_(False) for reference in references]
