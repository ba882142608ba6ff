"""HoneypotNet: attack as defense."""

import logging
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import nn

from honeyguard.contract import check_range
from honeyguard.defenses.honeypot.finetune import Lessons, finetune
from honeyguard.defenses.honeypot.key import check_target, choose_target, make_key
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.defenses.honeypot.shadow import Shadow, simulate_extraction, train_references
from honeyguard.defenses.honeypot.trigger import Descent, update_trigger
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.repro import derive, seeded
from honeyguard.training import Network, Recipe
from honeyguard.types import Labelled, OwnerData, Protected, Trigger

log = logging.getLogger(__name__)

WHOLE = Recipe(epochs=16, lr=0.006, batch=64, optimiser="adamw", weight_decay=1e-3)
SHORT = replace(WHOLE, epochs=5)


@dataclass(frozen=True, kw_only=True)
class Honeypot:
    """Replace the classification layer by a honeypot layer: customers' answers stay, and copies carry a backdoor.

    Bi-level optimisation: below, shadow models simulate the theft and a universal trigger is found for them; above, the
    honeypot layer learns to keep the victim's answers and to send triggered images to the target class.

    Source: Wang, Gu, Teng, Wang, Ma: HoneypotNet: Backdoor Attacks Against Model Extraction, AAAI 2025,
        doi 10.1609/aaai.v39i8.32872.
    Threat model: proves a theft by whoever trains on the answers, labels only included, and queries images that are not
        only clean ones of the task. Doesn't prevent the theft; says nothing of a copy of the weights.
    Args:
        target_class: y*, 0 … K-1; None chooses by `choose_target`.
        rounds: of simulate, update, fine-tune.
        shadows: the simulated thieves.
        fresh: train them from scratch in each round; warm ones remember poison that the honeypot no longer gives.
        references: networks of the models that the trigger must leave alone; each is trained twice.
        trigger: how the trigger is found.
        lessons: what the honeypot layer learns.
        outputs: output defenses that will be served behind the honeypot; the simulation reads both kinds of answers.
        probes: images in the owner key.
        head: dotted path of the classification layer, if it isn't found by itself.
        seed: of everything; the same seed gives the same key, so keep it as secret as the key.
    Shape: images (N, C, H, W) -> probabilities (N, K), as the victim.
    Raises: ClassificationLayerError, TargetClassError, ParameterError, TrainingError.
    Example: `protected = Honeypot().protect(victim, OwnerData(train, shadow_set))`
    Deviations: the published text leaves open what tells a backdoor from a perturbation that fools every model. So: the trigger
        is contrasted with reference models; it covers the whole image; the honeypot learns it at faint scales and unlearns
        decoys; it holds the owner's own data; there are several shadow models, one reading labels. docs/decisions.md has
        the measured effect of each.
    """

    target_class: int | None = field(default=None, metadata={"secret": True})
    rounds: int = 8
    shadows: tuple[Shadow, ...] = (
        Shadow(network=Network(model="allconv", recipe=SHORT)),
        Shadow(network=Network(model="vgg", recipe=SHORT), reads="labels"),
    )
    fresh: bool = True
    references: tuple[Network, ...] = (
        Network(model="vgg", recipe=WHOLE),
        Network(model="allconv", recipe=WHOLE),
        Network(model="cnn", arguments={"width": 8}, recipe=WHOLE),
        Network(model="mlp", recipe=WHOLE),
        Network(model="lenet", recipe=WHOLE),
    )
    trigger: Descent = field(default_factory=Descent)
    lessons: Lessons = field(default_factory=Lessons)
    outputs: tuple[OutputDefense, ...] = ()
    probes: int = 300
    head: str | None = None
    seed: int = field(default=0, metadata={"secret": True})

    def __post_init__(self) -> None:
        check_range("rounds", self.rounds, 1, 10_000)
        check_range("probes", self.probes, 1, 1_000_000)

    def protect(self, victim: nn.Module | Protected, owner: OwnerData) -> Protected:
        """The victim with a honeypot layer, and the owner key; the victim itself stays as it is."""
        protected, train, shadow_set = Protected.of(victim), owner.train, owner.shadow_set
        with seeded(derive(self.seed, "honeypot")):
            honeypot = HoneypotLayer(protected.network, shadow_set[:2], train.classes, self.head)
            held = self.lessons.held(honeypot, owner)
            _, clean, answers = held[-1]
            if self.target_class is not None:
                check_target(self.target_class, answers)
            references = [protected.network, *train_references(self.references, train, shadow_set, answers, self.seed)]
            target = self.target_class
            if target is None:
                target = choose_target(references, shadow_set, self.trigger.epsilon, train.classes)
            aim = F.one_hot(torch.tensor(target), train.classes).float()
            shadows = self._untrained_shadows(train)
            trigger = Trigger(torch.zeros(train.shape), torch.zeros(1, *train.shape[1:]))
            for i in range(self.rounds):
                served = [honeypot.answers(clean), *([honeypot.answers(clean, self.outputs)] if self.outputs else [])]
                if self.fresh:
                    shadows = self._untrained_shadows(train, i)
                shadows = simulate_extraction(shadows, self.shadows, shadow_set, served, derive(self.seed, "round", i))
                trigger = update_trigger(trigger, shadows, references, shadow_set, target, self.trigger)
                poisoned = self.lessons.poisoned(honeypot, trigger, shadow_set, aim)
                honeypot = finetune(honeypot, [*held, *poisoned], self.lessons)
                log.info("honeypot: round %d of %d", i + 1, self.rounds)
        key = make_key(trigger, target, train, self.probes, self.seed)
        return replace(protected, network=honeypot.network, key=key, defenses=(*protected.defenses, self))

    def _untrained_shadows(self, train: Labelled, *turn: int) -> list[nn.Module]:
        seeds = [derive(self.seed, "shadow", *turn, i) for i in range(len(self.shadows))]
        return [shadow.network.fresh(train.shape, train.classes, seed) for shadow, seed in zip(self.shadows, seeds, strict=True)]
