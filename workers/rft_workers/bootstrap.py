"""How a worker that the engine started is told what to do, and how it dies with the engine.

The engine writes one line of JSON to the worker's standard input and keeps the pipe open. The end of
that pipe means that the engine is gone, however it died.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """What the engine tells a worker at its start."""

    token: str
    listen: str
    concurrency: int
    ready_fd: int
    """The worker writes one line here when it serves, and closes it."""


def read_bootstrap() -> Bootstrap:
    """Read the first line of standard input, then end this process when the pipe ends.

    Components get an empty standard input, so that none of them reads from the pipe."""
    pipe = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(pipe, 1)
        if not byte:
            raise SystemExit("the engine closed the pipe before it said what to do")
        line += byte
    values = json.loads(line)
    threading.Thread(target=_end_with, args=(pipe,), name="engine-watch", daemon=True).start()
    return Bootstrap(
        token=values["token"],
        listen=values["listen"],
        concurrency=values["concurrency"],
        ready_fd=values["ready_fd"],
    )


def _end_with(pipe: int) -> None:
    """Block until the engine is gone, then take this process and what it started along."""
    while os.read(pipe, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def tell_ready(ready_fd: int) -> None:
    """Tell the engine that this worker serves calls."""
    os.write(ready_fd, b"ready\n")
    os.close(ready_fd)
