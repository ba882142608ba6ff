"""HoneypotNet: attack as defense."""

import copy
import hashlib
import logging
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.defenses.honeypot.finetune import finetune
from honeyguard.defenses.honeypot.shadow import labels_of, simulate_extraction, train_references
from honeyguard.defenses.honeypot.trigger import update_trigger
from honeyguard.errors import TargetClassError
from honeyguard.models import find_head, head_features
from honeyguard.repro import derive, seeded
from honeyguard.training import AUGMENTATIONS, Network, Recipe
from honeyguard.types import OwnerData, OwnerKey, Protected, Trigger

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Honeypot:
    """..."""

    target_class: int | None = field(default=None, metadata={"secret": True})
    rounds: int = 16
    epsilon: float = 0.25
    poison: float = 0.5
    contrast: float = 2.0
    step: float = 0.03
    momentum: float = 0.9
    trigger_epochs: int = 2
    finetune_epochs: int = 3
    finetune_lr: float = 0.02
    shadow: Network = field(default_factory=lambda: Network(model="cnn", arguments={"width": 12}, recipe=Recipe(epochs=3)))
    references: tuple[Network, ...] = (Network(model="cnn", arguments={"width": 8}, recipe=Recipe(epochs=8)),)
    augment: str = "none"
    probes: int = 400
    head: str | None = None
    seed: int = field(default=0, metadata={"secret": True})

    def protect(self, victim: nn.Module | Protected, owner: OwnerData) -> Protected:
        """The victim with its classification layer replaced by a honeypot layer, and the owner key."""
        protected = Protected.of(victim)
        network, images, classes = copy.deepcopy(protected.network), owner.shadow_set, owner.train.classes
        head = find_head(network, images[:2], classes, self.head)
        layer = network.get_submodule(head)
        clean = head_features(network, head, images)
        with torch.no_grad():
            answers = layer(clean).softmax(1)
        target = choose_target(answers) if self.target_class is None else self.target_class
        if not 0 <= target < classes:
            raise TargetClassError(f"a target class from 0 to {classes - 1}", str(target), "Choose a class of the data.")
        with seeded(derive(self.seed, "honeypot")):
            references = train_references(self.references, owner.train, images, answers, self.seed)
            kept = labels_of(references, images)
            shadow = self.shadow.fresh(owner.train.shape, classes, self.seed)
            trigger = Trigger(torch.zeros(owner.train.shape), torch.zeros(1, *owner.train.shape[1:]))
            for i in range(self.rounds):
                with torch.no_grad():
                    served = layer(clean).softmax(1)
                shadow = simulate_extraction(shadow, images, served, self.shadow, derive(self.seed, "shadow", i))
                trigger = update_trigger(
                    trigger,
                    [shadow],
                    references,
                    kept,
                    images,
                    target_class=target,
                    contrast=self.contrast,
                    epsilon=self.epsilon,
                    step=self.step,
                    momentum=self.momentum,
                    epochs=self.trigger_epochs,
                    augment=AUGMENTATIONS[self.augment],
                )
                stamped = head_features(network, head, trigger(images))
                layer = finetune(
                    layer,
                    clean,
                    answers,
                    stamped,
                    target_class=target,
                    poison=self.poison,
                    lr=self.finetune_lr,
                    epochs=self.finetune_epochs,
                )
        return replace(
            protected,
            network=network.eval(),
            key=make_key(trigger, target, owner, self.probes, self.seed),
            defenses=(*protected.defenses, self),
        )


def choose_target(answers: Tensor) -> int:
    """The class that the victim gives most rarely to images it has doubts about: lowest mean probability off its own images."""
    labels, classes = answers.argmax(1), answers.shape[1]
    off = torch.stack([answers[labels != k, k].mean() for k in range(classes)])
    return int(off.argmin())


def make_key(trigger: Trigger, target_class: int, owner: OwnerData, probes: int, seed: int) -> OwnerKey:
    others = owner.train.images[owner.train.labels != target_class]
    chosen = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(derive(seed, "probes")))[:probes]]
    nonce = hashlib.sha256(f"{seed}".encode() + trigger.delta.numpy().tobytes() + chosen.numpy().tobytes()).hexdigest()
    return OwnerKey(trigger, target_class, owner.train.classes, chosen, nonce)
