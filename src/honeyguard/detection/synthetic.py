"""Synthetic images: statistics that images of the task don't have."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from honeyguard.detection.evidence import Surprising
from honeyguard.detection.streams import Array, Queries

RIDGE = 0.01


@dataclass(frozen=True, kw_only=True)
class Synthetic(Surprising):
    """How far an image's brightness, contrast, edges, fine noise, symmetry and clipping are, together, from those of benign images.

    Source: none; statistics of natural images after Ruderman: The Statistics of Natural Images, 1994, and noise estimation after Immerkær:
        Fast Noise Variance Estimation, 1996. Mahalanobis distance of their vector.
    Threat model: generators (DFME, MAZE), noise, erased and perturbed images. It looks at the images alone, so that it works where no
        features are known.
    Args: see `Surprising`.
    """

    def describe(self, benign: Queries) -> dict[str, Array]:
        found = statistics(benign.images).astype(np.float64)
        mean, spread = found.mean(0), found.std(0) + 1e-6
        correlation = np.cov((found - mean) / spread, rowvar=False) + RIDGE * np.eye(found.shape[1])
        whiten = np.linalg.cholesky(np.linalg.inv(correlation)) / spread[:, None]
        return {"mean": mean.astype(np.float32), "whiten": whiten.astype(np.float32)}

    def measure(self, queries: Queries, state: Mapping[str, Array]) -> Array:
        distances: Array = np.square((statistics(queries.images) - state["mean"]) @ state["whiten"]).sum(1)
        return distances


def statistics(images: Array) -> Array:
    """Ten numbers of each image (N, C, H, W): (N, 10)."""
    grey = images.mean(1)
    down, across = np.diff(grey, axis=1), np.diff(grey, axis=2)
    # Immerkær's mask: what is left of an image when constant, linear and edge-like parts are taken away.
    fine = np.diff(np.diff(np.diff(np.diff(grey, axis=1), axis=1), axis=2), axis=2) if min(grey.shape[1:]) > 2 else down[:, :1]

    def mean(values: Array) -> Array:
        averages: Array = values.mean(axis=tuple(range(1, values.ndim)))
        return averages

    strength = [mean(np.abs(part)) for part in (down, across, fine)]
    turned = [mean(np.abs(grey - grey[:, ::-1])), mean(np.abs(grey - grey[:, :, ::-1]))]
    columns = [
        mean(grey),
        np.sqrt(mean(np.square(grey - mean(grey)[:, None, None]))),
        *(np.log(part + 1e-3) for part in strength),
        *turned,
        mean((images <= 1e-3).astype(np.float32)),
        mean((images >= 1 - 1e-3).astype(np.float32)),
        mean(images.max(1) - images.min(1)),
    ]
    return np.stack(columns, 1).astype(np.float32)
