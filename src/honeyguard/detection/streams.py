"""What a client's queries look like to a detector, and what a detector promises. NumPy alone: this half runs in the server."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from honeyguard.errors import DataError

Array = NDArray[np.float32]
SIDE = 8


@dataclass(frozen=True, eq=False)
class Queries:
    """The queries of one request, or a client's over time.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        features: (N, D) float32: what the model's classification layer reads. Where nobody knows them, `Queries.of` takes thumbnails.
        answers: (N, K) float32: the probabilities as the client gets them, before any mark.
    Raises: DataError: not as many rows in each.
    """

    images: Array
    features: Array
    answers: Array

    def __post_init__(self) -> None:
        shapes = self.images.shape, self.features.shape, self.answers.shape
        if tuple(map(len, shapes)) != (4, 2, 2) or len({shape[0] for shape in shapes}) > 1:
            got = " and ".join(map(str, shapes))
            raise DataError("images (N, C, H, W), features (N, D) and answers (N, K)", got, "Give one row of each a query.")

    @classmethod
    def of(cls, images: Array, answers: Array, features: Array | None = None) -> Self:
        """With thumbnails for features where the model gives none: for thresholds calibrated in the same way."""
        return cls(images, thumbnails(images) if features is None else features, answers)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> "Queries":
        return Queries(self.images[rows], self.features[rows], self.answers[rows])

    def split(self, size: int) -> Iterator["Queries"]:
        """Requests of `size` queries each, in order."""
        return (self[start : start + size] for start in range(0, len(self), size))


class Watch(Protocol):
    """One client's stream under one detector; its memory is bounded."""

    def observe(self, queries: Queries) -> float:
        """The client's score after these queries too, larger = more suspicious."""


@runtime_checkable
class Detector(Protocol):
    """Tells streams apart. A frozen keyword-only dataclass: the object is its configuration, and what it learnt of benign queries.

    Example: `watch = OutOfDistribution().fit(benign).start(); watch.observe(queries) > threshold`
    """

    def fit(self, benign: Queries) -> "Detector":
        """The same detector, knowing how benign queries look; one that needs no such knowledge returns itself."""

    def start(self) -> Watch:
        """A watch for a new client. Raises: DataError: not fitted."""


def thumbnails(images: Array, side: int = SIDE) -> Array:
    """Images (N, C, H, W) as (N, at most side²): grey, averaged over blocks. What is kept of a query costs the same whatever its size."""
    grey = images.mean(1)
    for axis in (1, 2):
        size = grey.shape[axis]
        parts = min(side, size)
        starts = np.arange(parts) * size // parts
        sums = np.add.reduceat(grey, starts, axis=axis)
        counts = np.diff(np.append(starts, size)).astype(np.float32)
        grey = sums / (counts[:, None] if axis == 1 else counts)
    return np.ascontiguousarray(grey.reshape(len(images), grey.shape[1] * grey.shape[2]), dtype=np.float32)
