"""A zygote that is started again when it dies, and the threads that use it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rft_core.errors import RftError
from rft_core.types import Grade
from rft_grader_python.sandbox.jobs import SandboxError
from rft_grader_python.sandbox.launch import Zygote, start
from rft_grader_python.sandbox.setup import Setup

SERVER_ERROR = "python_grader_server_error"
T = TypeVar("T")


class Sandbox:
    """Runs jobs in zygotes of one setup. `sandbox: none` has room for one job at a time, in one process."""

    def __init__(self, setup: Setup, parallel: int) -> None:
        """ConfigError if nothing isolates here, or the source raises."""
        self._setup = setup
        self._lock = threading.Lock()
        self._alone = threading.Lock() if setup.tier == "none" else None
        self._zygote = start(setup)
        self.facts = dict(self._zygote.facts)
        self._threads = ThreadPoolExecutor(parallel or os.cpu_count() or 1, thread_name_prefix="sandbox")

    def map(self, function: Callable[[T], Grade], jobs: Sequence[T]) -> list[Grade]:
        """The grade of each job, several at once. What the sandbox fails at is a grade too."""
        return list(self._threads.map(lambda job: _guarded(function, job), jobs))

    def run(self, job: Callable[[Zygote], T]) -> T:
        """Run with a living zygote; once more with a new one if it dies under the job. SandboxError."""
        if self._alone:
            with self._alone:
                return self._run(job)
        return self._run(job)

    def restart(self, zygote: Zygote) -> None:
        """Replace a zygote that hangs or died, unless somebody did already."""
        with self._lock:
            if self._zygote is zygote:
                zygote.close(now=True)
                self._zygote = start(self._setup)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        with self._lock:
            self._zygote.close()

    def _run(self, job: Callable[[Zygote], T]) -> T:
        zygote = self._zygote
        try:
            return job(zygote)
        except SandboxError:
            if zygote.alive:
                raise
        try:
            self.restart(zygote)
        except (RftError, OSError) as error:
            raise SandboxError(f"the sandbox cannot be started again: {error}") from error
        return job(self._zygote)


def _guarded(function: Callable[[T], Grade], job: T) -> Grade:
    try:
        return function(job)
    except SandboxError as error:
        return Grade.error(SERVER_ERROR, str(error))
