"""The journal: what was answered but is not yet in the ledger, in files that outlive the process."""

import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from honeyguard.gateway.ledger import Entry

T = TypeVar("T")


@dataclass(frozen=True)
class Taken(Generic[T]):
    """Entries, what came with each of them, and the file that holds them until `done`."""

    entries: list[Entry]
    companions: list[T]
    path: Path
    file: int

    def done(self) -> None:
        """The entries are in the ledger."""
        self.path.unlink(missing_ok=True)
        os.close(self.file)


class Journal(Generic[T]):
    """Entries are written here, in microseconds, before an answer leaves, and taken out in batches by whoever fills the ledger.

    A killed process loses nothing: its files are found by `left_over` at the next start. (After a power cut the last moments may be
    missing; the budgets are right all the same, and `verify` says how many images are not accounted for.)

    Args:
        folder: of the files; processes may share it.
        owner: a name that no other process has.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._owner, self._number = folder, owner, 0
        self._lock = threading.Lock()
        self._now: Taken[T] = self._opened()

    def add(self, entry: Entry, companion: T) -> None:
        """Note an entry. Raises: OSError: it can't be written (a full disk); then nothing of it stays."""
        line = entry.body.encode() + b"\n"
        with self._lock:
            now = self._now
            start = os.lseek(now.file, 0, os.SEEK_CUR)
            try:
                if os.write(now.file, line) != len(line):
                    raise OSError("the disk is full")
            except OSError:
                os.ftruncate(now.file, start)
                os.lseek(now.file, start, os.SEEK_SET)
                raise
            now.entries.append(entry)
            now.companions.append(companion)

    def take(self) -> Taken[T] | None:
        """All that came since the last time. Raises: OSError: no new file can be made; then all stays as it is."""
        with self._lock:
            if not self._now.entries:
                return None
            taken, self._now = self._now, self._opened()
        return taken

    def __len__(self) -> int:
        return len(self._now.entries)

    def close(self) -> None:
        """Leave no file behind, unless it holds something."""
        with self._lock:
            os.close(self._now.file) if self._now.entries else self._now.done()

    def _opened(self) -> Taken[T]:
        self._number += 1
        path = self._folder / f"{self._owner}-{self._number}.journal"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)  # held as long as this process lives
        return Taken([], [], path, file)


def left_over(folder: Path) -> list[Taken[None]]:
    """The journals of processes that ended without emptying them, oldest first; a last line cut short is left out."""
    found = []
    for path in sorted(folder.glob("*.journal"), key=lambda p: p.stat().st_mtime):
        file = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process is alive
            os.close(file)
            continue
        lines = path.read_bytes().split(b"\n")[:-1]
        found.append(Taken([_entry(orjson.loads(line)) for line in lines], [None] * len(lines), path, file))
    return found


def _entry(facts: dict[str, Any]) -> Entry:
    own = {name: facts.pop(name) for name in ("time", "client", "kind", "images")}
    return Entry(**own, facts=facts)
