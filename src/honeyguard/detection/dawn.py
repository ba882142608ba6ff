"""DAWN: a keyed hash picks a few of each client's queries, whose answers change and are remembered. They say later who leaked."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from honeyguard.detection.streams import Array, thumbnails
from honeyguard.errors import ArtifactError, ParameterError

CELLS = 5
LEVELS = 6
Classes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Swaps the top probability with another one in the answers to a few queries, by a keyed hash of the client and the image.

    The same image of the same client is always answered in the same way, so that asking again shows nothing; another client's answer to
    it is changed otherwise, or not at all. The hash sees an image's thumbnail of 5x5 cells in 6 levels, shifted by the key, so that
    small noise mostly leaves it as it is and nobody without the key knows where it changes.

    Source: Szyller, Atli, Marchal, Asokan: DAWN: Dynamic Adversarial Watermarking of Neural Networks, ACM Multimedia 2021, §4.
    Threat model: a client who trains a substitute on the answers and lets it be used. It hurts customers: `share` of their answers
        are wrong.
    Args:
        key: secret, 16 bytes at least.
        share: of queries that are marked, in [0, .005].
    Shape: images (N, C, H, W), answers (N, K) -> answers (N, K) with the same numbers in each row, in another order where marked.
    Raises: ParameterError: a short key or a share out of range.
    Deviations: the class that is told is uniform over the K - 1 others, given image and client: it is this chance that
        `honeyguard.verification.attribution` tests against. Thumbnails are quantised instead of single pixels.
    """

    key: bytes = field(repr=False)
    share: float = 0.005

    def __post_init__(self) -> None:
        if len(self.key) < 16:
            raise ParameterError("a key of at least 16 bytes", f"{len(self.key)}", "Draw one with secrets.token_bytes(32).")
        if not 0 <= self.share <= 0.005:
            raise ParameterError("a share between 0 and 0.005", f"{self.share:g}", "Each mark is a wrong answer to a customer.")

    def mark(self, client: str, images: Array, answers: Array) -> tuple[Array, list[int]]:
        """The answers with their marks, and which rows carry one."""
        drawn = [self._draw(client, cells) for cells in self._cells(images)]
        rows = [i for i, (chance, _) in enumerate(drawn) if chance < self.share]
        if not rows:
            return answers, rows
        marked, classes = answers.copy(), answers.shape[1]
        top = answers[rows].argmax(1)
        told = (top + 1 + np.array([int(drawn[i][1] * (classes - 1)) for i in rows])) % classes
        marked[rows, top], marked[rows, told] = answers[rows, told], answers[rows, top]
        return marked, rows

    def _cells(self, images: Array) -> list[bytes]:
        small = thumbnails(images, CELLS)
        shift = np.frombuffer(hashlib.blake2b(b"shift", key=self.key[:64], digest_size=CELLS * CELLS).digest(), np.uint8)
        return [row.tobytes() for row in np.floor(small * LEVELS + shift[: small.shape[1]] / 256).astype(np.uint8)]

    def _draw(self, client: str, cells: bytes) -> tuple[float, float]:
        """Two numbers, uniform in [0, 1), that nobody can tell without the key."""
        name = client.encode()
        digest = hashlib.blake2b(len(name).to_bytes(4, "big") + name + cells, key=self.key[:64], digest_size=16).digest()
        return int.from_bytes(digest[:6], "big") / 2**48, int.from_bytes(digest[6:12], "big") / 2**48


@dataclass(frozen=True, eq=False)
class Marked:
    """What is remembered of a client's marks.

    Args:
        images: (M, C, H, W) float32.
        told: the class that the answer named (M,).
        hidden: the model's own top class (M,).
    """

    images: Array
    told: Classes
    hidden: Classes

    @classmethod
    def of(cls, images: Array, marked: Array, answers: Array, rows: list[int]) -> "Marked":
        """From images, the answers with marks, those without, and what `Marks.mark` said."""
        return cls(images[rows], marked[rows].argmax(1), answers[rows].argmax(1))

    def __len__(self) -> int:
        return len(self.images)


def save_marks(path: Path, marked: Mapping[str, Marked]) -> None:
    """Write the marks of every client to an .npz file, without pickle."""
    parts = [part for part in marked.values() if len(part)]
    clients = np.repeat(np.array(list(marked), dtype=np.str_), [len(part) for part in marked.values()])
    with path.open("wb") as file:
        np.savez(
            file,
            clients=clients,
            images=np.concatenate([part.images for part in parts]) if parts else np.zeros((0, 1, 1, 1), np.float32),
            told=np.concatenate([part.told for part in parts]) if parts else np.zeros(0, np.int64),
            hidden=np.concatenate([part.hidden for part in parts]) if parts else np.zeros(0, np.int64),
        )


def load_marks(path: Path) -> dict[str, Marked]:
    """Read what `save_marks` wrote. Raises: ArtifactError."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            clients, images, told, hidden = (arrays[name] for name in ("clients", "images", "told", "hidden"))
        if not len(clients) == len(images) == len(told) == len(hidden):
            raise ValueError("arrays of different lengths")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        do = "Export them with `honeyguard ledger marks`."
        raise ArtifactError("an .npz file with clients, images, told and hidden", f"{path} ({error})", do) from None
    return {
        str(client): Marked(images[clients == client], told[clients == client], hidden[clients == client]) for client in np.unique(clients)
    }
