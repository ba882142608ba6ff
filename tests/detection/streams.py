"""Streams to try detectors on: a benign task of smooth images in four classes, and what thieves make of it."""

from typing import Any

import numpy as np

from honeyguard.detection import Queries
from honeyguard.detection.streams import Array

CLASSES, SIDE = 4, 12


def images(n: int, seed: int) -> Array:
    """Smooth images (N, 1, 12, 12): a bright quarter on a random slope."""
    random = np.random.default_rng(seed)
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE
    slopes = random.normal(0, 0.15, (n, 3, 1, 1))
    pixels = 0.35 + slopes[:, 0] * (down - 0.5) + slopes[:, 1] * (across - 0.5) + 0.3 * slopes[:, 2]
    for i, k in enumerate(random.integers(CLASSES, size=n)):
        pixels[i, 6 * (k // 2) : 6 * (k // 2) + 6, 6 * (k % 2) : 6 * (k % 2) + 6] += 0.3 + random.normal(0, 0.05)
    made: Array = np.clip(pixels + random.normal(0, 0.02, pixels.shape), 0, 1)[:, None].astype(np.float32)
    return made


def answered(pixels: Array) -> Queries:
    """What a model with quarter means for features says of images."""
    features = pixels.reshape(len(pixels), 2, 6, 2, 6).mean((2, 4)).reshape(len(pixels), 4)
    logits = 30 * (features - features.mean(1, keepdims=True))
    answers = np.exp(logits - logits.max(1, keepdims=True))
    return Queries(pixels, features, (answers / answers.sum(1, keepdims=True)).astype(np.float32))


def benign(n: int, seed: int) -> Queries:
    return answered(images(n, seed))


def noise(n: int, seed: int) -> Queries:
    return answered(np.random.default_rng(seed).random((n, 1, SIDE, SIDE), dtype=np.float32))


def perturbed(n: int, seed: int, step: float = 0.02) -> Queries:
    """A tenth benign images, the others one of these moved a little, as JBDA makes them."""
    random, first = np.random.default_rng(seed), images(n // 10, seed)
    origins = first[random.integers(len(first), size=n - len(first))]
    return answered(np.concatenate([first, np.clip(origins + step * random.choice([-1, 1], origins.shape), 0, 1).astype(np.float32)]))


def between_classes(n: int, seed: int) -> Queries:
    """Means of two images, as who looks for boundaries sends them."""
    return answered((images(n, seed) + images(n, seed + 1)) * np.float32(0.5))


def weight(thing: Any) -> int:
    """Bytes that a watch holds in arrays, and numbers in its lists."""
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, dict):
        return sum(map(weight, thing.values()))
    if isinstance(thing, list | tuple):
        return sum(map(weight, thing))
    if type(thing).__module__.startswith("honeyguard"):
        return weight(vars(thing))
    return 8
