"""Thresholds from the owner's own benign traffic, at a stated rate of false alarms."""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import stats

from honeyguard.detection import DETECTORS, Detector
from honeyguard.detection.replay import Request, replay
from honeyguard.detection.streams import Array, Queries
from honeyguard.errors import ArtifactError, DataError, UnknownNameError

SCHEMA = 1
CONFIDENCE = 0.95
REQUEST = 32
"""Queries of a request in which benign streams are looked at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholds:
    """Fitted detectors and the scores above which they raise an alarm.

    Args:
        detectors: by the names of `DETECTORS`.
        values: the threshold of each.
        client_day: queries that a benign client sends a day.
        days: for which the rate holds, from a client's first query on.
        false_alarms_per_client_day: over all detectors together: the rate that was asked for.
        bound: the upper 95 % bound on that rate, which is no more.
        streams: benign clients behind the bound.
    """

    detectors: Mapping[str, Detector]
    values: Mapping[str, float]
    client_day: int
    days: int
    false_alarms_per_client_day: float
    bound: float
    streams: int

    def content(self) -> dict[str, Any]:
        """As JSON has it."""
        figures = {name: getattr(self, name) for name in FIGURES}
        detectors = {name: _described(detector) | {"threshold": self.values[name]} for name, detector in self.detectors.items()}
        return {"schema": SCHEMA, "kind": "thresholds", **figures, "detectors": detectors}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `honeyguard calibrate` wrote. Raises: ArtifactError: a missing, damaged, foreign or newer file."""
        expected = "a thresholds file that `honeyguard calibrate` wrote"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["kind"] != "thresholds" or content["schema"] > SCHEMA:
                raise ValueError(f"{content['kind']} of schema {content['schema']}")
            detectors = {name: _restored(name, entry) for name, entry in content["detectors"].items()}
            values = {name: float(entry["threshold"]) for name, entry in content["detectors"].items()}
            return cls(detectors=detectors, values=values, **{name: content[name] for name in FIGURES})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(expected, f"{path} ({type(error).__name__}: {error})", "Check the path, or calibrate again.") from None


FIGURES = ("client_day", "days", "false_alarms_per_client_day", "bound", "streams")


def calibrate(
    detectors: Mapping[str, Detector],
    benign_streams: Sequence[Sequence[Queries]],
    false_alarms_per_client_day: float = 0.01,
    *,
    client_day: int = 200,
) -> Thresholds:
    """Thresholds at which all detectors together raise no more than so many false alarms a client and day.

    Half of the streams say how large each detector's scores get (median and upper spread of the streams' largest), so that one factor
    sets all thresholds. The other half sets the factor: with k of its n streams above it, the upper Clopper-Pearson bound on
    the chance of an alarm in a stream must not be above the rate times the days of a stream. So the rate holds with 95 % confidence for
    clients who are like these, from their first query on for as many days as the streams have.

    Args:
        detectors: fitted ones, and not to the same queries.
        benign_streams: rounds of clients who are served side by side; a stream has at least a day's queries.
        client_day: queries that a benign client sends a day.
    Raises: DataError: streams that are too few for the rate, too short, or on which a detector never says anything.
    """
    shortest = min((len(stream) for round_ in benign_streams for stream in round_), default=0)
    days = shortest // client_day
    if not days:
        raise DataError(f"streams of at least {client_day} queries, a client's day", f"one of {shortest}", "Bring more benign traffic.")
    highest = np.array([top for round_ in benign_streams for top in tops(detectors, [s[: days * client_day] for s in round_])])
    mute = [name for name, scores in zip(detectors, highest.T, strict=True) if np.ptp(scores) == 0]
    if mute:
        got = f"the same score on all of them from {', '.join(mute)}"
        raise DataError("benign streams that every detector can tell apart", got, "Bring longer streams, or leave it out.")
    scale, level = highest[::2], highest[1::2]
    allowed, bound = _allowed(len(level), false_alarms_per_client_day * days)
    centre = np.median(scale, axis=0)
    spread = np.maximum(np.quantile(scale, 0.95, axis=0) - centre, 1e-3)
    factor = np.sort(((level - centre) / spread).max(1))[-1 - allowed]
    return Thresholds(
        detectors=detectors,
        values=dict(zip(detectors, (centre + factor * spread).tolist(), strict=True)),
        client_day=client_day,
        days=days,
        false_alarms_per_client_day=false_alarms_per_client_day,
        bound=bound / days,
        streams=len(level),
    )


def tops(detectors: Mapping[str, Detector], streams: Sequence[Queries]) -> list[list[float]]:
    """The largest score of each detector in each of the streams of clients who are served side by side."""
    highest = [dict.fromkeys(detectors, 0.0) for _ in streams]
    requests = (Request(str(i), part) for parts in _in_turns(streams) for i, part in parts)
    for step in replay(detectors, requests):
        found = highest[int(step.client)]
        found.update({name: max(found[name], score) for name, score in step.scores.items()})
    return [list(found.values()) for found in highest]


def _in_turns(streams: Sequence[Queries]) -> Iterator[list[tuple[int, Queries]]]:
    for start in range(0, max(map(len, streams)), REQUEST):
        yield [(i, part) for i, stream in enumerate(streams) if len(part := stream[start : start + REQUEST])]


def _allowed(streams: int, rate: float) -> tuple[int, float]:
    """How many streams may be above a threshold so that the upper bound on their share is no more than `rate`; and that bound."""
    bounds = [float(stats.beta.ppf(CONFIDENCE, k + 1, streams - k)) for k in range(streams)]
    fitting = [k for k, bound in enumerate(bounds) if bound <= rate]
    if not fitting:
        needed = 2 * math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-min(rate, 0.999)))
        raise DataError(f"at least {needed} benign streams for this rate", f"{2 * streams}", "Bring more, or longer ones, or allow more.")
    return fitting[-1], bounds[fitting[-1]]


def _described(detector: Detector) -> dict[str, Any]:
    arguments = {name: value for name, value in vars(detector).items() if name != "state" and not name.startswith("_")}
    state: Mapping[str, Array] | None = getattr(detector, "state", None)
    return {"arguments": arguments, "state": {name: _packed(array) for name, array in state.items()} if state is not None else None}


def _packed(array: Array) -> dict[str, Any]:
    return {"shape": list(array.shape), "float32": base64.b64encode(array.astype("<f4").tobytes()).decode()}


def _restored(name: str, entry: dict[str, Any]) -> Detector:
    if name not in DETECTORS:
        raise UnknownNameError("detector", name, DETECTORS)
    given = {} if entry["state"] is None else {"state": {key: _unpacked(packed) for key, packed in entry["state"].items()}}
    return DETECTORS[name](**entry["arguments"], **given)


def _unpacked(packed: dict[str, Any]) -> Array:
    return np.frombuffer(base64.b64decode(packed["float32"], validate=True), "<f4").reshape(packed["shape"]).astype(np.float32)
