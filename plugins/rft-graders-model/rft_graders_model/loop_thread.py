"""One asyncio loop in a thread: many threads hand it calls, and wait for them.

A grader is called from several threads at once, each with a group. All their calls to the judge run on
one loop, with one limit on what is in flight, and one pace.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

JOIN_S = 5.0


class LoopThread:
    """Runs coroutines until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="judge-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of the coroutine, or what it raises. RuntimeError after `close`."""
        with self._lock:  # what is handed over before `close` is there to be cancelled by it
            if self._closed:
                coroutine.close()
                raise RuntimeError("the grader is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    def close(self, release: Callable[[], Awaitable[None]]) -> None:
        """Cancel what still runs, await `release`, and end the thread. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with contextlib.suppress(TimeoutError):  # a connection that does not close is left to the end of the process
            asyncio.run_coroutine_threadsafe(self._wind_down(release), self._loop).result(JOIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _wind_down(self, release: Callable[[], Awaitable[None]]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await release()
