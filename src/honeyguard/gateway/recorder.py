"""What happens after an answer: detectors look, the policy acts, the ledger is written; in a thread, in batches."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from honeyguard.gateway.journal import Journal, Taken, left_over
from honeyguard.gateway.ledger import Also, Entry, Ledger, event
from honeyguard.gateway.marks import remember
from honeyguard.gateway.metrics import Metrics
from honeyguard.gateway.protocol import Array

log = logging.getLogger(__name__)
UNSEEN = 256 << 20
"""Bytes of images that wait for the detectors; what comes beyond goes unwatched, and is counted."""


@dataclass(frozen=True)
class Seen:
    """What a client sent and was answered.

    Args:
        images: (N, C, H, W).
        features: (N, D); None where the model gives none.
        answers: (N, K), before the policy's steps and the marks.
        marked: rows that carry a mark.  told: the classes that these name.
    """

    images: Array
    features: Array | None
    answers: Array
    marked: Sequence[int] = ()
    told: Sequence[int] = ()


@dataclass(frozen=True)
class Findings:
    """What the detectors say of a batch.

    Args:
        scores: one table a query, as JSON has it.
        act: writes what follows to the clients' table, and says which events that are.
    """

    scores: list[dict[str, Any]]
    act: Also = lambda _: ()


class Watcher(Protocol):
    """Looks at a batch of queries: (client, what was seen or None), in the order of their coming."""

    def __call__(self, batch: Sequence[tuple[str, Seen | None]]) -> Findings: ...


def nobody(batch: Sequence[tuple[str, Seen | None]]) -> Findings:
    """The watcher without detectors."""
    return Findings([{}] * len(batch))


class Recorder:
    """Takes entries from the answering loop and brings them, with their scores, into the ledger.

    As long as the database is gone the entries wait, in memory and in the journal; beyond `backlog` of them `full` is true.

    Args:
        keep: packs what was seen into an entry's content; None keeps nothing.
        last: done when the last entry is written.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        owner: str,
        metrics: Metrics,
        *,
        watcher: Watcher = nobody,
        keep: Callable[[Seen], bytes] | None = None,
        last: Callable[[], None] = lambda: None,
        seconds: float,
        backlog: int,
    ) -> None:
        self._engine, self._ledger, self._metrics = engine, Ledger(engine), metrics
        self._watch, self._keep, self._last, self._seconds, self._backlog = watcher, keep, last, seconds, backlog
        for taken in left_over(folder):
            entries = [*taken.entries, event("recovered", journal=taken.path.stem, requests=len(taken.entries))]
            self._ledger.append(entries, taken.path.stem)
            taken.done()
        self._journal: Journal[Seen | None] = Journal(folder, owner)
        self._unseen = self._in_hand = 0
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that were answered and are not yet in the ledger."""
        return len(self._journal) + self._in_hand

    @property
    def full(self) -> bool:
        return self.waiting >= self._backlog

    def add(self, entry: Entry, seen: Seen | None = None) -> None:
        """Note what is about to be answered. Raises: OSError: it can't be noted."""
        if seen is not None:
            self._unseen += seen.images.nbytes
            if self._unseen > UNSEEN:
                self._metrics.unwatched.inc(len(seen.images))
                seen = None
        self._journal.add(entry, seen)

    def close(self) -> None:
        """Write what is there, if the database can be reached."""
        self._stop.set()
        self._thread.join()
        self._journal.close()
        self._last()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        try:
            taken = self._journal.take()
        except OSError as error:
            log.error("journal: %s", error.strerror)
            return
        self._unseen = 0
        self._in_hand = len(taken.entries) if taken else 0
        self._metrics.backlog.set(self.waiting)
        if taken is not None:
            findings = self._findings(taken)
            entries = [self._finished(*parts) for parts in zip(taken.entries, taken.companions, findings.scores, strict=True)]
            self._write(entries, findings, taken)
            self._in_hand = 0

    def _findings(self, taken: Taken[Seen | None]) -> Findings:
        batch = [(entry.client or "", seen) for entry, seen in zip(taken.entries, taken.companions, strict=True)]
        try:
            found = self._watch(batch)
            self._failing = False
            return found
        except Exception as error:  # a detector that fails costs the scores, never the ledger
            log.error("detectors: %s", type(error).__name__)
            failed = () if self._failing else (event("detectors failed", error=type(error).__name__),)  # once, until they work again
            self._failing = True
            return replace(nobody(batch), act=lambda _: failed)

    def _finished(self, entry: Entry, seen: Seen | None, scores: dict[str, Any]) -> Entry:
        content = self._keep(seen) if self._keep and seen is not None else None
        return replace(entry, facts=entry.facts | scores, content=content)

    def _write(self, entries: list[Entry], findings: Findings, taken: Taken[Seen | None]) -> None:
        """Until it is done; at the end of the process once more, and then the journal keeps it for the next start."""
        while True:
            try:
                self._ledger.append(entries, taken.path.stem, lambda connection: _also(connection, findings, taken))
                taken.done()
                self._ledger.forget_journal(taken.path.stem)
            except Exception as error:  # whatever it is: an entry is never given up
                log.error("ledger: %s; %d entries wait", type(error).__name__, self.waiting)
                if self._stop.is_set():
                    return
                time.sleep(0.5)
            else:
                return


def _also(connection: Connection, findings: Findings, taken: Taken[Seen | None]) -> Sequence[Entry]:
    for entry, seen in zip(taken.entries, taken.companions, strict=True):
        if seen is not None and seen.marked:
            remember(connection, entry, seen.images, seen.answers, seen.marked, seen.told)
    events = findings.act(connection)
    for found in events:
        log.warning("%s", found.body)
    return events
