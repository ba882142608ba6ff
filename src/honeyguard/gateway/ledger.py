"""The ledger: what was asked and done, append-only, each entry bound to all before it by SHA-256."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, delete, insert, select, update

from honeyguard.errors import LedgerError
from honeyguard.gateway.store import Statement, clients, entries, heads, journals, queries

ORIGIN = "0" * 64
EVENTS = ("alarm", "step", "recovered", "detectors failed")
CHECKPOINT = 32 << 20
"""Bytes of SQLite's log beyond which it goes into the tables; beyond 16 times as many, writers wait for it."""
HEAD = select(heads.c.seq, heads.c.digest)
Row = dict[str, Any]
Also = Callable[[Connection], Sequence["Entry"]]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the ledger.

    Args:
        kind: query, or the name of an event.
        client: id of the client that it is about, if any.
        images: of a query.
        facts: what else is known, as JSON has it.
        content: images, features and answers, packed, where they are kept.
        time: seconds since 1970 by the server's clock, which may jump; the order is that of the ledger.
    """

    kind: str
    client: str | None = None
    images: int = 0
    facts: dict[str, Any]
    content: bytes | None = None
    time: float = 0.0

    @cached_property
    def body(self) -> str:
        """The entry as it is chained: JSON with sorted keys."""
        head = {"time": self.time, "client": self.client, "kind": self.kind, "images": self.images}
        return orjson.dumps(head | self.facts, option=orjson.OPT_SORT_KEYS).decode()


def chained(previous: str, body: str) -> str:
    return hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()


class Ledger:
    """Appends batches of entries, each in one durable transaction; replicas that share a database share one chain."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, batch: Sequence[Entry], journal: str | None = None, also: Also = lambda _: ()) -> None:
        """Write `batch`, unless `journal`, the name of its journal, says that it was written before.

        Args:
            also: does more in the same transaction, and says which entries that gives.
        """
        with self._engine.connect() as connection:
            head = connection.execute(HEAD).one()
            connection.rollback()
            rows = _chain(head.seq, head.digest, batch)  # before the lock: whoever spends a budget waits for it
            with connection.begin():
                # An update that changes nothing locks the head, so that no other replica appends between it and the commit.
                locked = connection.execute(update(heads).values(seq=heads.c.seq).returning(heads.c.seq, heads.c.digest)).one()
                if journal is not None and connection.execute(select(journals.c.name).where(journals.c.name == journal)).first():
                    return
                if locked != head:
                    rows = _chain(locked.seq, locked.digest, batch)
                self._append(connection, batch, rows, locked, also(connection))
                if journal is not None:
                    connection.execute(insert(journals).values(name=journal))
        _sync(self._engine)

    def forget_journal(self, journal: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(journals).where(journals.c.name == journal))

    @staticmethod
    def _append(connection: Connection, batch: Sequence[Entry], rows: list[Row], head: Any, more: Sequence[Entry]) -> None:
        seq, digest = (rows[-1]["seq"], rows[-1]["digest"]) if rows else (head.seq, head.digest)
        rows = rows + _chain(seq, digest, more)
        if not rows:
            return
        cursor = connection.connection.cursor()
        Statement(insert(entries), connection.dialect).insert(cursor, rows)
        cursor.close()
        contents = [{"seq": row["seq"], "content": e.content} for row, e in zip(rows, batch, strict=False) if e.content is not None]
        if contents:
            connection.execute(insert(queries), contents)
        connection.execute(update(heads).values(seq=rows[-1]["seq"], digest=rows[-1]["digest"]))


def _chain(seq: int, digest: str, batch: Sequence[Entry]) -> list[Row]:
    """The rows of a batch, after the entry of that number and digest."""
    rows = []
    for number, entry in enumerate(batch, seq + 1):
        digest = chained(digest, entry.body)
        row = {"seq": number, "time": entry.time, "client": entry.client, "kind": entry.kind, "images": entry.images}
        rows.append(row | {"body": entry.body, "digest": digest})
    return rows


def _sync(engine: Engine) -> None:
    """Bring SQLite's log onto the disk, and what it has into the tables: evidence outlives a power cut.

    All that waits for the disk is done here, after the commit, in the ledger's own thread: whoever spends a budget must not wait.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    with suppress(FileNotFoundError), Path(f"{engine.url.database}-wal").open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        if size > CHECKPOINT:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA wal_checkpoint({'RESTART' if size > 16 * CHECKPOINT else 'PASSIVE'})")


@dataclass(frozen=True)
class Checked:
    """What `verify` found: entries, images that they count, images spent from budgets but not in the ledger, and the head."""

    entries: int
    images: int
    unlogged: int
    head: str


def verify(engine: Engine) -> Checked:
    """Follow the chain from its origin to its head. Raises: LedgerError: an entry changed, missing or added."""
    with engine.connect() as connection:
        head = connection.execute(HEAD).one()
        digest, count, images = ORIGIN, 0, 0
        for seq, row in enumerate(connection.execute(select(entries).order_by(entries.c.seq)).yield_per(1000), 1):
            facts = orjson.loads(row.body)
            same = all(facts[name] == getattr(row, name) for name in ("time", "client", "kind", "images"))
            digest = chained(digest, row.body)
            if row.seq != seq or row.digest != digest or not same:
                raise LedgerError("an unbroken chain", f"a break at entry {seq}", "Compare with a copy: an entry was changed or removed.")
            count, images = seq, images + row.images
        if (count, digest) != (head.seq, head.digest):
            got = f"{count} entries where the head says {head.seq}"
            raise LedgerError("a chain that ends at its head", got, "Compare with a copy: the end was changed or removed.")
        spent = sum(connection.execute(select(clients.c.spent)).scalars())
    return Checked(count, images, spent - images, digest)


def events(engine: Engine, limit: int = 50) -> list[dict[str, Any]]:
    """The newest events, newest first."""
    chosen = select(entries.c.body).where(entries.c.kind.in_(EVENTS)).order_by(entries.c.seq.desc()).limit(limit)
    with engine.connect() as connection:
        return [orjson.loads(body) for body in connection.execute(chosen).scalars()]


def kept(engine: Engine) -> Iterator[tuple[str, bytes]]:
    """(client, content) of every query whose images were kept, oldest first."""
    joined = select(entries.c.client, queries.c.content).join(queries, queries.c.seq == entries.c.seq).order_by(entries.c.seq)
    with engine.connect() as connection:
        for row in connection.execute(joined).yield_per(100):
            yield row.client, row.content


def event(kind: str, client: str | None = None, **facts: Any) -> Entry:
    return Entry(kind=kind, client=client, facts=facts, time=time.time())
