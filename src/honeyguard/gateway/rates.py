"""Rate windows per client, in memory or in Redis."""

import asyncio
import logging
import time
from collections.abc import Callable

from limits import RateLimitItem, parse
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from honeyguard.errors import ParameterError, StoreError
from honeyguard.gateway.protocol import RequestError

log = logging.getLogger(__name__)
MEMORY = "memory://"


class Rates:
    """Counts a client's images in a sliding window, and refuses what would pass the limit.

    Args:
        limit: like "600/minute".
        store: memory:// or redis://host:port.
    Raises: ParameterError: a limit that can't be read. StoreError: a store that can't be reached.
    """

    def __init__(self, limit: str, store: str) -> None:
        try:
            self._limit: RateLimitItem = parse(limit)
        except ValueError:
            raise ParameterError("limits.rate like 600/minute", repr(limit), "Mend it.") from None
        self._here = Windows(self._limit.amount, self._limit.get_expiry()) if store == MEMORY else None
        if self._here is None:
            self._shared = _shared(store)

    async def __call__(self, client: str, count: int) -> None:
        """Raises: RequestError: 429 past the limit, 503 where the store is gone."""
        if self._here is not None:
            granted = self._here.hit(client, count)
        else:
            try:
                granted = await asyncio.to_thread(self._shared, self._limit, client, cost=count)
            except Exception as error:  # whatever the store's client library raises
                log.error("rates: %s", type(error).__name__)
                raise RequestError(503, "The rates can't be reached; nothing was answered. Try again later.", wait=1) from None
        if not granted:
            wait = max(1, round(self._limit.get_expiry() / 2))
            raise RequestError(429, f"expected at most {self._limit} (images); got {count} more. Ask more slowly.", wait=wait)


class Windows:
    """Sliding windows of this process, by a clock that never jumps: a window counts in full, the one before it by what still overlaps.

    Args:
        amount: in `seconds`, for each client.
    """

    def __init__(self, amount: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._amount, self._seconds, self._clock = amount, seconds, clock
        self._number = 0.0
        self._before, self._now = dict[str, int](), dict[str, int]()

    def hit(self, client: str, count: int) -> bool:
        """Whether there is room for `count`, which is then taken."""
        number, into = divmod(self._clock(), self._seconds)
        if number != self._number:
            self._before = self._now if number == self._number + 1 else {}
            self._number, self._now = number, {}
        taken = self._now.get(client, 0) + count
        if self._before.get(client, 0) * (1 - into / self._seconds) + taken > self._amount:
            return False
        self._now[client] = taken
        return True


def _shared(store: str) -> Callable[..., bool]:
    try:
        found = storage_from_string(store, socket_timeout=1.0, socket_connect_timeout=1.0)
        reached = found.check()
    except (ConfigurationError, OSError, ValueError) as error:
        raise StoreError("limits.rate_store", f"none ({type(error).__name__})", "Use memory:// or redis://host:port.") from None
    if not reached:
        raise StoreError("a store of rates", "one that can't be reached", "Start it, or mend limits.rate_store.")
    hit: Callable[..., bool] = SlidingWindowCounterRateLimiter(found).hit
    return hit
