"""Lifetime query budgets: checked and spent in one atomic statement, whoever else spends at the same time."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, bindparam, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from honeyguard.gateway.protocol import RequestError
from honeyguard.gateway.store import clients

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
        self._connection: Connection | None = None

    def __call__(self, wishes: Sequence[Wish]) -> list[str | Exception]:
        """Modes or `RequestError`s, in the order of the wishes."""
        groups: dict[str, list[int]] = {}
        for i, wish in enumerate(wishes):
            groups.setdefault(wish.client, []).append(i)
        done: dict[int, str | Exception] = {}
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin():
                for client, rows in sorted(groups.items()):  # in one order, so that two replicas never wait for each other crosswise
                    whole = self._spend(self._connection, Wish(client, sum(wishes[i].count for i in rows)))
                    alone = isinstance(whole, str) or len(rows) == 1
                    done |= {i: whole if alone else self._spend(self._connection, wishes[i]) for i in rows}
        except SQLAlchemyError as error:
            log.error("budgets: %s", type(error).__name__)
            self.close()
            return [RequestError(503, UNAVAILABLE, wait=1)] * len(wishes)
        return [done[i] for i in range(len(wishes))]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except SQLAlchemyError:
                pass

    @staticmethod
    def _spend(connection: Connection, wish: Wish) -> str | Exception:
        parameters = {"client": wish.client, "count": wish.count}
        mode = connection.execute(SPEND, parameters).scalar()
        if mode is not None:
            return str(mode)
        account = connection.execute(ACCOUNT, parameters).first()
        if account is None or account.revoked is not None:
            return RequestError(403, "This key was revoked.")
        if account.mode == "block":
            return RequestError(403, "This client is blocked. Ask the owner of the model.")
        left = account.budget - account.spent
        return RequestError(429, f"expected at most {left} more images in this client's budget of {account.budget}; got {wish.count}.")
