"""Suspicion and what follows from it: scores of every client's stream, alarms, and the steps of the owner's ladder."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, select, update

from honeyguard.detection.apart import Latest, Look, Part, Watches
from honeyguard.detection.thresholds import Thresholds
from honeyguard.errors import DataError, ParameterError
from honeyguard.gateway.config import Policy
from honeyguard.gateway.ledger import Entry, event
from honeyguard.gateway.metrics import Metrics
from honeyguard.gateway.recorder import Findings, Seen, nobody
from honeyguard.gateway.store import clients

NOTED = 0.05
"""Change of a client's risk that is written to the table."""


@dataclass
class _Client:
    """A client under watch.

    Args:
        quiet: images since the last alarm, by detector; none where there was no alarm.
        risk: the largest score over its threshold.
    """

    quiet: dict[str, int] = field(default_factory=dict)
    risk: float = 0.0


class Suspicion:
    """Watches clients' streams, raises alarms, and goes one step down the ladder with each of them.

    The detectors' memory of a client is this process's own; the step that a client is at stands in the database, for all replicas.
    Beyond `policy.clients` clients the one that was quiet for longest is forgotten.

    Args:
        look: the detectors; in this process if not given.
    """

    def __init__(self, thresholds: Thresholds, policy: Policy, metrics: Metrics, look: Look | None = None) -> None:
        self._thresholds, self._policy, self._metrics = thresholds, policy, metrics
        self._look = look or Watches(thresholds, policy.clients)
        self._clients = Latest(policy.clients, _Client)
        self._cost, self._before = 0.0, time.monotonic()
        self._draw = np.random.default_rng()

    def check(self, shape: Sequence[int], classes: int, features: int | None) -> None:
        """Raises: ParameterError: thresholds of another model."""
        seen = Seen(
            np.zeros((2, *shape), np.float32),
            None if features is None else np.zeros((2, features), np.float32),
            np.full((2, classes), 1 / classes, np.float32),
        )
        try:
            Watches(self._thresholds, 1)([_part("", seen)])
        except (DataError, ValueError, IndexError) as error:
            got = f"others: {type(error).__name__} with {'thumbnails' if features is None else f'{features} features'}"
            raise ParameterError(
                "policy.thresholds of this model", got, "Run `honeyguard calibrate` with the model that is served."
            ) from None

    def __call__(self, batch: Sequence[tuple[str, Seen | None]]) -> Findings:
        """Each client's queries of the batch in one go: the scores of its last one stand for all of them."""
        looked = self._affordable(batch)
        parts = [_part(client, seen) for client, seen in looked if seen is not None]
        if not parts:
            return nobody(batch)
        scores, seconds = self._look(parts)
        sent = Counter[str]()
        for client, images, *_ in parts:
            sent[client] += len(images)
        risks: dict[str, tuple[float, str]] = {}
        alarms: list[Entry] = []
        for client, found in scores.items():
            self._judge(client, sent[client], found, risks, alarms)
        self._cost += 0.2 * (seconds / _images(looked) - self._cost)
        told = [{"scores": scores[client]} if seen is not None else {} for client, seen in looked]
        return Findings(told, lambda connection: [*alarms, *self._act(connection, risks, alarms)])

    def close(self) -> None:
        self._look.close()

    def _affordable(self, batch: Sequence[tuple[str, Seen | None]]) -> Sequence[tuple[str, Seen | None]]:
        """The batch, less what there is no time for: a random part of the requests, so that no client can choose which."""
        now = time.monotonic()
        elapsed, self._before = now - self._before, now
        wanted = _images(batch) * self._cost
        part = self._policy.share * elapsed / wanted if wanted else 1.0
        if part >= 1:
            return batch
        kept = [(client, seen if keep else None) for (client, seen), keep in zip(batch, self._draw.random(len(batch)) < part, strict=True)]
        self._metrics.unwatched.inc(_images(batch) - _images(kept))
        return kept

    def _judge(self, name: str, images: int, scores: Mapping[str, float], risks: dict[str, tuple[float, str]], alarms: list[Entry]) -> None:
        client = self._clients.of(name)
        over = {detector: score / max(self._thresholds.values[detector], 1e-9) for detector, score in scores.items()}
        reason = max(over, key=lambda detector: over[detector])
        if abs(over[reason] - client.risk) > NOTED:
            client.risk = over[reason]
            risks[name] = client.risk, reason
        for detector, value in over.items():
            quiet = client.quiet.get(detector, self._policy.patience) + images
            if value > 1 and quiet > self._policy.patience:
                quiet = 0
                self._metrics.alarms.labels(detector).inc()
                alarms.append(event("alarm", name, detector=detector, score=scores[detector], threshold=self._thresholds.values[detector]))
            if detector in client.quiet or quiet == 0:
                client.quiet[detector] = quiet

    def _act(self, connection: Connection, risks: Mapping[str, tuple[float, str]], alarms: Sequence[Entry]) -> list[Entry]:
        if risks:
            change = update(clients).where(clients.c.id == bindparam("client")).values(risk=bindparam("value"), reason=bindparam("why"))
            connection.execute(change, [{"client": name, "value": risk, "why": why} for name, (risk, why) in sorted(risks.items())])
        return [step for alarm in alarms if (step := self._step(connection, alarm.client)) is not None]

    def _step(self, connection: Connection, client: str | None) -> Entry | None:
        """The next step down the ladder; None for a client who is at its end."""
        reached, ladder = connection.execute(select(clients.c.step).where(clients.c.id == client)).scalar(), self._policy.ladder
        if reached is None or reached >= len(ladder):
            return None
        step = ladder[reached]
        values: dict[str, Any] = {"step": reached + 1} | ({} if step == "log" else {"mode": step})
        connection.execute(update(clients).where(clients.c.id == client).values(**values))
        return event("step", client, step=step)


def _images(batch: Sequence[tuple[str, Seen | None]]) -> int:
    return sum(len(seen.images) for _, seen in batch if seen is not None)


def _part(client: str, seen: Seen) -> Part:
    return client, seen.images, seen.answers, seen.features
