"""DAWN's marks at serving time: which answers were changed, for whom, remembered beside the ledger."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from honeyguard.detection.dawn import Marked, Marks, save_marks
from honeyguard.gateway.ledger import Entry
from honeyguard.gateway.protocol import Array
from honeyguard.gateway.store import clients, marks


def marks_of(secret: bytes, share: float) -> Marks:
    """What marks answers, under a key that is derived from the server's secret."""
    return Marks(key=hashlib.blake2b(b"marks", key=secret, digest_size=32).digest(), share=share)


def remember(connection: Connection, entry: Entry, images: Array, answers: Array, rows: Sequence[int], told: Sequence[int]) -> None:
    """Write the marks of one request; a query that is asked again is remembered once."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(marks).on_conflict_do_nothing()
    hidden = answers[list(rows)].argmax(1).tolist()
    known = {"client": entry.client, "time": entry.time}
    rest = zip(rows, told, hidden, strict=True)
    values = [
        known | {"digest": entry.facts["digests"][row], "image": images[row].tobytes(), "told": name, "hidden": own}
        for row, name, own in rest
    ]
    connection.execute(insert, values)


def export(engine: Engine, path: Path, shape: tuple[int, ...]) -> int:
    """Write all marks, by the names of the clients, to an .npz file for `honeyguard attribute`; how many they are.

    Args:
        shape: (C, H, W) of the model's images.
    """
    columns = clients.c.name, marks.c.image, marks.c.told, marks.c.hidden
    found: dict[str, list[tuple[Array, int, int]]] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(*columns).join(clients, clients.c.id == marks.c.client).order_by(marks.c.time)):
            found.setdefault(row.name, []).append((np.frombuffer(row.image, np.float32).reshape(shape), row.told, row.hidden))
    save_marks(path, {name: _together(parts) for name, parts in found.items()})
    return sum(map(len, found.values()))


def _together(parts: Sequence[tuple[Array, int, int]]) -> Marked:
    images, told, hidden = zip(*parts, strict=True)
    return Marked(np.stack(images), np.array(told, np.int64), np.array(hidden, np.int64))
