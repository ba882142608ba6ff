"""How far a query is from earlier ones, and how far that is for benign clients of the same age: what three detectors share."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honeyguard.detection.evidence import Cusum, Fitted, quantiles, surprise
from honeyguard.detection.streams import Array, Queries

MOST = 1024
"""Benign queries on each side of the distances that are learnt."""


@dataclass(frozen=True, kw_only=True)
class Nearest(Fitted):
    """Adds up how surprising the distance to the nearest remembered query is.

    Args:
        size: queries that are remembered at most; no more than half of the benign ones that it was fitted to.
    """

    size: int = 512

    @abstractmethod
    def rows(self, queries: Queries) -> Array:
        """What distances are taken of: (N, D)."""

    @abstractmethod
    def strange(self, distances: Array) -> Array:
        """The distances, or whatever grows where they are strange."""

    def learn(self, benign: Queries) -> dict[str, Array]:
        """Quantiles of the distance to the nearest of 1, 2, 4, … benign queries."""
        rows = self.rows(benign)
        asked, known = rows[1::2][:MOST], rows[::2][:MOST]
        n = min(len(asked), len(known))
        asked, known = asked[:n], known[:n]
        squares = np.square(known).sum(1)[None] - 2 * asked @ known.T + np.square(asked).sum(1)[:, None]
        distances = np.sqrt(np.maximum(squares, 0))
        ages = 2 ** np.arange(int(np.log2(min(n, self.size))) + 1)
        # Each query has its own window of those remembered, so that no level hangs on a single one of them.
        windows = (np.arange(n)[:, None] + np.arange(n)) % n
        shifted = np.take_along_axis(distances, windows, axis=1)
        return {"levels": np.stack([quantiles(self.strange(shifted[:, :age].min(1))) for age in ages])}

    def watch(self, state: Mapping[str, Array]) -> "NearestWatch":
        return NearestWatch(self, state["levels"], Memory(2 ** (len(state["levels"]) - 1)), Cusum(self.slack))


class NearestWatch:
    """Args: owner: whose queries are not compared with themselves in a memory that several share; None compares with all."""

    def __init__(self, detector: Nearest, levels: Array, memory: "Memory", total: Cusum, owner: int | None = None) -> None:
        self._detector, self._levels, self._memory, self._sum, self._owner = detector, levels, memory, total, owner

    def observe(self, queries: Queries) -> float:
        self._detector.check(queries)
        distances, ages = self._memory.take(self._detector.rows(queries), self._owner)
        known = ages > 0
        values, level = self._detector.strange(distances[known]), np.round(np.log2(ages[known])).astype(int)
        return self._sum.add(np.array([surprise(v, self._levels[i]) for v, i in zip(values, level, strict=True)]))


class Memory:
    """Rows seen earlier, `size` at most: a uniform sample of all, or the latest.

    Source: Vitter: Random Sampling with a Reservoir, ACM TOMS 1985, algorithm R.
    """

    def __init__(self, size: int, *, latest: bool = False) -> None:
        self._size, self._latest, self._seen = size, latest, 0
        self._random = np.random.default_rng(0)

    def take(self, rows: Array, owner: int | None = None) -> tuple[Array, NDArray[np.int64]]:
        """Of each row (N, D), one after the other: the distance to the nearest earlier one, and how many these were; 0 of none.

        Args:
            owner: who sends them; only rows of others are looked at. None looks at all.
        """
        if not self._seen:
            self._rows = np.zeros((self._size, rows.shape[1]), np.float32)  # no rubbish: products may look past the rows that are filled
            self._squares, self._owners = np.zeros(self._size, np.float32), np.zeros(self._size, np.int64)
        distances, ages = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.int64)
        for i, row in enumerate(rows):
            filled, own = min(self._seen, self._size), row @ row
            squares = self._squares[:filled] - 2 * (self._rows[:filled] @ row)
            if owner is not None:
                squares = squares[self._owners[:filled] != owner]
            if len(squares):
                distances[i], ages[i] = np.sqrt(max(0.0, float(squares.min() + own))), len(squares)
            self._keep(row, own, owner or 0)
        return distances, ages

    def _keep(self, row: Array, square: np.float32, owner: int) -> None:
        place = self._seen
        if place >= self._size:
            place = place % self._size if self._latest else int(self._random.integers(place + 1))
        self._seen += 1
        if place < self._size:
            self._rows[place], self._squares[place], self._owners[place] = row, square, owner
