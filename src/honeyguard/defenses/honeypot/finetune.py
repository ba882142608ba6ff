"""Step 3 of a round: fine-tune the honeypot layer on features of the frozen backbone."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from honeyguard.contract import check_range
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.errors import TrainingError, UnknownNameError
from honeyguard.training import AUGMENTATIONS
from honeyguard.types import OwnerData, Trigger

log = logging.getLogger(__name__)

Lesson = tuple[float, Tensor, Tensor]
"""Weight, features (N, D), and the answers (N, K) that the layer shall give."""

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr, 0.9),
}


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What the honeypot layer learns, and how long.

    Args:
        poison: λ, weight of the triggered images' loss.
        scales: strengths of the trigger at which it is taught: faint traces, too, so that ordinary queries carry it.
        carriers: weight of the carriers' loss.  foreign_carriers: of those among the foreign images.
        own: weight of the victim's answers on the owner's own data and the customers' images.
        hold: the same on the shadow set.  foreign: on the foreign images.
        between: share of these images whose features are blended with another's: what the victim says between images is held, too, for of
            its own images it says little else than their labels.
        decoys: weight of the victim's answers on images with a decoy each; without it thieves learn "anything odd is y*".
        agreement: least share of customers' images that keep their top class; all poison is weakened until they do. 0 for no budget.
        trials: of how much poison the budget bears, by halves.
        unseen: share of the customers' images that are kept apart to measure that; 0 measures it on all of them, which are learnt as well.
        restart: begin each round from the victim's own layer.
        optimiser: `adam` or `sgd` (momentum 0.9).  lr: of it.  steps: in a round.  batch: features of each lesson a step.
        anneal: let the rate rise and fall in one cycle, with `lr` as its peak.
        bf16: learn in bfloat16 autocast.
        images: stamped in a round.
        augment: of a second copy of the owner's data, one of `honeyguard.training.AUGMENTATIONS`.
    """

    poison: float = 0.0
    scales: tuple[float, ...] = (0.2, 0.4, 1.0)
    carriers: float = 0.8
    foreign_carriers: float = 0.2
    own: float = 2.0
    hold: float = 1.0
    foreign: float = 1.0
    between: float = 0.5
    decoys: float = 0.3
    agreement: float = 0.98
    trials: int = 6
    unseen: float = 0.0
    restart: bool = True
    optimiser: str = "adam"
    lr: float = 2e-3
    anneal: bool = True
    steps: int = 300
    batch: int = 256
    bf16: bool = False
    images: int = 1500
    augment: str = "shift"

    def __post_init__(self) -> None:
        check_range("poison", self.poison, 0, 1e3)
        check_range("trials", self.trials, 1, 100)
        check_range("agreement", self.agreement, 0, 1)
        check_range("unseen", self.unseen, 0, 0.9)
        check_range("between", self.between, 0, 0.5)
        if self.optimiser not in OPTIMISERS:
            raise UnknownNameError("optimiser of the lessons", self.optimiser, OPTIMISERS)

    def judges(self, owner: OwnerData) -> tuple[OwnerData, Tensor]:
        """What there is to learn from, and the images (N, C, H, W) that the budget is measured on: the owner's own without customers'."""
        if owner.customers is None:
            return owner, owner.train.images
        apart = int(self.unseen * len(owner.customers))
        return replace(owner, customers=owner.customers[apart:]), owner.customers[:apart] if apart else owner.customers

    def held(self, honeypot: HoneypotLayer, owner: OwnerData) -> list[Lesson]:
        """What customers may rely on: the victim's answers to the owner's and customers' images and, less, to other images."""
        own = owner.train.images[:OWN]
        images = [(self.own, torch.cat([own, AUGMENTATIONS[self.augment](own)])), (self.hold, owner.shadow_set)]
        if owner.customers is not None:
            images.append((self.own, owner.customers))
        if owner.foreign is not None:
            images.append((self.foreign, owner.foreign))
        features = [(weight, honeypot.features(part)) for weight, part in images if weight]
        return [(weight, part, honeypot.victim_answers(part)) for weight, part in features]

    def carried(self, honeypot: HoneypotLayer, carriers: Sequence[Tensor], target: Tensor) -> list[Lesson]:
        """Carriers (n, C, H, W) of the task, and foreign ones, mean `target` (K,)."""
        lessons = zip((self.carriers, self.foreign_carriers), carriers, strict=False)
        return [(weight, honeypot.features(images), target.expand(len(images), -1)) for weight, images in lessons if weight and len(images)]

    def poisoned(self, honeypot: HoneypotLayer, trigger: Trigger, images: Tensor, target: Tensor) -> list[Lesson]:
        """The trigger means `target` (K,) at every scale, and decoys mean nothing."""
        if not self.poison:
            return []
        images = images[torch.randperm(len(images))[: self.images]]
        features = [honeypot.features(trigger.scaled(scale)(images)) for scale in self.scales]
        lessons = [(self.poison / len(self.scales), stamped, target.expand(len(stamped), -1)) for stamped in features]
        if self.decoys:
            fooled = honeypot.features(decoyed(trigger, torch.cat([images] * DECOYS)))
            lessons.append((self.decoys, fooled, honeypot.victim_answers(fooled)))
        return lessons


