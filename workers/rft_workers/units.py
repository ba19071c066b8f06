"""Makes calls idempotent and bounds the queue: a unit is computed once, however often it is asked for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from rft_core.errors import WorkerBusyError

Key = tuple[str, ...]


class Units:
    """Runs computations by key. Asking for a key again joins the running computation or returns the kept
    result. Failed computations are not kept. Lives on one event loop.

    At most `limit` computations run or wait, then WorkerBusyError. Results are kept up to `keep`
    entries and `keep_bytes` in all, the oldest go first.
    """

    def __init__(self, *, limit: int, keep: int = 64, keep_bytes: int = 128 * 1024 * 1024) -> None:
        self._limit, self._keep, self._keep_bytes = limit, keep, keep_bytes
        self._running: dict[Key, asyncio.Future[Any]] = {}
        self._kept: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._kept_bytes = 0

    @property
    def running(self) -> int:
        return len(self._running)

    async def run(self, key: Key, start: Callable[[], asyncio.Future[Any]]) -> Any:
        """The message that the computation begun by `start` gives for `key`, from whichever call began it."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        future = self._running.get(key)
        if future is None:
            if len(self._running) >= self._limit:
                raise WorkerBusyError(f"the worker's queue is full: {self._limit} units run or wait")
            future = start()
            self._running[key] = future
            future.add_done_callback(lambda done: self._finish(key, done))
        # A caller that goes away must not take along what others wait for, or will ask for again.
        return await asyncio.shield(future)

    def _finish(self, key: Key, future: asyncio.Future[Any]) -> None:
        del self._running[key]
        if future.cancelled() or future.exception() is not None:
            return
        size = future.result().ByteSize()
        self._kept[key] = (future.result(), size)
        self._kept_bytes += size
        while len(self._kept) > self._keep or self._kept_bytes > self._keep_bytes:
            _, (_, old) = self._kept.popitem(last=False)
            self._kept_bytes -= old
