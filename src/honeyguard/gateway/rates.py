"""Rate windows per client, in memory or in Redis."""

import asyncio
import logging
import threading
import time

from limits import RateLimitItem, parse
from limits.errors import ConfigurationError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from honeyguard.errors import ParameterError, StoreError
from honeyguard.gateway.protocol import RequestError

log = logging.getLogger(__name__)
CLEAN = 10.0
"""Seconds between two clean-ups of windows that have ended."""


class _Asleep(threading.Timer):
    """Stands for the clean-up of `limits`, which would start a thread every few hits; `Rates` cleans up itself."""

    def is_alive(self) -> bool:
        return True


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
        try:
            options = {} if store.startswith("memory") else {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
            self._store = storage_from_string(store, **options)
            reached = self._store.check()
        except (ConfigurationError, OSError, ValueError) as error:
            raise StoreError("limits.rate_store", f"none ({type(error).__name__})", "Use memory:// or redis://host:port.") from None
        if not reached:
            raise StoreError("a store of rates", "one that can't be reached", "Start it, or mend limits.rate_store.")
        self._limiter = SlidingWindowCounterRateLimiter(self._store)
        self._offset, self._cleaned = time.time() - time.monotonic(), time.monotonic()
        if isinstance(self._store, MemoryStorage):
            self._store.timer = _Asleep(0, lambda: None)

    async def __call__(self, client: str, count: int) -> None:
        """Raises: RequestError: 429 past the limit, 503 where the store is gone."""
        if isinstance(self._store, MemoryStorage):
            self._clean(self._store)
            granted = self._limiter.hit(self._limit, client, cost=count)
        else:
            try:
                granted = await asyncio.to_thread(self._limiter.hit, self._limit, client, cost=count)
            except Exception as error:  # whatever the store's client library raises
                log.error("rates: %s", type(error).__name__)
                raise RequestError(503, "The rates can't be reached; nothing was answered. Try again later.", wait=1) from None
        if not granted:
            wait = max(1, round(self._limit.get_expiry() / 2))
            raise RequestError(429, f"expected at most {self._limit} (images); got {count} more. Ask more slowly.", wait=wait)

    def _clean(self, store: MemoryStorage) -> None:
        """Windows in memory end by the wall clock: after it has jumped they begin anew, lest they never end. Old ones are dropped."""
        now = time.monotonic()
        offset = time.time() - now
        if abs(offset - self._offset) > 2:
            log.warning("the clock jumped by %.0f s: the rate windows begin anew", offset - self._offset)
            store.reset()
        self._offset = offset
        if now - self._cleaned > CLEAN:
            self._cleaned = now
            for key in [key for key, end in store.expirations.items() if end <= now + offset]:
                store.clear(key)
                store.expirations.pop(key, None)
