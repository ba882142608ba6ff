"""Out of distribution: features far from those of every class of the owner's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from honeyguard.detection.evidence import Surprising
from honeyguard.detection.streams import Array, Queries

SHRINKAGE = 0.1


@dataclass(frozen=True, kw_only=True)
class OutOfDistribution(Surprising):
    """Mahalanobis distance of a query's features from the nearest class's mean.

    Source: Lee, Lee, Lee, Shin: A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks, NeurIPS
        2018, equation 2: class means, one covariance.
    Threat model: surrogate images of another distribution, noise, generated images, perturbed ones. Images of the task are in distribution.
    Args: see `Surprising`.
    Deviations: classes are those that the model answers, so that no labels are needed; the covariance is shrunk by a tenth towards a
        multiple of the identity.
    """

    reads_features: ClassVar[bool] = True

    def describe(self, benign: Queries) -> dict[str, Array]:
        features = benign.features.astype(np.float64)
        _, classes = np.unique(benign.answers.argmax(1), return_inverse=True)
        means = np.stack([features[classes == k].mean(0) for k in range(classes.max() + 1)])
        centred = features - means[classes]
        covariance = centred.T @ centred / len(centred)
        scale = (np.trace(covariance) / len(covariance)) or 1.0
        values, directions = np.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * scale * np.eye(len(covariance)))
        whiten = directions / np.sqrt(values)
        return {"whiten": whiten.astype(np.float32), "means": (means @ whiten).astype(np.float32)}

    def measure(self, queries: Queries, state: Mapping[str, Array]) -> Array:
        points, means = queries.features @ state["whiten"], state["means"]
        squares = np.square(points).sum(1, keepdims=True) - 2 * points @ means.T + np.square(means).sum(1)
        nearest: Array = squares.min(1)
        return nearest
