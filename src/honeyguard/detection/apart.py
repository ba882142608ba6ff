"""The detectors' memory of clients' streams, and a process of its own for it: what they compute never holds up who answers."""

import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Generic, Protocol, TypeVar

import numpy as np

from honeyguard.detection.streams import Array, Queries, Watch
from honeyguard.detection.thresholds import Thresholds

T = TypeVar("T")
Part = tuple[str, Array, Array, Array | None]
"""A client, images of one request (N, C, H, W), their answers (N, K), and the features (N, …) where the model gives any."""
Scores = Mapping[str, Mapping[str, float]]
NICE = 10
"""Whoever answers goes first where both want a core."""
ALONE = "from honeyguard.detection.apart import serve; serve({})"


class Look(Protocol):
    """The score of each client's stream under each detector, after these parts too; and the seconds of processor time that it took.

    A client's parts are looked at in one go.
    """

    def __call__(self, parts: Sequence[Part]) -> tuple[Scores, float]: ...

    def close(self) -> None: ...


class Latest(Generic[T]):
    """What is known of `most` clients at a time, `new` of one unknown; beyond it the one that was quiet for longest is forgotten."""

    def __init__(self, most: int, new: Callable[[], T]) -> None:
        self._most, self._new = most, new
        self._known: OrderedDict[str, T] = OrderedDict()

    def of(self, client: str) -> T:
        found = self._known.pop(client) if client in self._known else self._new()
        self._known[client] = found
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def clear(self) -> None:
        self._known.clear()


class Watches:
    """Args: most: clients at a time, as in `Latest`."""

    def __init__(self, thresholds: Thresholds, most: int) -> None:
        def started() -> dict[str, Watch]:
            return {name: made.start() for name, made in thresholds.detectors.items()}

        self._clients = Latest(most, started)

    def __call__(self, parts: Sequence[Part]) -> tuple[Scores, float]:
        started, found, streams = time.thread_time(), dict[str, dict[str, float]](), dict[str, list[Part]]()
        for part in parts:
            streams.setdefault(part[0], []).append(part)
        for client, stream in streams.items():
            queries = _together(stream)
            found[client] = {name: round(float(watch.observe(queries)), 6) for name, watch in self._clients.of(client).items()}
        return found, time.thread_time() - started

    def close(self) -> None:
        self._clients.clear()


def _together(stream: Sequence[Part]) -> Queries:
    """What one client sent and was answered in a batch."""
    _, images, answers, features = zip(*stream, strict=True)
    known = [found.reshape(len(found), -1) for found in features if found is not None]
    return Queries.of(np.concatenate(images), np.concatenate(answers), np.concatenate(known) if len(known) == len(stream) else None)


class Apart:
    """`Watches` in another process, which starts when it is needed first. It ends with this one, however this one ends.

    Raises: RuntimeError: it died. The next call starts another, without memory. Whatever a detector raises.
    """

    def __init__(self, thresholds: Thresholds, most: int) -> None:
        self._arguments = thresholds, most
        self._pipe: Connection | None = None

    def __call__(self, parts: Sequence[Part]) -> tuple[Scores, float]:
        if self._pipe is None:
            self._pipe = self._started()
        try:
            self._pipe.send(len(parts))
            for part in parts:  # one by one, so that whoever answers gets a turn between two of them
                self._pipe.send(part)
            answer = self._pipe.recv()
        except (OSError, EOFError):
            self.close()
            raise RuntimeError("the detectors' process died") from None
        if isinstance(answer, Exception):
            raise answer
        scores, seconds = answer
        return scores, seconds

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._process.wait()
            self._pipe = None

    def _started(self) -> Connection:
        ours, theirs = Pipe()
        number = theirs.fileno()
        self._process = subprocess.Popen([sys.executable, "-c", ALONE.format(number)], pass_fds=[number], stdin=subprocess.DEVNULL)
        theirs.close()
        ours.send(self._arguments)
        return ours


def serve(number: int) -> None:
    """The other process: answer what comes through the pipe of this file number, until its other end is closed."""
    for name in (signal.SIGINT, signal.SIGTERM):  # they are for the one that asks, which has a last batch to ask about
        signal.signal(name, signal.SIG_IGN)
    os.nice(NICE)
    pipe = Connection(number)
    try:
        watches = Watches(*pipe.recv())
        while True:
            parts = [pipe.recv() for _ in range(pipe.recv())]
            try:
                pipe.send(watches(parts))
            except Exception as error:  # told to whoever asked
                pipe.send(error)
    except (EOFError, OSError):
        return
