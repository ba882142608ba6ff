"""The transfer set, kept as it is paid for: a theft that was stopped goes on without asking again."""

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from honeyguard.chunks import LOCK, claim_folder, lock_folder, read_chunks, read_name, write_chunk
from honeyguard.contract import check_answers, check_images, check_spent
from honeyguard.errors import AnswerError, ArtifactError, HoneyguardError, OutputError
from honeyguard.folders import MANIFEST
from honeyguard.types import Oracle, TransferSet

ROOM = 1 << 24  # bytes that a chunk may take besides its images


@runtime_checkable
class Streams(Protocol):
    """An oracle that gives answers as they come, each part with the row of its first image."""

    def stream(self, images: Tensor, /) -> Iterator[tuple[int, Tensor]]: ...


class Recorded:
    """An oracle whose answers are on disk before the next are asked for, and which never asks for those again.

    In each run, the n-th time that an image is sent gets the n-th answer to it that the folder holds, and is asked about if there is
    none. A deterministic theft that is run again therefore replays what it has paid for, without knowing of it, and a noisy oracle
    still gives several answers to one image. What a killed run had under way, one chunk at most, is asked again: `paid` and the budget
    count the answers that were kept.

    Args:
        oracle: who is asked.
        folder: of the record, new or of an earlier run; for one process at a time.
        budget: answers in the folder at most, over all runs together; None for any number.
        name: of the oracle; a folder with another one's answers is refused.
        chunk: images a file.
    Raises: BudgetError: a call that would pass the budget, before anything is asked. OutputError: no room, or a folder in use.
        ArtifactError: a damaged or foreign file. AnswerError: another K than before. Also what the oracle raises; a note says what is kept.
    """

    def __init__(self, oracle: Oracle, folder: Path, *, budget: int | None = None, name: str = "", chunk: int = 256) -> None:
        self.oracle, self.folder, self.budget, self.chunk = oracle, folder, budget, chunk
        self.paid = self.classes = self._files = 0
        self._kept: dict[bytes, list[Tensor]] = {}
        self._turn = threading.Lock()
        self._lock = lock_folder(folder)
        try:
            claim_folder(folder, name)
            for part in read_chunks(folder):
                self._keep(part)
        except HoneyguardError:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others use the folder; one in which nothing was paid goes."""
        if self._lock.is_locked and not self.paid:
            for name in (MANIFEST, LOCK):
                (self.folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()
        self._lock.release()

    def __call__(self, images: Tensor) -> Tensor:
        check_images(images)
        if not len(images):
            return self.oracle(images)
        with self._turn:
            sent, places = Counter[bytes](), []
            for digest in _digests(images):
                places.append((digest, sent[digest]))
                sent[digest] += 1
            missing = [row for row, (digest, nth) in enumerate(places) if nth >= len(self._kept.get(digest, ()))]
            try:
                if self.budget is not None:
                    check_spent(self.paid, len(missing), self.budget)
                for first in range(0, len(missing), self.chunk):
                    self._ask(images[missing[first : first + self.chunk]])
            except BaseException as error:  # Ctrl-C too
                if self.paid:
                    error.add_note(f"{self.paid} paid answers are kept in {self.folder}; the same theft, run again, goes on from there.")
                raise
            answers = torch.stack([self._kept[digest][nth] for digest, nth in places])
            for digest, count in sent.items():
                if rest := self._kept.pop(digest)[count:]:
                    self._kept[digest] = rest
            return answers

    def _ask(self, images: Tensor) -> None:
        needed = 2 * images.nbytes + ROOM
        free = shutil.disk_usage(self.folder).free if self.folder.is_dir() else 0
        if free < needed:
            raise OutputError(f"room for {needed} bytes", f"{free} in {self.folder}", "Make room: what can't be kept isn't asked.")
        parts: dict[int, Tensor] = {}
        try:
            for start, answers in self._answers(images):
                parts[start] = answers
        finally:  # what came before a failure is paid for too
            if parts:
                starts = sorted(parts)
                rows = torch.cat([torch.arange(start, start + len(parts[start])) for start in starts])
                self._store(TransferSet(images[rows].detach().cpu(), torch.cat([parts[start] for start in starts])))

    def _answers(self, images: Tensor) -> Iterator[tuple[int, Tensor]]:
        if isinstance(self.oracle, Streams):
            yield from self.oracle.stream(images)
        else:
            yield 0, check_answers(self.oracle(images), len(images))

    def _store(self, part: TransferSet) -> None:
        if self.classes not in (0, part.answers.shape[1]):
            do = "The model behind the oracle was changed: start a new theft in another folder."
            raise AnswerError(f"{self.classes} classes, as in {self.folder}", f"{part.answers.shape[1]}", do)
        write_chunk(self.folder, self._files, part)
        self._keep(part)

    def _keep(self, part: TransferSet) -> None:
        self.paid, self.classes, self._files = self.paid + len(part), part.answers.shape[1], self._files + 1
        for digest, answer in zip(_digests(part.images), part.answers, strict=True):
            self._kept.setdefault(digest, []).append(answer)


def load_transfer(folder: Path) -> TransferSet:
    """All images and answers that a theft has paid for, in the order of payment. Raises: ArtifactError: none, damaged or foreign."""
    read_name(folder)
    parts = list(read_chunks(folder))
    if not parts:
        raise ArtifactError("a transfer set with answers", f"an empty one at {folder}", "Run the theft first.")
    return TransferSet(torch.cat([part.images for part in parts]), torch.cat([part.answers for part in parts]))


def _digests(images: Tensor) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in images.detach().cpu().numpy()]
