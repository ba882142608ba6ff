"""From how rare each query is among benign ones to a score of the whole stream: what the fitted detectors share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from honeyguard.detection.streams import Array, Queries, Watch
from honeyguard.errors import DataError

QUANTILES = 512
LEAST = 40


@dataclass(frozen=True, kw_only=True)
class Fitted(ABC):
    """A detector that has to know benign queries.

    Args:
        slack: how much more surprising than a benign query is let pass, > 0.
        state: what was learnt, by `fit`.
    Raises (when it observes): DataError: a detector that `reads_features` is given other ones than it was fitted to.
    """

    reads_features: ClassVar[bool] = False

    slack: float = 0.25
    state: Mapping[str, Array] | None = field(default=None, repr=False, compare=False)

    def fit(self, benign: Queries) -> Self:
        """Raises: DataError: too few queries."""
        if len(benign) < LEAST:
            raise DataError(
                f"at least {LEAST} benign queries to fit a detector", str(len(benign)), "Bring more of the owner's own traffic."
            )
        return replace(self, state=self.learn(benign) | {"width": np.array([benign.features.shape[1]], np.float32)})

    def check(self, queries: Queries) -> None:
        """Raises: DataError: features of another model, or thumbnails instead of them."""
        fitted = int(self.state["width"][0]) if self.state else 0
        if self.reads_features and queries.features.shape[1] != fitted:
            got = str(queries.features.shape[1])
            raise DataError(
                f"features of {fitted} numbers, as thresholds were calibrated with", got, "Calibrate on the model that answers."
            )

    @abstractmethod
    def learn(self, benign: Queries) -> dict[str, Array]:
        """What has to be known of benign queries."""

    @abstractmethod
    def watch(self, state: Mapping[str, Array]) -> Watch:
        """For a new client."""

    def start(self) -> Watch:
        """Raises: DataError: not fitted."""
        if self.state is None:
            raise DataError("a fitted detector", f"{self} as it was made", "Call fit(benign queries), or load thresholds.")
        return self.watch(self.state)


@dataclass(frozen=True, kw_only=True)
class Surprising(Fitted):
    """A fitted detector that measures each query by itself, larger = stranger, and adds up how surprising the measurements are."""

    @abstractmethod
    def describe(self, benign: Queries) -> dict[str, Array]:
        """What `measure` has to know."""

    @abstractmethod
    def measure(self, queries: Queries, state: Mapping[str, Array]) -> Array:
        """Of each query: (N,)."""

    def learn(self, benign: Queries) -> dict[str, Array]:
        """Half of the queries describe what is benign, the other half shows what the measurements of unseen benign ones are."""
        state = self.describe(benign[::2])
        return state | {"benign": quantiles(self.measure(benign[1::2], state))}

    def watch(self, state: Mapping[str, Array]) -> "SurpriseWatch":
        return SurpriseWatch(self, state, Cusum(self.slack))


@dataclass
class SurpriseWatch:
    detector: Surprising
    state: Mapping[str, Array]
    sum: "Cusum"

    def observe(self, queries: Queries) -> float:
        self.detector.check(queries)
        return self.sum.add(surprise(self.detector.measure(queries, self.state), self.state["benign"]))


@dataclass
class Cusum:
    """Page's cumulative sum: near 0 as long as queries are benign; it climbs when they no longer are.

    Source: Page: Continuous Inspection Schemes, Biometrika 1954: S = max(0, S + surprise - 1 - slack).
    """

    slack: float
    value: float = 0.0

    def add(self, surprises: NDArray[np.float64]) -> float:
        if len(surprises):
            path = self.value + np.cumsum(surprises - 1 - self.slack)
            self.value = float(path[-1] - min(0.0, path.min()))
        return self.value


def quantiles(values: Array) -> Array:
    """What is kept of benign values (N,): themselves in order, or 512 of their quantiles."""
    ordered = np.sort(values).astype(np.float32)
    return ordered if len(ordered) <= QUANTILES else np.quantile(ordered, np.linspace(0, 1, QUANTILES)).astype(np.float32)


def surprise(values: Array, benign: Array) -> NDArray[np.float64]:
    """-log p of each value, p the share of benign ones at least as large: 1 on average for benign values, log(1 + N) at the most."""
    larger = len(benign) - np.searchsorted(benign, values, side="left")
    return -np.log((1 + larger) / (1 + len(benign)))
