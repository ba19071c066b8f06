"""rft-engine in processes forked from one whose imports are done: the same command, without the seconds that each
new interpreter needs to load it. A test-suite that starts it hundreds of times spends most of its time on that.

What a fork cannot show (the installed script, imports, another hash seed) is shown where tests start `ENGINE` itself.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

PRELOADED = f"{__package__}.preloaded"
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([PRELOADED])
_bookkeeping = threading.Lock()
"""multiprocessing notices the end of any of its processes in whichever thread starts the next one."""


class ForkedEngine:
    """Mirrors the part of subprocess.Popen[str] that tests use; standard output and error go to files."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], file_bytes: int | None) -> None:
        self.args = ["rft-engine", *arguments]
        self._folder = Path(tempfile.mkdtemp(prefix="rft-engine-"))
        self._streams = [self._folder / name for name in ("output", "errors")]
        for stream in self._streams:
            stream.touch()
        self._process = _forks.Process(
            target=_become_engine,
            args=(self.args, environment, str(Path.cwd()), [str(s) for s in self._streams], file_bytes),
        )
        with _bookkeeping:
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        with _bookkeeping:
            return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not wait([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        code = self.returncode
        assert code is not None
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote, after its end; empty when asked again."""
        self.wait(timeout)
        output, errors = (s.read_text(errors="replace") if s.exists() else "" for s in self._streams)
        shutil.rmtree(self._folder, ignore_errors=True)
        return output, errors

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it may end meanwhile
                os.kill(self.pid, number)

    def kill(self) -> None:
        with _bookkeeping:
            self._process.kill()


def _become_engine(
    argv: list[str], environment: dict[str, str], folder: str, streams: list[str], file_bytes: int | None
) -> None:
    """In the fork: what the interpreter and the installed script do before `main`, and after it."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, stream in zip((1, 2), streams, strict=True):
        file = os.open(stream, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    limit_files(file_bytes)
    sys.argv = argv
    import importlib

    from rft_core import failpoints
    from rft_core.cli import main

    importlib.reload(failpoints)  # reads the environment when it is imported
    try:
        main()
    finally:
        atexit._run_exitfuncs()


def limit_files(size: int | None) -> None:
    """From here on no file of this process may grow beyond `size` bytes; None: no limit."""
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
