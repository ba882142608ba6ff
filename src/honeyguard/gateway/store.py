"""The gateway's tables in SQLite (WAL) or, by URL, PostgreSQL; migrations by alembic."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as Alembic
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    Dialect,
    Engine,
    Float,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from honeyguard.errors import StoreError

logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports every start
metadata = MetaData()
clients = Table(
    "clients",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("key_hash", Text, nullable=False),
    Column("budget", BigInteger),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    Column("mode", Text, nullable=False, server_default="normal"),
    Column("step", BigInteger, nullable=False, server_default="0"),
    Column("risk", Float, nullable=False, server_default="0"),
    Column("reason", Text),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)
entries = Table(
    "entries",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Float, nullable=False),
    Column("client", Text),
    Column("kind", Text, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Index("entries_kind", "kind", "time"),
    Index("entries_client", "client", "seq"),
)
heads = Table(
    "heads",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
)
journals = Table("journals", metadata, Column("name", Text, primary_key=True))
queries = Table("queries", metadata, Column("seq", BigInteger, primary_key=True, autoincrement=False), Column("content", LargeBinary))
marks = Table(
    "marks",
    metadata,
    Column("client", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("time", Float, nullable=False),
    Column("image", LargeBinary, nullable=False),
    Column("told", BigInteger, nullable=False),
    Column("hidden", BigInteger, nullable=False),
)


TOGETHER = 1000
"""Rows that SQLite takes at a time: it counts 32 766 values."""


class Statement:
    """A statement compiled once for a driver, where SQLAlchemy's own way would cost more than the database does.

    Args:
        statement: with `bindparam`s, or with columns, for which `arguments` takes values by name.
    """

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.text, self._order = str(compiled), getattr(compiled, "positiontup", None)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def arguments(self, values: Mapping[str, Any]) -> Any:
        """What the driver takes beside the text."""
        known = {**self._fixed, **values}
        return known if self._order is None else [known[name] for name in self._order]

    def insert(self, cursor: DBAPICursor, rows: Sequence[Mapping[str, Any]]) -> None:
        """All rows; SQLite's in as few calls as can be: between two of them this thread may wait for its turn, with the database locked."""
        many = [self.arguments(row) for row in rows]
        if self._order is None:
            cursor.executemany(self.text, many)
            return
        start, _, row = self.text.partition(" VALUES ")
        for i in range(0, len(many), TOGETHER):
            part = many[i : i + TOGETHER]
            cursor.execute(f"{start} VALUES {', '.join([row] * len(part))}", [value for one in part for value in one])


def open_store(url: str) -> Engine:
    """The database at `url`, brought to this version's tables.

    Raises: StoreError: no such database, not reachable, or of a newer version.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args=_arguments(parsed.get_backend_name()), pool_pre_ping=True, hide_parameters=True)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _write_ahead)
        migrate(engine)
    except (ArgumentError, SQLAlchemyError, OSError, ImportError, CommandError) as error:
        shown = url.partition("@")[2] or url.rpartition("/")[2]  # never a password
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise StoreError("a database", f"none at {shown} ({type(error).__name__}: {reason})", "Start it, or mend the URL.") from None
    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to this version; two who try at once take turns."""
    script = Alembic()
    script.set_main_option("script_location", "honeyguard.gateway:migrations")
    script.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4701)")
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        script.attributes["connection"] = connection
        command.upgrade(script, "head")


def _arguments(backend: str) -> dict[str, Any]:
    if backend == "sqlite":
        return {"check_same_thread": False, "timeout": 2.0}
    return {"connect_timeout": 3, "options": "-c statement_timeout=3000"}


def _write_ahead(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")  # it waits for the disk; the ledger's thread does it
