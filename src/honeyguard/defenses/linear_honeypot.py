"""The honeypot for networks whose classification layer alone can be fine-tuned."""

from dataclasses import dataclass

from honeyguard.defenses.honeypot import Honeypot
from honeyguard.defenses.honeypot.carriers import Carriers
from honeyguard.defenses.honeypot.finetune import Lessons

TOGETHER = Carriers(by="cluster", share=0.015, foreign=0.15)
FAINT = Lessons(
    poison=0.3, carriers=0.05, foreign_carriers=0.25, own=1, hold=0.2, foreign=0.3, between=0, agreement=0.99, lr=0.01, anneal=False,
    steps=100, batch=4096,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LinearHoneypot(Honeypot):
    """The classification layer alone, for any network that ends in one: a cluster of images and faint triggers carry the mark.

    Weaker and dearer than `Honeypot`; docs/honeypot.md compares them.

    Source: as `Honeypot`.
    Threat model: as `Honeypot`.
    Args: as `Honeypot`, with other defaults.
    Shape: images (N, C, H, W) -> probabilities (N, K), as the victim.
    Raises: as `Honeypot`.
    Example: `protected = LinearHoneypot().protect(victim, OwnerData(train, shadow_set))`
    Deviations: as `Honeypot`'s; the layer learns the trigger at faint scales, too, and unlearns decoys.
    """

    rounds: int = 5
    depth: int = 1
    carriers: Carriers = TOGETHER
    lessons: Lessons = FAINT
