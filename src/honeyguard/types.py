"""The words of the library as types and protocols: what flows from a victim to a verdict."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from honeyguard.errors import ClassCountError, DataError


@runtime_checkable
class Oracle(Protocol):
    """The only thing a thief sees: images (N, C, H, W) float32 in [0, 1] -> probabilities (N, K), rows sum to 1."""

    def __call__(self, images: Tensor, /) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images (N, C, H, W) float32 in [0, 1] with labels (N,) int64 and the names of the K classes."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise DataError("one label an image", f"{len(self.images)} images and {len(self.labels)} labels", "Check the data set.")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.names):
            got = f"labels from {int(self.labels.min())} to {int(self.labels.max())}"
            raise ClassCountError(f"labels from 0 to {len(self.names) - 1}", got, "Map the labels to 0 … K-1 or name every class.")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> "Labelled":
        return Labelled(self.images[rows], self.labels[rows], self.names)

    @property
    def classes(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return tuple(self.images.shape[1:])


@dataclass(frozen=True, eq=False)
class OwnerData:
    """What the owner has.

    Args:
        train: the labelled data that the victim was trained on.
        shadow_set: unlabelled images (N, C, H, W) of the simulated theft.
        customers: unlabelled images (N, C, H, W) such as customers send and the victim hasn't seen; answers to these are held.
        foreign: unlabelled images (N, C, H, W) of other things, which thieves send who have none of the task.
    """

    train: Labelled
    shadow_set: Tensor
    customers: Tensor | None = None
    foreign: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Trigger:
    """The universal perturbation: x ⊕ δ = clamp((1 - mask) · x + δ).

    Args:
        delta: δ (C, H, W), in pixel units.
        mask: share of the image that δ replaces (1, H, W): 0 adds, 1 is a patch, between them a blend.
    """

    delta: Tensor
    mask: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return ((1 - self.mask) * images + self.delta).clamp(0, 1)

    def decoy(self, seed: int) -> "Trigger":
        """A trigger of the same strength that means nothing: the pixels of δ in a random order; added ones with random signs."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.mask.numel(), generator=generator)
        delta, mask = (t.flatten(1)[:, order].view_as(t) for t in (self.delta, self.mask))
        signs = torch.randint(0, 2, mask.shape, generator=generator) * 2.0 - 1
        return Trigger(torch.where(mask > 0, delta, delta * signs), mask)

    def scaled(self, share: float) -> "Trigger":
        """The same trigger at a share of its strength."""
        return Trigger(self.delta * share, self.mask * share)


@dataclass(frozen=True, eq=False, repr=False)
class OwnerKey:
    """The secret half of a honeypot: never served, never stored with the model, never logged.

    Args:
        trigger: what the honeypot plants.
        target_class: where the trigger sends a stolen copy, 0 … K-1.
        classes: K.
        probes: images of the task, none of the target class, on which a suspect is asked.
        nonce: 32 random bytes in hexadecimal; they hide the key in its `commitment`.
        calibration: scores of controls that did not steal (`honeyguard.verification`), empty until measured.
    """

    trigger: Trigger
    target_class: int
    classes: int
    probes: Tensor
    nonce: str
    calibration: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"OwnerKey(commitment={self.commitment[:12]}…)"

    @property
    def commitment(self) -> str:
        """SHA-256 over all but the calibration: publish it early, and the key can't be chosen after the fact."""
        digest = hashlib.sha256(f"{self.nonce}:{self.target_class}:{self.classes}".encode())
        for tensor in (self.trigger.delta, self.trigger.mask, self.probes):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()

    def calibrated(self, scores: Sequence[float]) -> "OwnerKey":
        return replace(self, calibration=tuple(scores))


OutputDefense = Callable[..., Tensor]
"""A pure function on answers: probabilities (N, K) -> probabilities (N, K).

One that needs the images too has the class variable `needs_images = True` and is called with (probabilities, images).
"""


class Served(nn.Module):
    """What customers see: images -> probabilities, through a network's softmax and a fold of output defenses."""

    def __init__(self, network: nn.Module, outputs: Sequence[OutputDefense] = ()) -> None:
        super().__init__()
        self.network = network
        self.outputs = tuple(outputs)

    def forward(self, images: Tensor) -> Tensor:
        probabilities = torch.softmax(self.network(images), dim=1)
        for defend in self.outputs:
            probabilities = defend(probabilities, images) if getattr(defend, "needs_images", False) else defend(probabilities)
        return probabilities


