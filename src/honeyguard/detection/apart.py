"""The detectors' memory of clients' streams, and a process of its own for it: what they compute never holds up who answers."""

import signal
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Protocol

from honeyguard.detection.streams import Array, Queries, Watch
from honeyguard.detection.thresholds import Thresholds

Part = tuple[str, Array, Array, Array | None]
"""A client, its images, their answers, and the features where the model gives any."""
Scores = Mapping[str, Mapping[str, float]]
ALONE = "from honeyguard.detection.apart import serve; serve({})"


class Look(Protocol):
    """The score of each client's stream under each detector, after these parts too; and the seconds of processor time that it took."""

    def __call__(self, parts: Sequence[Part]) -> tuple[Scores, float]: ...

    def close(self) -> None: ...


class Watches:
    """Args: most: clients at a time; beyond it the one that was quiet for longest is forgotten."""

    def __init__(self, thresholds: Thresholds, most: int) -> None:
        self._detectors, self._most = thresholds.detectors, most
        self._clients: OrderedDict[str, dict[str, Watch]] = OrderedDict()

    def __call__(self, parts: Sequence[Part]) -> tuple[Scores, float]:
        started, found = time.thread_time(), dict[str, dict[str, float]]()
        for client, images, answers, features in parts:
            queries = Queries.of(images, answers, features)
            found[client] = {name: round(float(watch.observe(queries)), 6) for name, watch in self._of(client).items()}
        return found, time.thread_time() - started

    def close(self) -> None:
        self._clients.clear()

    def _of(self, client: str) -> dict[str, Watch]:
        known = self._clients.pop(client, None)
        self._clients[client] = known or {name: made.start() for name, made in self._detectors.items()}
        if len(self._clients) > self._most:
            self._clients.popitem(last=False)
        return self._clients[client]


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
            self._pipe.send(parts)
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
    pipe = Connection(number)
    try:
        watches = Watches(*pipe.recv())
        while True:
            parts = pipe.recv()
            try:
                pipe.send(watches(parts))
            except Exception as error:  # told to whoever asked
                pipe.send(error)
    except (EOFError, OSError):
        return
