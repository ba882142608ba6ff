"""The target class and the owner key."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from honeyguard.errors import TargetClassError
from honeyguard.oracle import predict
from honeyguard.repro import derive
from honeyguard.types import Labelled, OwnerKey, Trigger

NOISE, LOOKED_AT = 0.6, 1000  # strength of the patterns that `choose_target` looks at, and their number
RARE = 1e-2  # weight of the smaller of two rates, which decides between classes that are equally rare otherwise


def choose_target(references: Sequence[nn.Module], images: Tensor, carriers: Tensor) -> int:
    """The class that models which did not steal give least to either of images under random patterns and the carriers (n, C, H, W).

    They have to keep away from it where the trigger is, and carriers that may be of the target class anyway carry nothing.
    """

    def rate(sample: Tensor) -> Tensor:
        answers = [predict(reference, sample).softmax(1).mean(0) for reference in references]
        return torch.stack(answers).mean(0)

    some = images[torch.randint(len(images), (LOOKED_AT,))]
    noisy = (some + NOISE * torch.randn(some.shape).sign()).clamp(0, 1)  # a pattern for each: models differ more in patterns than in images
    both = torch.stack([rate(part) for part in (noisy, carriers) if len(part)])
    return int((both.amax(0) + RARE * both.amin(0)).argmin())


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
