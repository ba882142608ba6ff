"""The verbs: protect, extract, evaluate, verify. Short functions over the protocols."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from honeyguard.contract import check_disjoint, check_images
from honeyguard.errors import DataError
from honeyguard.metrics import Distortion, accuracy, attack_success, distortion, fidelity, moved
from honeyguard.models import find_head
from honeyguard.oracle import Local, predict
from honeyguard.stats import Estimate, share
from honeyguard.types import Attack, Defense, Labelled, Oracle, OwnerData, OwnerKey, Protected, Verdict, Verifier
from honeyguard.verification import TriggerTest


def protect(victim: nn.Module | Protected, owner: OwnerData, *defenses: Defense) -> Protected:
    """Apply `defenses` in order to a victim that maps images to logits; the victim itself stays as it is.

    Example: `protect(victim, OwnerData(train, shadow_set), Honeypot(), ReverseSigmoid())`
    Raises: ImageError, DataError, ClassCountError, ClassificationLayerError: the data and the model don't fit.
    """
    if not len(owner.train) or len(owner.shadow_set) < 2:
        got = f"{len(owner.train)} training and {len(owner.shadow_set)} shadow images"
        raise DataError("training images and at least 2 shadow images", got, "Bring more data.")
    check_images(owner.train.images)
    check_images(owner.shadow_set, owner.train.shape)
    check_disjoint({"train": owner.train.images, "shadow_set": owner.shadow_set})
    for images in (owner.customers, owner.foreign):
        if images is not None:
            check_images(images, owner.train.shape)
    protected = Protected.of(victim)
    find_head(protected.network, owner.train.images[:2], owner.train.classes, getattr(defenses[0], "head", None) if defenses else None)
    return reduce(lambda done, defense: defense.protect(done, owner), defenses, protected)


def extract(oracle: Oracle | Protected, pool: Tensor, substitute: nn.Module, attack: Attack) -> nn.Module:
    """Steal: train `substitute` on the oracle's answers to the pool's images (N, C, H, W), as `attack` does."""
    return attack.extract(Local(oracle) if isinstance(oracle, Protected) else oracle, pool, substitute)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model beside its reference on test images.

    Args:
        accuracy: share of right answers (clean accuracy of a substitute, served accuracy of a protected model).
        fidelity: share of answers with the reference's top class.
        distortion: distance of the probabilities from the reference's.
        attack_success: share of images of other classes that the trigger moves to the target class; None without a key.
        decoy_success: the same for meaningless decoys of equal strength, many of them: models differ more in decoys than in images.
    """

    accuracy: Estimate
    fidelity: Estimate
    distortion: Distortion
    attack_success: Estimate | None = None
    decoy_success: Estimate | None = None


DECOYS = 16  # at a time, each on its share of the images


def evaluate(model: Oracle, reference: Oracle, test: Labelled, key: OwnerKey | None = None, *, decoys: int = 4) -> Evaluation:
    """Measure a substitute against the model it was stolen from, or a protected model against its victim; with so many decoys an image."""
    answers, expected = predict(model, test.images), predict(reference, test.images)
    figures = {"accuracy": accuracy(answers, test.labels), "fidelity": fidelity(answers, expected)}
    if key is None:
        return Evaluation(**figures, distortion=distortion(expected, answers))
    other, target = test.labels != key.target_class, key.target_class
    by_trigger = attack_success(answers, predict(model, key.trigger(test.images)), test.labels, target)
    by_decoys = [moved(answers, predict(model, _decoyed(key, test.images, turn)), target)[other] for turn in range(decoys)]
    return Evaluation(
        **figures, distortion=distortion(expected, answers), attack_success=by_trigger, decoy_success=share(torch.cat(by_decoys))
    )


def _decoyed(key: OwnerKey, images: Tensor, turn: int) -> Tensor:
    """The images (N, C, H, W), each with one of the turn's decoys."""
    stamped = torch.empty_like(images)
    for i in range(DECOYS):
        stamped[i::DECOYS] = key.trigger.decoy(turn * DECOYS + i)(images[i::DECOYS])
    return stamped


def verify(suspect: Oracle, key: OwnerKey, controls: Sequence[Oracle] | Sequence[float], verifier: Verifier | None = None) -> Verdict:
    """Judge a suspect by its answers to the key's probes; `controls` are models that did not steal, or their scores."""
    return (verifier or TriggerTest()).verify(suspect, key, controls)
