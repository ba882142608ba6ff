"""Estimates with 95 % intervals. The statistics are SciPy's."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats as scipy_stats
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int

    def record(self) -> dict[str, float]:
        return asdict(self)


def share(hits: Tensor) -> Estimate:
    """Share of true values in (N,) booleans, with Wilson's interval; all NaN when N = 0."""
    n, k = len(hits), int(hits.sum())
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    interval = scipy_stats.binomtest(k, n).proportion_ci(method="wilson")
    return Estimate(k / n, float(interval.low), float(interval.high), n)


def mean(values: Sequence[float]) -> Estimate:
    """Mean with Student's interval; the interval is the value itself when only one is there."""
    n, centre = len(values), float(np.mean(values))
    spread = float(scipy_stats.sem(values)) if n > 1 else 0.0
    margin = float(scipy_stats.t.ppf(0.975, n - 1)) * spread if spread else 0.0
    return Estimate(centre, centre - margin, centre + margin, n)
