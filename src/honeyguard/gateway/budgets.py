"""Lifetime query budgets: checked and spent in one atomic statement, whoever else spends at the same time."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, PoolProxiedConnection, bindparam, or_, select, update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import SQLAlchemyError

from honeyguard.gateway.protocol import RequestError
from honeyguard.gateway.store import Statement, clients

log = logging.getLogger(__name__)
SPEND = (
    update(clients)
    .where(
        clients.c.id == bindparam("client"),
        clients.c.revoked.is_(None),
        clients.c.mode != "block",
        or_(clients.c.budget.is_(None), clients.c.spent + bindparam("count") <= clients.c.budget),
    )
    .values(spent=clients.c.spent + bindparam("count"))
    .returning(clients.c.mode)
)
ACCOUNT = select(clients.c.revoked, clients.c.mode, clients.c.spent, clients.c.budget).where(clients.c.id == bindparam("client"))
UNAVAILABLE = "The budgets can't be reached; nothing was answered. Try again later."


@dataclass(frozen=True)
class Wish:
    """`count` images of a client."""

    client: str
    count: int


class Budgets:
    """Spends a batch of wishes in one transaction: each is granted, with the client's mode, or refused.

    What was spent stays spent, whatever happens to the answer, so that a budget is never under-counted.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._errors = engine.dialect.loaded_dbapi.Error, SQLAlchemyError
        self._statements = Statement(SPEND, engine.dialect), Statement(ACCOUNT, engine.dialect)
        self._connection: PoolProxiedConnection | None = None
        self._cursor: DBAPICursor | None = None

    def __call__(self, wishes: Sequence[Wish]) -> list[str | Exception]:
        """Modes or `RequestError`s, in the order of the wishes."""
        try:
            if self._connection is None or self._cursor is None:
                self._connection = self._engine.raw_connection()
                self._cursor = self._connection.cursor()
                self._engine.dialect.set_isolation_level(self._cursor.connection, "AUTOCOMMIT")
            granted = self._spend_all(self._cursor, wishes)
        except self._errors as error:
            log.error("budgets: %s", type(error).__name__)
            self.close()
            return [RequestError(503, UNAVAILABLE, wait=1)] * len(wishes)
        return granted

    def close(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.invalidate()  # never back into the pool: it may be half-way through a transaction
            connection.close()

    def _spend_all(self, cursor: DBAPICursor, wishes: Sequence[Wish]) -> list[str | Exception]:
        if len(wishes) == 1:  # one statement is a transaction of its own
            return [self._spend(cursor, wishes[0])]
        cursor.execute("BEGIN")
        groups: dict[str, list[int]] = {}
        for i, wish in enumerate(wishes):
            groups.setdefault(wish.client, []).append(i)
        done: dict[int, str | Exception] = {}
        for client, rows in sorted(groups.items()):  # in one order, so that two replicas never wait for each other crosswise
            whole = self._spend(cursor, Wish(client, sum(wishes[i].count for i in rows)))
            alone = isinstance(whole, str) or len(rows) == 1
            done |= {i: whole if alone else self._spend(cursor, wishes[i]) for i in rows}
        cursor.execute("COMMIT")
        return [done[i] for i in range(len(wishes))]

    def _spend(self, cursor: DBAPICursor, wish: Wish) -> str | Exception:
        spend, ask = self._statements
        values = {"client": wish.client, "count": wish.count}
        cursor.execute(spend.text, spend.arguments(values))
        if granted := cursor.fetchall():  # all of them: only then is SQLite's statement over, and with it the transaction
            return str(granted[0][0])
        cursor.execute(ask.text, ask.arguments(values))
        revoked, mode, spent, budget = cursor.fetchone() or (0.0, "", 0, 0)
        if revoked is not None:
            return RequestError(403, "This key was revoked.")
        if mode == "block":
            return RequestError(403, "This client is blocked. Ask the owner of the model.")
        return RequestError(429, f"expected at most {budget - spent} more images in this client's budget of {budget}; got {wish.count}.")
