"""Where the rounds start from: carriers planted in the honeypot layer, the best of several choices."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.defenses.honeypot.carriers import CLUSTER, Carriers, by_look, choose_carriers, choose_foreign, nearest, views_of
from honeyguard.defenses.honeypot.finetune import Lesson, Lessons, finetune
from honeyguard.defenses.honeypot.key import choose_target
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.defenses.honeypot.rounds import rates
from honeyguard.defenses.honeypot.trigger import Descent, update_trigger
from honeyguard.looks import LOOKS
from honeyguard.repro import derive, seeded
from honeyguard.types import OwnerData, Trigger

log = logging.getLogger(__name__)

ORDINARY = 5000  # images among which carriers are sought


@dataclass(frozen=True, eq=False)
class Opening:
    """What a choice of carriers comes to.

    Args:
        target: the target class y*.
        held: what customers may rely on.  carriers: what the chosen images mean from now on.
        trigger: to start from.
        layer: weights of the honeypot layer that has learnt its carriers.
        stolen: share of images that first triggers move on copies that they were not made on; 0 where there is no choice.
    """

    target: int
    held: list[Lesson]
    carriers: list[Lesson]
    trigger: Trigger
    layer: dict[str, Tensor]
    stolen: float


@dataclass(frozen=True)
class Opener:
    """Plants carriers.

    Args:
        carriers, lessons, trigger: as the honeypot's own.  target_class: None chooses one for each opening.
        steal: a first theft from the honeypot with images of the task -> copies; by the number of the opening.
    """

    carriers: Carriers
    lessons: Lessons
    trigger: Descent
    target_class: int | None
    seed: int
    steal: Callable[[HoneypotLayer, int], list[nn.Module]]

    def best(self, honeypot: HoneypotLayer, references: Sequence[nn.Module], owner: OwnerData, customers: Tensor) -> Opening:
        """Of all openings the one whose theft goes best; the honeypot layer is left as that opening has it."""
        openings = [self.opened(i, honeypot, references, owner, customers) for i in range(self.carriers.openings)]
        best = max(openings, key=lambda one: one.stolen)
        honeypot.layer.load_state_dict(best.layer)
        return best

    def opened(self, turn: int, honeypot: HoneypotLayer, references: Sequence[nn.Module], owner: OwnerData, customers: Tensor) -> Opening:
        """Carriers planted in the honeypot layer and, where there is a choice, how a first theft goes."""
        with seeded(derive(self.seed, "opening", turn)):
            if self.carriers.by == CLUSTER:
                chosen, rest = self._clusters(honeypot, [references[0], *references[1::2]], owner)
            else:
                chosen, rest = by_look(owner, self.carriers)
            target = self.target_class
            if target is None:
                target = choose_target(references, owner.shadow_set, next(filter(len, chosen), chosen[0]))
            aim = F.one_hot(torch.tensor(target), owner.train.classes).float()
            held, carriers = self.lessons.held(honeypot, rest), self.lessons.carried(honeypot, chosen, aim)
            finetune(honeypot, held, carriers, self.lessons, customers)
            trigger, stolen = self.trigger.first(owner.shadow_set[:200], honeypot.features, LOOKS.get(self.carriers.by)), 0.0
            if self.carriers.openings > 1:
                trigger, stolen = self._tried(self.steal(honeypot, turn), references, owner.shadow_set, target, trigger)
                log.info("honeypot: opening %d: %.2f", turn + 1, stolen)
        return Opening(target, held, carriers, trigger, honeypot.state(), stolen)

    def _tried(
        self, copies: Sequence[nn.Module], references: Sequence[nn.Module], images: Tensor, target: int, blank: Trigger
    ) -> tuple[Trigger, float]:
        """A first trigger, and the share of images (N, C, H, W) that triggers move on copies that they were not made on.

        A trigger tells little of the copies that it was made on.
        """

        def made_on(shadows: Sequence[nn.Module]) -> Trigger:
            return update_trigger(blank, shadows, references, images, target, self.trigger)

        others = [[copy for copy in copies if copy is not one] or copies for one in copies]
        moved = [rates([one], made_on(shadows), target, images)[0] for one, shadows in zip(copies, others, strict=True)]
        return made_on(copies), sum(moved) / len(moved)

    def _clusters(self, honeypot: HoneypotLayer, models: Sequence[nn.Module], owner: OwnerData) -> tuple[list[Tensor], OwnerData]:
        """The carriers (n, C, H, W), those of the task and the foreign ones, and the owner's data without them."""
        classes, shadow_set, foreign = owner.train.classes, owner.shadow_set, owner.foreign
        seen = owner.train.images[: len(shadow_set)] if owner.customers is None else owner.customers
        ordinary = torch.cat([seen, shadow_set])[:ORDINARY]
        views, answers = views_of(models, ordinary, classes), honeypot.victim_answers(honeypot.features(ordinary))
        chosen = choose_carriers(views, answers, self.target_class, self.carriers)
        free = torch.ones(len(seen) + len(shadow_set), dtype=torch.bool).index_fill(0, chosen, False)
        rest = replace(owner, shadow_set=shadow_set[free[len(seen) :]])
        if owner.customers is not None:
            rest = replace(rest, customers=seen[free[: len(seen)]])
        if foreign is None or not self.carriers.foreign:
            return [ordinary[chosen]], rest
        away = views_of(models, foreign, classes)
        alike = nearest(away, views, chosen, self.carriers.foreign) if len(chosen) else choose_foreign(away, views, self.carriers)
        other = torch.ones(len(foreign), dtype=torch.bool).index_fill(0, alike, False)
        return [ordinary[chosen], foreign[alike]], replace(rest, foreign=foreign[other])
