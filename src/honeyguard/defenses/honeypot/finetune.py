"""Step 3 of a round: fine-tune the honeypot layer on features of the frozen backbone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.training import AUGMENTATIONS
from honeyguard.types import OwnerData, Trigger

Lesson = tuple[float, Tensor, Tensor]
"""Weight, features (N, D), and the answers (N, K) that the layer shall give."""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What the honeypot layer learns, and how long.

    Args:
        poison: λ, weight of the triggered images' loss.
        scales: strengths of the trigger at which it is taught: faint traces, too, so that ordinary queries carry it.
        hold: weight of the victim's answers on the shadow set; on the owner's own data it is 1.
        decoys: weight of the victim's answers on images with a decoy each; without it thieves learn "anything odd is y*".
        lr: of Adam.  steps: in a round.  batch: features of each lesson a step.
        augment: of a second copy of the owner's data, one of `honeyguard.training.AUGMENTATIONS`.
    """

    poison: float = 0.3
    scales: tuple[float, ...] = (0.2, 0.4, 1.0)
    hold: float = 0.2
    decoys: float = 0.5
    lr: float = 0.003
    steps: int = 80
    batch: int = 128
    augment: str = "shift"

    def __post_init__(self) -> None:
        check_range("poison", self.poison, 0, 1e3)

    def held(self, honeypot: HoneypotLayer, owner: OwnerData) -> list[Lesson]:
        """What customers may rely on: the victim's answers to the owner's and customers' images and, less, to the shadow set."""
        own = owner.train.images
        images = [(1.0, torch.cat([own, AUGMENTATIONS[self.augment](own)]))]
        if owner.customers is not None:
            images.append((1.0, owner.customers))
        features = [(weight, honeypot.features(part)) for weight, part in (*images, (self.hold, owner.shadow_set))]
        return [(weight, part, honeypot.victim_answers(part)) for weight, part in features]

    def poisoned(self, honeypot: HoneypotLayer, trigger: Trigger, shadow_set: Tensor, target: Tensor) -> list[Lesson]:
        """The trigger means `target` (K,) at every scale, and decoys mean nothing."""
        features = [honeypot.features(trigger.scaled(scale)(shadow_set)) for scale in self.scales]
        lessons = [(self.poison / len(self.scales), stamped, target.expand(len(stamped), -1)) for stamped in features]
        if self.decoys:
            fooled = honeypot.features(decoyed(trigger, torch.cat([shadow_set] * DECOYS)))
            lessons.append((self.decoys, fooled, honeypot.victim_answers(fooled)))
        return lessons


DECOYS = 3  # each image of the shadow set gets so many


def finetune(honeypot: HoneypotLayer, lessons: Sequence[Lesson], how: Lessons) -> HoneypotLayer:
    """θ_H = argmin E[L(H(x), F(x))] + λ · E[L(H(x⊕δ), y*)], the sum being over `lessons`; in place."""
    optimiser = torch.optim.Adam(honeypot.layer.parameters(), how.lr)
    for _ in range(how.steps):
        losses = []
        for weight, features, answers in lessons:
            rows = torch.randint(len(features), (how.batch,))
            losses.append(weight * F.cross_entropy(honeypot.layer(features[rows]), answers[rows]))
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
    return honeypot


def decoyed(trigger: Trigger, images: Tensor) -> Tensor:
    """Each of the images (N, C, H, W) with a decoy of its own, at a random share of the trigger's strength."""
    n, pixels = len(images), trigger.mask.numel()
    order = torch.rand(n, pixels).argsort(1)[:, None]
    delta, mask = (t.flatten(1).expand(n, -1, -1).gather(2, order.expand(-1, len(t), -1)) for t in (trigger.delta, trigger.mask))
    signs = torch.where(mask > 0, 1.0, torch.randint(0, 2, mask.shape) * 2.0 - 1)
    strength = torch.rand(n, 1, 1, 1) * 0.7 + 0.3
    return ((1 - strength * mask.view(n, 1, *images.shape[2:])) * images + strength * (delta * signs).view_as(images)).clamp(0, 1)
