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
        kept = self._find(key)
        if kept is not None:
            return kept
        future = self._running.get(key)
        if future is None:
            if len(self._running) >= self._limit:
                raise WorkerBusyError(f"the worker's queue is full: {self._limit} units run or wait")
            future = start()
            self._running[key] = future
            future.add_done_callback(lambda done: self._finish(key, done))
        # A caller that goes away must not take along what others wait for, or will ask for again.
        return await asyncio.shield(future)

    def run_now(self, key: Key, compute: Callable[[], Any]) -> Any:
        """The same for a computation so short that nobody need wait for it: `compute` gives the message itself."""
        kept = self._find(key)
        if kept is None:
            kept = compute()
            self._keep_result(key, kept)
        return kept

    def _find(self, key: Key) -> Any:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def _finish(self, key: Key, future: asyncio.Future[Any]) -> None:
        del self._running[key]
        if not future.cancelled() and future.exception() is None:
            self._keep_result(key, future.result())

    def _keep_result(self, key: Key, result: Any) -> None:
        size = result.ByteSize()
        self._kept[key] = (result, size)
        self._kept_bytes += size
        while len(self._kept) > self._keep or self._kept_bytes > self._keep_bytes:
            _, (_, old) = self._kept.popitem(last=False)
            self._kept_bytes -= old
