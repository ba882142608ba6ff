"""What the dashboard shows, read from the tables."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import BigInteger, Connection, cast, func, select

from honeyguard.gateway import ledger
from honeyguard.gateway.service import Gateway
from honeyguard.gateway.store import clients, entries, heads, marks

MINUTES, SHOWN = 60, 25


def overview(gateway: Gateway) -> dict[str, Any]:
    """Traffic of the last hour, clients by risk, alarms, the model and the ledger."""
    with gateway.engine.connect() as connection:
        names = {row.id: row.name for row in connection.execute(select(clients.c.id, clients.c.name))}
        head = connection.execute(select(heads.c.seq, heads.c.digest)).one()
        order = clients.c.risk.desc(), clients.c.spent.desc()
        riskiest = connection.execute(select(clients).order_by(*order).limit(SHOWN)).mappings().all()
        totals = connection.execute(select(func.count(), func.coalesce(func.sum(clients.c.spent), 0)).select_from(clients)).one()
        marked = connection.execute(select(func.count()).select_from(marks)).scalar_one()
        traffic = _traffic(connection)
    return {
        "model": gateway.model,
        "defenses": gateway.backend.defenses,
        "figures": _utility(gateway.backend.figures),
        "traffic": traffic,
        "busiest": max(max(traffic), 1),
        "totals": {"clients": totals[0], "spent": totals[1], "marked": marked, "entries": head.seq, "waiting": gateway.recorder.waiting},
        "head": head.digest,
        "clients": riskiest,
        "events": [{"name": names.get(e["client"], "—"), **e} for e in ledger.events(gateway.engine, SHOWN)],
        "ladder": gateway.config.policy.ladder,
    }


def client(gateway: Gateway, name: str) -> dict[str, Any] | None:
    """One client: budget, mode, the latest entries; None for nobody."""
    with gateway.engine.connect() as connection:
        row = connection.execute(select(clients).where(clients.c.id == name)).mappings().first()
        if row is None:
            return None
        latest = select(entries.c.body).where(entries.c.client == name).order_by(entries.c.seq.desc()).limit(SHOWN)
        marked = connection.execute(select(func.count()).select_from(marks).where(marks.c.client == name)).scalar_one()
        return {"client": row, "marked": marked, "entries": [orjson.loads(body) for body in connection.execute(latest).scalars()]}


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _traffic(connection: Connection) -> list[int]:
    """Images of each of the last 60 minutes, the present one last."""
    now = int(time.time() // 60)
    minute = cast(entries.c.time, BigInteger) // 60
    since = entries.c.kind == "query", entries.c.time >= 60 * (now - MINUTES + 1)
    counted = select(minute.label("minute"), func.sum(entries.c.images).label("images")).where(*since).group_by("minute")
    found = {row.minute: row.images for row in connection.execute(counted)}
    return [int(found.get(now - back, 0)) for back in range(MINUTES - 1, -1, -1)]


def _utility(known: dict[str, Any]) -> dict[str, float]:
    """The figures of the guarded folder that an owner looks for."""
    return {name: known[name]["value"] for name in ("accuracy", "fidelity") if isinstance(known.get(name), dict)}
