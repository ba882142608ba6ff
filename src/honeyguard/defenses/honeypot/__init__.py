"""HoneypotNet: attack as defense."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from honeyguard.contract import check_range
from honeyguard.defenses.honeypot.carriers import CLUSTER, Carriers
from honeyguard.defenses.honeypot.finetune import Lessons, finetune
from honeyguard.defenses.honeypot.key import check_target, make_key
from honeyguard.defenses.honeypot.layer import HoneypotLayer
from honeyguard.defenses.honeypot.opening import Opener, Opening
from honeyguard.defenses.honeypot.rounds import History, Round, judged
from honeyguard.defenses.honeypot.shadow import READS, Shadow, check_reads, simulate_extraction, train_references
from honeyguard.defenses.honeypot.trigger import Descent, update_trigger
from honeyguard.defenses.honeypot.triggers import Patch
from honeyguard.defenses.outputs import OutputDefense
from honeyguard.errors import DataError, ParameterError
from honeyguard.repro import derive, seeded
from honeyguard.training import Network, Recipe
from honeyguard.types import OwnerData, Protected, Trigger

WHOLE = Recipe(epochs=16, lr=0.006, batch=64, optimiser="adamw", weight_decay=1e-3)
SHORT = replace(WHOLE, epochs=5)


@dataclass(frozen=True, kw_only=True)
class Honeypot:
    """Replace the network's last layers by a honeypot layer: customers' answers stay, and copies carry a backdoor.

    Bi-level optimisation: below, shadow models simulate the theft and a universal trigger is found for them; above, the
    honeypot layer learns to keep the victim's answers and to send triggered images to the target class.

    Source: Wang, Gu, Teng, Wang, Ma: HoneypotNet: Backdoor Attacks Against Model Extraction, AAAI 2025,
        doi 10.1609/aaai.v39i8.32872.
    Threat model: proves a theft by whoever trains on the answers, labels only included. Doesn't prevent the theft; says nothing of a copy
        of the weights, nor of a copy that was fine-tuned afterwards on clean labelled images.
    Args:
        target_class: y*, 0 … K-1; None chooses by `choose_target`.
        rounds: of simulate, update, fine-tune; the best one is kept.
        shadows: the simulated thieves; each steals with the shadow set and, if there are any, with the foreign images.
        fresh: train them from scratch in each round; warm ones remember poison that the honeypot no longer gives.
        references: networks of the models that the trigger must leave alone; each is trained twice.
        trigger: how the trigger is found.
        carriers: which ordinary images carry the poison.
        lessons: what the honeypot layer learns.
        answers: what the API will serve at most, a name in `shadow.READS`.
        outputs: output defenses that will be served behind the honeypot; the simulation reads both kinds of answers.
        keep_top1: the victim's largest probability from which on the customer's label never changes; None promises nothing.
        probes: images in the owner key.
        head: dotted path of the classification layer, if it isn't found by itself.
        depth: stages with weights that are fine-tuned, from the network's end; 1 is the classification layer alone. More of them need a
            chain of modules (`nn.Sequential`); for other networks there is `LinearHoneypot`. The served network keeps its form.
        folder: where rounds are kept, so that a run that was stopped goes on; secret as the key. None keeps none.
        seed: of everything; the same seed gives the same key, so keep it as secret as the key.
    Shape: images (N, C, H, W) -> probabilities (N, K), as the victim.
    Raises: ClassificationLayerError, TargetClassError, ParameterError, DataError, TrainingError, ArtifactError.
    Example: `protected = Honeypot().protect(victim, OwnerData(train, shadow_set))`
    Deviations: `Honeypot.paper()` is the published method as far as it could be reconstructed. Here the trigger is contrasted with
        reference models; it covers the whole image; the few images with the most of some simple look carry the poison, and not the trigger;
        two stages are fine-tuned, so that these few can be told from all others; the owner's own data are held within a budget; several
        fresh shadow models are simulated, one reading labels; the best round is kept. docs/honeypot.md has the measured effect of each.
    """

    target_class: int | None = field(default=None, metadata={"secret": True})
    rounds: int = 2
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
    carriers: Carriers = field(default_factory=Carriers)
    lessons: Lessons = field(default_factory=Lessons)
    answers: str = "probabilities"
    outputs: tuple[OutputDefense, ...] = ()
    keep_top1: float | None = None
    probes: int = 300
    head: str | None = None
    depth: int = 2
    folder: str | None = field(default=None, repr=False, compare=False, metadata={"secret": True})
    seed: int = field(default=0, metadata={"secret": True})

    def __post_init__(self) -> None:
        check_range("rounds", self.rounds, 1, 10_000)
        check_range("probes", self.probes, 1, 1_000_000)
        check_range("depth", self.depth, 1, 1000)
        check_range("keep_top1", 0 if self.keep_top1 is None else self.keep_top1, 0, 1)
        check_reads(self.answers)
        if self.trigger.start == "look" and self.carriers.by == CLUSTER:
            raise ParameterError("carriers by a look, for a trigger that starts from it", "by='cluster'", "Name a look, or start='blank'.")

    @classmethod
    def paper(cls, *, target_class: int | None = None, images: int = 5000, size: int = 6, seed: int = 0) -> "Honeypot":
        """The published method: 30 rounds of 5 + 5 + 5 epochs, a patch in a corner, one warm shadow model, no contrast.

        Args:
            images: in the shadow set.  size: of the patch; 6 on 32×32 images, 28 on 224×224.
        Deviations: the signs of the trigger's rule and its bounds are [0, 1]; rounds are judged, and the last one needn't be the one kept.
        """
        epochs = 5 * images // 128
        shadow = Network(model="resnet18", recipe=Recipe(epochs=5, lr=0.1, augment="none"))
        return cls(
            target_class=target_class,
            rounds=30,
            shadows=(Shadow(network=shadow),),
            fresh=False,
            references=(),
            trigger=Descent(shape=Patch(size=size), contrast=0, inertia=0.9, steps=epochs, batch=128, augment="none"),
            depth=1,
            carriers=Carriers(by="cluster", share=0, foreign=0),
            lessons=Lessons(
                poison=1, scales=(1.0,), own=0, hold=1, foreign=1, between=0, decoys=0, agreement=0, restart=False,
                optimiser="sgd", lr=0.02, anneal=False, steps=epochs, batch=128,
            ),
            seed=seed,
        )  # fmt: skip

    def protect(self, victim: nn.Module | Protected, owner: OwnerData) -> Protected:
        """The victim with a honeypot layer, and the owner key; the victim itself stays as it is.

        Ctrl-C after the first round keeps the best round so far.
        """
        protected, train, shadow_set = Protected.of(victim), owner.train, owner.shadow_set
        self._check(owner)
        run = self._run(protected.network, owner)
        with seeded(derive(self.seed, "honeypot")):
            honeypot = HoneypotLayer(protected.network, shadow_set[:2], train.classes, self.head, self.keep_top1, self.depth)
            owner, judges = self.lessons.judges(owner)
            customers = honeypot.features(judges)
            answers = honeypot.victim_answers(honeypot.features(shadow_set))
            if self.target_class is not None:
                check_target(self.target_class, answers)
            references = [protected.network, *train_references(self.references, train, shadow_set, answers, self.seed)]
            start = self._opener(owner).best(honeypot, references, owner, customers)
            history = History(Path(self.folder) if self.folder else None, run, self.lessons.agreement)
            trigger = history.resumed(honeypot, start.trigger)
            still = self.fresh and not self.lessons.poison  # the layer has learnt its carriers and changes no more: copies stay copies
            pools = self._seen(honeypot, owner)
            turns = range(history.done + 1) if still else (history.done,)
            shadows = [copy for turn in turns for copy in self._copies(honeypot, [], pools, turn)]
            with history.stoppable():
                for i in range(history.done, self.rounds):
                    with seeded(derive(self.seed, "round", i)):
                        trigger = update_trigger(trigger, shadows, references, shadow_set, start.target, self.trigger)
                        honeypot = self._finetuned(honeypot, start, trigger, owner, customers)
                    copies = self._copies(honeypot, shadows, pools, i + 1)  # step 1 of the next round, and this round's validation
                    history.add(judged(i + 1, honeypot, trigger, start.target, copies, references, shadow_set, customers))
                    shadows = [*shadows, *copies] if still else copies
            best = cast(Round, history.best)
            honeypot.layer.load_state_dict(best.layer)
        key = make_key(best.trigger, start.target, train, self.probes, self.seed)
        return replace(protected, network=honeypot.network, key=key, defenses=(*protected.defenses, self))

    def _opener(self, owner: OwnerData) -> Opener:
        near = replace(owner, foreign=None) if self.carriers.share else owner

        def steal(honeypot: HoneypotLayer, turn: int) -> list[nn.Module]:
            return self._copies(honeypot, [], self._seen(honeypot, near), -1 - turn)

        return Opener(self.carriers, self.lessons, self.trigger, self.target_class, self.seed, steal)

    def _finetuned(self, honeypot: HoneypotLayer, start: Opening, trigger: Trigger, owner: OwnerData, customers: Tensor) -> HoneypotLayer:
        """Step 3: the layer learns the trigger too; where it is not taught the carriers are all there is, and they are learnt already."""
        aim = F.one_hot(torch.tensor(start.target), owner.train.classes).float()
        stamped = self.lessons.poisoned(honeypot, trigger, torch.cat(self._pools(owner)), aim)
        return finetune(honeypot, start.held, [*start.carriers, *stamped], self.lessons, customers) if stamped else honeypot

    def _copies(self, honeypot: HoneypotLayer, warm: list[nn.Module], pools: list[tuple[Tensor, Tensor]], turn: int) -> list[nn.Module]:
        """Step 1: what thieves get from the honeypot as it is now; one copy of each shadow for each pool of images."""
        thefts = []
        for images, features in pools:
            kinds = [honeypot.answers(features), *([honeypot.answers(features, self.outputs)] if self.outputs else [])]
            thefts.append((images, [READS[self.answers](answers) for answers in kinds]))
        if self.fresh or not warm:
            shadows = [shadow for _ in thefts for shadow in self.shadows]
            seeds = [derive(self.seed, "shadow", turn, i) for i in range(len(shadows))]
            shape, classes = thefts[0][0][0].shape, thefts[0][1][0].shape[1]
            warm = [shadow.network.fresh(shape, classes, seed) for shadow, seed in zip(shadows, seeds, strict=True)]
        return simulate_extraction(warm, self.shadows, thefts, derive(self.seed, "theft", turn))

    def _pools(self, owner: OwnerData) -> list[Tensor]:
        """The images (N, C, H, W) that thieves may send, by their kind; foreign ones alone where these alone carry the poison."""
        foreign = [] if owner.foreign is None else [owner.foreign]
        return foreign if foreign and self.carriers.foreign and not self.carriers.share else [owner.shadow_set, *foreign]

    def _seen(self, honeypot: HoneypotLayer, owner: OwnerData) -> list[tuple[Tensor, Tensor]]:
        """The pools with their features."""
        return [(images, honeypot.features(images)) for images in self._pools(owner)]

    def _check(self, owner: OwnerData) -> None:
        for images in self._pools(owner):
            largest = max(shadow.network.recipe.batch for shadow in self.shadows)
            if len(images) < largest:
                raise DataError(f"at least one batch of {largest} shadow images", f"{len(images)}", "Bring more, or lower the batch.")

    def _run(self, victim: nn.Module, owner: OwnerData) -> str:
        """What makes rounds comparable: configuration, victim, data."""
        digest = hashlib.sha256(repr(self).encode())
        customers, foreign = ([] if images is None else [images] for images in (owner.customers, owner.foreign))
        for tensor in (*victim.state_dict().values(), owner.train.images, owner.train.labels, *customers, owner.shadow_set, *foreign):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
