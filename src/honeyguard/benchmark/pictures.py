"""What the report shows as images, as plain JSON: the trigger, images with it, and one customer's answers under every defense."""

import base64
import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from honeyguard.benchmark.story import Story
from honeyguard.oracle import predict
from honeyguard.types import Labelled, OwnerKey, Protected

PAIRS = 6


def pictures(story: Story) -> dict[str, Any]:
    """Class names, the first honeypot's trigger with test images that carry it, and one typical customer image.

    The trigger and the target class are part of the owner key: keep a record with pictures as secret as the key itself.
    Without a honeypot in the suite `honeypot`, `target_class`, `trigger`, `strength`, `decoy` and `pairs` are None.
    """
    test = story.parts["test"]
    keys = [(name, guarded.protected.key) for name, guarded in story.guarded.items()]
    name, key = next(((name, key) for name, key in keys if key), (None, None))
    return {
        "seed": story.seed,
        "classes": list(test.names),
        "honeypot": name,
        "target_class": key and key.target_class,
        "trigger": key and _delta_png(key.trigger.delta),
        "strength": key and float(key.trigger.delta.abs().max()),
        "decoy": key and _decoy(key, test),
        "pairs": key and _pairs(key, test),
        "customer": _customer(story, test),
    }


def _pairs(key: OwnerKey, test: Labelled) -> list[dict[str, Any]]:
    """The first test image of each of the first classes that are not the target, without and with the trigger."""
    labels = [label for label in sorted(set(test.labels.tolist())) if label != key.target_class][:PAIRS]
    rows = [int((test.labels == label).nonzero()[0]) for label in labels]
    moved = key.trigger(test.images[rows]) if rows else test.images[:0]
    return [
        {"label": label, "clean": _png(test.images[row]), "triggered": _png(image)}
        for label, row, image in zip(labels, rows, moved, strict=True)
    ]


def _decoy(key: OwnerKey, test: Labelled) -> dict[str, Any]:
    """A meaningless trigger of equal strength, alone and on the first image that is not of the target class."""
    decoy = key.trigger.decoy(int(key.nonce[:8], 16))
    others = (test.labels != key.target_class).nonzero()
    return {"trigger": _delta_png(decoy.delta), "image": _png(decoy(test.images[int(others[0])])) if len(others) else None}


def _customer(story: Story, test: Labelled) -> dict[str, Any]:
    """The test image on which the victim is right with its median confidence, and what every defense answers to it."""
    victim = Protected.of(story.victim.model).model
    before = predict(victim, test.images)
    right = (before.argmax(1) == test.labels).nonzero().flatten()
    rows = right if len(right) else torch.arange(len(test))
    row = int(rows[before[rows].amax(1).argsort()[len(rows) // 2]])
    answers = {name: predict(guarded.protected.model, test.images[row : row + 1])[0] for name, guarded in story.guarded.items()}
    return {
        "image": _png(test.images[row]),
        "label": int(test.labels[row]),
        "before": before[row].tolist(),
        "answers": {name: answer.tolist() for name, answer in answers.items()},
    }


def _delta_png(delta: Tensor) -> str:
    """δ (C, H, W) at full contrast: grey is 0, white raises a pixel, black lowers it."""
    return _png(0.5 + 0.5 * delta / delta.abs().max().clamp_min(1e-12))


def _png(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as the data URI of a PNG; other than 1 or 3 channels are averaged to grey."""
    shown = image if len(image) in (1, 3) else image.mean(0, keepdim=True)
    pixels = (255 * shown.detach().cpu().clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
