"""A log again: kept queries through detectors that were not there at the time."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
from sqlalchemy import Engine, select

from honeyguard.detection.replay import Request, alarms
from honeyguard.detection.streams import Queries
from honeyguard.detection.thresholds import Thresholds
from honeyguard.gateway.ledger import kept
from honeyguard.gateway.recorder import Seen
from honeyguard.gateway.store import clients


def packed(seen: Seen) -> bytes:
    """A query as it is kept: .npz, without pickle."""
    file, known = io.BytesIO(), {"images": seen.images, "answers": seen.answers, "features": seen.features}
    np.savez_compressed(file, allow_pickle=False, **{name: array for name, array in known.items() if array is not None})
    return file.getvalue()


def requests(engine: Engine) -> Iterator[Request]:
    """Every query whose images were kept, oldest first, under the client's name."""
    with engine.connect() as connection:
        names = {row.id: row.name for row in connection.execute(select(clients.c.id, clients.c.name))}
    for client, content in kept(engine):
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            yield Request(names[client], Queries.of(arrays["images"], arrays["answers"], arrays.get("features")))


def replayed(engine: Engine, thresholds: Thresholds) -> Mapping[str, Mapping[str, int]]:
    """By client and detector: after how many of the client's images the alarm would have come."""
    return alarms(thresholds.detectors, thresholds.values, requests(engine))
