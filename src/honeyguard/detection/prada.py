"""PRADA: the distances between a client's queries, which are normal for images that nobody made up."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from honeyguard.detection.streams import Array, Queries, thumbnails

LEAST = 100


@dataclass(frozen=True, kw_only=True)
class Prada:
    """1 - W, Shapiro and Wilk's statistic of the distances from each query to the nearest earlier one of its class.

    A class's growing set takes a query in whose distance d exceeds the set's threshold T = max(T, mean - std of the set's own
    distances). W is taken of all distances within three standard deviations of their mean. Below 100 distances the score is 0.

    Source: Juuti, Szyller, Marchal, Asokan: PRADA: Protecting against DNN Model Stealing Attacks, EuroS&P 2019, algorithm 1; an
        alarm there is W < δ, δ from .9 to .96, which is a score above 1 - δ.
    Threat model: thieves who make queries from other queries (JBDA, SPSG, repeated), and mixtures of natural and made ones. Images of one
        distribution, stolen or bought, look benign, and so do made ones whose distances are padded to look normal.
    Args:
        kept: images a class's growing set holds at most, ≥ 1.
        distances: distances that are kept at most, ≥ 100; the latest ones.
    Deviations: the paper keeps everything; here a full growing set overwrites its oldest image and the distances are the latest, so that
        memory is bounded. Distances are Euclidean between thumbnails.
    """

    kept: int = 64
    distances: int = 1000

    def fit(self, benign: Queries) -> Self:  # noqa: ARG002
        return self

    def start(self) -> "PradaWatch":
        return PradaWatch(self)


@dataclass
class _Growing:
    """A class's growing set: a ring of images, the distances at which they came in, and the threshold."""

    images: Array
    distances: NDArray[np.float64]
    size: int = 0
    threshold: float = 0.0

    def add(self, image: Array, distance: float) -> None:
        place = self.size % len(self.images)
        self.images[place], self.distances[place] = image, distance
        self.size += 1
        inside = self.distances[: self.size]
        self.threshold = max(self.threshold, float(inside.mean() - inside.std()))


@dataclass
class PradaWatch:
    detector: Prada
    _sets: dict[int, _Growing] = field(default_factory=dict)
    _distances: "array[float]" = field(default_factory=lambda: array("d"))  # a list would take four times the memory

    def observe(self, queries: Queries) -> float:
        for image, label in zip(thumbnails(queries.images), queries.answers.argmax(1).tolist(), strict=True):
            self._take(image, label)
        del self._distances[: -self.detector.distances]
        return 1 - normality(self._distances) if len(self._distances) > LEAST else 0.0

    def _take(self, image: Array, label: int) -> None:
        grown = self._sets.get(label)
        if grown is None:
            kept = self.detector.kept
            grown = self._sets[label] = _Growing(np.empty((kept, len(image)), np.float32), np.empty(kept))
            grown.add(image, 0.0)
            return
        nearest = float(np.sqrt(np.square(grown.images[: grown.size] - image).sum(1).min()))
        self._distances.append(nearest)
        if nearest > grown.threshold:
            grown.add(image, nearest)


def normality(distances: Sequence[float]) -> float:
    """Shapiro and Wilk's W of the distances within three standard deviations of their mean; 0 where all are equal."""
    values = np.asarray(distances)
    mean, spread = values.mean(), values.std()
    inside = values[np.abs(values - mean) <= 3 * spread]
    return float(stats.shapiro(inside).statistic) if len(inside) >= 3 and np.ptp(inside) > 0 else 0.0
