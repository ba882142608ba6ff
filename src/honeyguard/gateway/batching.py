"""Micro-batching that costs nothing without load: what arrives while something runs is run together next."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Call it with one item, and it comes back with one result of `run(items)`.

    Nothing waits for company: a lone item runs at once, on the event loop itself if a `run` takes less than `inline` seconds. With
    company it stays there for a quarter of that, which is about what waking a thread takes; a slower `run` goes to a thread, one at a
    time, and the loop reads the requests that will run next.

    Args:
        run: items -> results, one each; a result that is an exception is raised for that item alone.
        largest: the most that one run takes, in the unit of `size`.
        size: of an item.
        inline: seconds; 0 for what must never hold up the loop.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R | Exception]],
        *,
        largest: int,
        size: Callable[[T], int] = lambda _: 1,
        inline: float = 0.002,
    ) -> None:
        self._run, self._largest, self._size, self._inline = run, largest, size, inline
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._busy, self._seconds = False, 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")

    async def __call__(self, item: T, *, alone: bool = False) -> R:
        """The result of `item`; `alone` says that nothing else is under way, so that even a turn of the loop can be saved."""
        if alone and not self._busy and self._seconds < self._inline:
            (result,) = self._timed([item])
            if isinstance(result, Exception):
                raise result
            return result
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start)
        return await future

    def measure(self, items: list[T]) -> None:
        """Run `items` twice, which shows what is broken, warms up, and tells how long a run takes. Raises: whatever `run` does."""
        for _ in range(2):
            started = time.perf_counter()
            self._run(items)
            self._seconds = time.perf_counter() - started

    def close(self) -> None:
        self._thread.shutdown()

    def _start(self) -> None:
        batch = self._take()
        items = [item for item, _ in batch]
        if not batch:
            self._busy = False
        elif self._seconds < self._inline / 4:
            self._finish(batch, self._timed(items))
        else:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._thread, self._timed, items)
            running.add_done_callback(lambda done: self._finish(batch, done.result()))

    def _take(self) -> list[tuple[T, "asyncio.Future[R]"]]:
        """What fits into one run; an item of its own is always let through, and those whose caller has gone are left out."""
        batch: list[tuple[T, asyncio.Future[R]]] = []
        room = self._largest
        while self._waiting and (not batch or self._size(self._waiting[0][0]) <= room):
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
                room -= self._size(item)
        return batch

    def _timed(self, items: list[T]) -> Sequence[R | Exception]:
        started = time.perf_counter()
        try:
            return self._run(items)
        except Exception as error:
            return [error] * len(items)
        finally:
            self._seconds += 0.2 * (time.perf_counter() - started - self._seconds)

    def _finish(self, batch: list[tuple[T, "asyncio.Future[R]"]], results: Sequence[R | Exception]) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._start)
        else:
            self._busy = False