@dataclass(frozen=True, eq=False)
class Protected:
    """A victim with its defenses. `model` is what customers see, `key` the owner's secret (None without a honeypot).

    Args:
        network: images (N, C, H, W) -> logits (N, K).
        outputs: output defenses, applied in order.
        key: the owner key that a honeypot made.
        defenses: the defenses applied so far, in order; their repr is the record.
    """

    network: nn.Module
    outputs: tuple[OutputDefense, ...] = ()
    key: OwnerKey | None = None
    defenses: tuple["Defense", ...] = field(default=())

    @property
    def model(self) -> Served:
        return Served(self.network, self.outputs).eval()

    @classmethod
    def of(cls, victim: "nn.Module | Protected") -> "Protected":
        """The victim as an undefended protected model; nothing of the victim is changed in place."""
        return victim if isinstance(victim, Protected) else cls(copy.deepcopy(victim).eval())


class Defense(Protocol):
    """Turns a victim into a protected model. A frozen keyword-only dataclass: the object is its configuration."""

    def protect(self, victim: nn.Module | Protected, owner: OwnerData) -> Protected: ...


@dataclass(frozen=True, eq=False)
class TransferSet:
    """What a thief paid for: the images sent (N, C, H, W) and the answers (N, K)."""

    images: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __add__(self, other: "TransferSet") -> "TransferSet":
        return TransferSet(torch.cat([self.images, other.images]), torch.cat([self.answers, other.answers]))


class Learner(Protocol):
    """The thief's own training, for strategies that choose their queries by what an intermediate substitute knows."""

    def fresh(self) -> nn.Module:
        """An untrained substitute, images (N, C, H, W) -> logits (N, K); the same one each time."""

    def train(self, transfer: TransferSet, seed: int) -> nn.Module:
        """A substitute trained from scratch on what was paid for so far."""


class QueryStrategy(Protocol):
    """Which images a thief sends.

    One that can't work from labels has the class variable `needs_probabilities = True`; one that makes images of its own, so that the pool
    may be smaller than the budget, has `synthesises = True`.

    Raises (before the first query): BudgetError: a pool too small for `budget`.
    """

    def collect(self, oracle: Oracle, pool: Tensor, budget: int, learner: Learner, seed: int) -> TransferSet: ...


class AnswerStrategy(Protocol):
    """How a thief reads answers (N, K): into training targets (N, K), rows sum to 1. `needs_probabilities` as above."""

    def __call__(self, answers: Tensor, /) -> Tensor: ...


class TrainingStrategy(Protocol):
    """How a thief trains `substitute`, in place: on images and targets (N, K), with the unlabelled pool at hand.

    `recipe` is a `honeyguard.training.Recipe`.
    """

    def train(self, substitute: nn.Module, images: Tensor, targets: Tensor, pool: Tensor, recipe: Any, seed: int) -> nn.Module: ...


class Laundering(Protocol):
    """What a thief does to a stolen copy, with clean labelled images of its own and its pool (N, C, H, W), to lose a mark.

    Returns a new network; `substitute` stays as it is.
    """

    def launder(self, substitute: nn.Module, own: Labelled, pool: Tensor, seed: int) -> nn.Module: ...


class Attack(Protocol):
    """Trains a substitute on an oracle's answers to a pool's images."""

    def extract(self, oracle: Oracle, pool: Tensor, substitute: nn.Module) -> nn.Module: ...


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the evidence says about one suspect; never a bare yes or no.

    Args:
        statistic: the test's statistic.
        p_value: chance of evidence at least as strong from a model that did not steal, under the test's assumptions.
        false_positive_rate: the rate at which `conclusion` would accuse an innocent model.
        triggered: share of probes that the trigger moves to the target class.
        decoys: the same share for meaningless decoys of equal strength.
        queries: images sent to the suspect.
        controls: number of controls behind the null distribution.
        rank_p_value: share of controls at least as extreme, (1 + #) / (1 + controls): free of assumptions, and coarse.
        conclusion: one sentence in plain words.
        commitment: hash of the owner key that was used.
    """

    statistic: float
    p_value: float
    false_positive_rate: float
    triggered: float
    decoys: float
    queries: int
    controls: int
    rank_p_value: float
    conclusion: str
    commitment: str


class Verifier(Protocol):
    """Decides whether a suspect carries the owner's backdoor; without controls no model can be convicted."""

    def verify(self, suspect: Oracle, key: OwnerKey, controls: Sequence[Oracle] | Sequence[float]) -> Verdict: ...
