"""Processes that compare, each killed when it is late and started anew."""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

START_S = 60.0
"""Longest a process may take to import sympy, on a machine that is busy."""
MAX_REPLY_BYTES = 64 * 1024
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
"""What a process sees of the environment: no keys, no tokens."""


class LateError(Exception):
    """A comparison took too long; its process was killed."""


class DiedError(Exception):
    """A process ended, or could not be started."""


class Comparer:
    """One process. Calls must not overlap."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rft_grader_math.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**environment, "PYTHONHASHSEED": "0"},
        )
        try:
            self._receive(time.monotonic() + START_S)
        except (LateError, DiedError):
            self.kill()
            raise DiedError("the process that compares could not be started; is math-verify installed?") from None

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer. LateError and DiedError; then the process is of no more use."""
        data = json.dumps(request).encode()
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(struct.pack(">I", len(data)) + data)
            return self._receive(time.monotonic() + timeout_s)
        except (LateError, DiedError):
            self.kill()
            raise
        except OSError as error:
            self.kill()
            raise DiedError(f"the process that compares ended: {error}") from None

    def kill(self) -> None:
        """Safe to call twice."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _receive(self, deadline: float) -> dict[str, Any]:
        (size,) = struct.unpack(">I", self._read(4, deadline))
        if size > MAX_REPLY_BYTES:
            raise DiedError("the process that compares answered nonsense")
        message: dict[str, Any] = json.loads(self._read(size, deadline))
        return message

    def _read(self, size: int, deadline: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        poll = select.poll()
        poll.register(stdout, select.POLLIN)
        data = b""
        while len(data) < size:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                raise LateError
            piece = os.read(stdout.fileno(), size - len(data))
            if not piece:
                raise DiedError("the process that compares ended")
            data += piece
        return data


class Comparers:
    """Up to `count` processes, started when they are needed, shared by the threads that grade."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self._lock = threading.Lock()
        self._idle: list[Comparer] = []
        self._closed = False

    @contextlib.contextmanager
    def one(self) -> Iterator[Comparer]:
        """A process for this thread alone. DiedError if none can be started. It comes back unless something
        is raised, and then it is killed."""
        with self._free:
            with self._lock:
                comparer = self._idle.pop() if self._idle else None
            comparer = comparer or Comparer()
            try:
                yield comparer
            except BaseException:
                comparer.kill()
                raise
            with self._lock:
                if not self._closed:
                    self._idle.append(comparer)
                    return
            comparer.kill()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for comparer in idle:
            comparer.kill()
