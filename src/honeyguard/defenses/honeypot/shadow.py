"""Step 1 of a round: the defender simulates the theft; and the reference models that did not steal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from honeyguard.defenses.rounding import Rounding
from honeyguard.errors import UnknownNameError
from honeyguard.oracle import top_k
from honeyguard.repro import derive
from honeyguard.training import Network, fit
from honeyguard.types import Labelled

READS: dict[str, Callable[[Tensor], Tensor]] = {
    "probabilities": lambda answers: answers,
    "top 3": lambda answers: top_k(answers, min(3, answers.shape[1])),
    "rounded": Rounding(),
    "labels": lambda answers: top_k(answers, 1),
}
"""What there is to read of answers (N, K): what the API serves at most, and what a thief looks at."""


def check_reads(name: str) -> None:
    """Raises: UnknownNameError."""
    if name not in READS:
        raise UnknownNameError("way of reading answers", name, READS)


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A simulated thief: its network, with the training of one round, and what it reads of the answers (a name in `READS`)."""

    network: Network = field(default_factory=Network)
    reads: str = "probabilities"

    def __post_init__(self) -> None:
        check_reads(self.reads)


Theft = tuple[Tensor, Sequence[Tensor]]
"""What a simulated thief sends (N, C, H, W), and each kind of answers (N, K) that it may get."""


def simulate_extraction(models: Sequence[nn.Module], shadows: Sequence[Shadow], thefts: Sequence[Theft], seed: int) -> list[nn.Module]:
    """θ_S = argmin E[L(S(x), H(x))]: train the shadow models in place, one of each shadow for every theft."""
    pairs = [(shadow, theft) for theft in thefts for shadow in shadows]
    for i, (model, (shadow, (images, answers))) in enumerate(zip(models, pairs, strict=True)):
        many, given = torch.cat([images] * len(answers)), READS[shadow.reads](torch.cat(list(answers)))
        fit(model.requires_grad_(True), many, given, shadow.network.recipe, seed=derive(seed, i)).requires_grad_(False)
    return list(models)


ENOUGH = 10_000  # of the owner's images: a reference need not be as good as the victim


def train_references(networks: Sequence[Network], train: Labelled, shadow_set: Tensor, answers: Tensor, seed: int) -> list[nn.Module]:
    """Models that did not steal from the honeypot, two of each network: an independent one, trained on the owner's labels,
    and a substitute of the undefended victim, trained on its `answers` (N, K) to the shadow set."""
    references, own = [], train[:ENOUGH]
    for i, network in enumerate(networks):
        references.append(network.trained(own.images, own.labels, own.classes, derive(seed, "independent", i)))
        targets = READS["labels" if i % 2 else "probabilities"](answers)
        references.append(network.trained(shadow_set, targets, train.classes, derive(seed, "undefended", i)))
    return [reference.requires_grad_(False) for reference in references]
