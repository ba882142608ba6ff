"""The target class and the owner key."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from honeyguard.errors import TargetClassError
from honeyguard.repro import derive
from honeyguard.types import Labelled, OwnerKey, Trigger


def choose_target(references: Sequence[nn.Module], images: Tensor, epsilon: float, classes: int) -> int:
    """The class to which random patterns of strength ε move models that did not steal most rarely."""
    counts = torch.zeros(classes)
    with torch.no_grad():
        for _ in range(10):
            pattern = epsilon * torch.randn(images.shape[1:]).sign()
            sample = (images[torch.randint(len(images), (256,))] + pattern).clamp(0, 1)
            for reference in references:
                counts += torch.bincount(reference(sample).argmax(1), minlength=classes)
    return int(counts.argmin())


def check_target(target: int, answers: Tensor) -> int:
    """Raises: TargetClassError: a class out of range, or one that the victim's answers (N, K) never give."""
    classes = answers.shape[1]
    if not 0 <= target < classes:
        raise TargetClassError(f"a target class from 0 to {classes - 1}", str(target), "Choose a class of the data.")
    if not (answers.argmax(1) == target).any():
        given = ", ".join(map(str, answers.argmax(1).unique().tolist()))
        raise TargetClassError("a target class that the victim predicts", str(target), f"Choose one of {given}.")
    return target


def make_key(trigger: Trigger, target_class: int, train: Labelled, probes: int, seed: int) -> OwnerKey:
    """The owner key: the probes are images of other classes from the owner's data; the same seed makes the same key."""
    others = train.images[train.labels != target_class]
    chosen = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(derive(seed, "probes")))[:probes]]
    secret = f"{seed}".encode() + trigger.delta.numpy().tobytes() + chosen.numpy().tobytes()
    return OwnerKey(trigger, target_class, train.classes, chosen, nonce=hashlib.sha256(secret).hexdigest())
