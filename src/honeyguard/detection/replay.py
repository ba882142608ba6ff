"""A log through detectors: what they would have said, had they been there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from honeyguard.detection.streams import Detector, Queries, Watch


@dataclass(frozen=True, eq=False)
class Request:
    """One request of a log: who, and what."""

    client: str
    queries: Queries


@dataclass(frozen=True)
class Step:
    """What the detectors say after a request.

    Args:
        client: whose request it was.
        sent: the client's queries so far.
        scores: by detector.
    """

    client: str
    sent: int
    scores: Mapping[str, float]


def replay(detectors: Mapping[str, Detector], log: Iterable[Request]) -> Iterator[Step]:
    """Every request of a log, in order, through a watch a client and detector; what live watches share stays untouched.

    Example: `for step in replay({"prada": Prada()}, log): print(step.client, step.sent, step.scores["prada"])`
    """
    own: dict[str, Detector] = {name: replace(cast(Any, detector)) for name, detector in detectors.items()}
    watches: dict[str, dict[str, Watch]] = {}
    sent: dict[str, int] = {}
    for request in log:
        client = request.client
        if client not in watches:
            watches[client] = {name: detector.start() for name, detector in own.items()}
        sent[client] = sent.get(client, 0) + len(request.queries)
        yield Step(client, sent[client], {name: watch.observe(request.queries) for name, watch in watches[client].items()})


def alarms(detectors: Mapping[str, Detector], thresholds: Mapping[str, float], log: Iterable[Request]) -> dict[str, dict[str, int]]:
    """By client and detector: after how many of the client's queries the score passed the threshold; nothing where it never did."""
    found: dict[str, dict[str, int]] = {}
    for step in replay(detectors, log):
        raised = found.setdefault(step.client, {})
        for name, score in step.scores.items():
            if score > thresholds[name]:
                raised.setdefault(name, step.sent)
    return found