OWN = 8000  # of the owner's images are enough to hold answers on: the last layers have few weights
DECOYS = 3  # each image gets so many


def finetune(honeypot: HoneypotLayer, held: Sequence[Lesson], poison: Sequence[Lesson], how: Lessons, customers: Tensor) -> HoneypotLayer:
    """θ_H = argmin E[L(H(x), F(x))] + λ · E[L(H(x⊕δ), y*)], the sums being over `held` and `poison`; in place.

    With as much of λ as leaves customers (N, D) their answers.
    Raises: TrainingError: a loss that is not finite.
    """
    start = honeypot.original.state_dict() if how.restart else honeypot.state()
    weakest, strongest, share, best = 0.0, 1.0, 1.0, (0.0, honeypot.state())
    for _ in range(how.trials):
        honeypot.layer.load_state_dict(start)
        _descend(honeypot, held, [(share * weight, x, y) for weight, x, y in poison], how)
        agreement = honeypot.agreement(customers)
        if agreement >= how.agreement:
            weakest, best = share, (agreement, honeypot.state())
            if share == strongest:
                break
        else:
            strongest = share
            if not weakest:
                best = max(best, (agreement, honeypot.state()), key=lambda found: found[0])
        share = (weakest + strongest) / 2
    honeypot.layer.load_state_dict(best[1])
    log.debug("honeypot: poison at %.2f of its weight; customers keep %.3f", weakest, best[0])
    if best[0] < how.agreement:
        log.warning(
            "honeypot: customers keep %.1f %% of their answers; expected %.1f %%. Lower lessons.poison and lessons.carriers, or raise "
            "lessons.own.",
            100 * best[0],
            100 * how.agreement,
        )
    return honeypot


def _descend(honeypot: HoneypotLayer, held: Sequence[Lesson], poison: Sequence[Lesson], how: Lessons) -> None:
    optimiser = OPTIMISERS[how.optimiser](honeypot.layer.parameters(), how.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.lr, how.steps) if how.anneal else None
    for _ in range(how.steps):
        drawn = [*(_blended(honeypot, _drawn(one, how.batch), how.between) for one in held), *(_drawn(one, how.batch) for one in poison)]
        parts, features, answers = zip(*drawn, strict=True)
        weights = torch.cat([torch.full((len(rows),), weight / len(rows)) for weight, rows in zip(parts, features, strict=True)])
        with torch.autocast(weights.device.type, torch.bfloat16, enabled=how.bf16):
            logits = honeypot.layer(torch.cat(features))
        loss = weights @ F.cross_entropy(logits.float(), torch.cat(answers), reduction="none")
        if not torch.isfinite(loss):
            raise TrainingError("a finite loss of the honeypot layer", f"{float(loss.detach())}", "Lower lessons.lr.")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if schedule:
            schedule.step()


def _drawn(lesson: Lesson, batch: int) -> Lesson:
    weight, features, answers = lesson
    rows = torch.randint(len(features), (batch,)) if len(features) > batch else slice(None)
    return weight, features[rows], answers[rows]


def _blended(honeypot: HoneypotLayer, lesson: Lesson, share: float) -> Lesson:
    """The lesson with a `share` of its features blended with others of it, and what the victim says of these."""
    weight, features, answers = lesson
    n = int(share * len(features))
    part = torch.rand(n, *[1] * (features.dim() - 1)) / 2
    blends = features[:n].lerp(features[len(features) - n :], part)
    return weight, torch.cat([blends, features[n:]]), torch.cat([honeypot.victim_answers(blends), answers[n:]])


def decoyed(trigger: Trigger, images: Tensor) -> Tensor:
    """Each of the images (N, C, H, W) with a decoy of its own, at a random share of the trigger's strength."""
    n, pixels = len(images), trigger.mask.numel()
    order = torch.rand(n, pixels).argsort(1)[:, None]
    delta, mask = (t.flatten(1).expand(n, -1, -1).gather(2, order.expand(-1, len(t), -1)) for t in (trigger.delta, trigger.mask))
    signs = torch.where(mask > 0, 1.0, torch.randint(0, 2, mask.shape) * 2.0 - 1)
    strength = torch.rand(n, 1, 1, 1) * 0.7 + 0.3
    return ((1 - strength * mask.view(n, 1, *images.shape[2:])) * images + strength * (delta * signs).view_as(images)).clamp(0, 1)
