"""Starts worker processes on this machine and notices when they die.

A worker gets a socket in the abstract namespace and a token of its own through its standard input;
nothing of it remains on disk but its log. It dies with the engine, because the pipe to its standard
input ends then.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from rft_core.config.workers import WorkerConfig
from rft_core.errors import ConfigError, WorkerError
from rft_core.remote.handshake import WorkerKind
from rft_core.storage.files import storage

TAIL_BYTES = 4_096
SECRET_WORDS = frozenset({"TOKEN", "TOKENS", "KEY", "KEYS", "SECRET", "SECRETS", "PASSWORD", "PASSWD", "CREDENTIALS"})
"""A variable with one of these words in its name is taken for a secret, as HF_TOKEN or AWS_ACCESS_KEY_ID."""
MAX_WAIT_S = 1e6
LACKS_WORKERS = re.compile(r"No module named '?(rft_workers|rft_core|rft)\b")


class WorkerProcess:
    """One life of one worker process. `on_exit` is called once, from another thread, when it has ended."""

    def __init__(self, kind: WorkerKind, config: WorkerConfig, log_file: Path, on_exit: Callable[[], None]) -> None:
        self.kind, self.log_file = kind, log_file
        self.token = secrets.token_urlsafe(32)
        self.address = f"unix-abstract:rft-{secrets.token_hex(16)}"
        self._on_exit = on_exit
        self._python = config.python or sys.executable
        self._ready_fd, ready_fd = os.pipe()
        try:
            with storage("write the log of a worker", log_file.parent):
                log_file.parent.mkdir(parents=True, exist_ok=True)
                log = log_file.open("ab")
            with log:
                self._log_start = log.tell()
                self._process = self._spawn(config, log, ready_fd)
        except BaseException:
            os.close(self._ready_fd)
            raise
        finally:
            os.close(ready_fd)
        self.exited = threading.Event()
        self._tell(
            {"token": self.token, "listen": self.address, "concurrency": config.concurrency, "ready_fd": ready_fd}
        )
        threading.Thread(target=self._watch, name=f"watch-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _spawn(self, config: WorkerConfig, log: IO[bytes], ready_fd: int) -> subprocess.Popen[bytes]:
        threads = str(config.threads or 1)
        # -P: a file in the current folder must not stand in for a module of the same name.
        command = [self._python, "-P", "-m", "rft_workers", self.kind, "--bootstrap", "--threads", threads]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(self.kind, config),
                pass_fds=(ready_fd,),
                start_new_session=True,  # Ctrl-C in a terminal is the engine's to handle
            )
        except OSError as error:
            raise ConfigError(
                f"the interpreter {self._python} cannot be started ({error.strerror}); correct the path",
                where="worker.python",
            ) from None

    def _tell(self, values: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once: `wait_ready` says why
            self._process.stdin.write(json.dumps(values).encode() + b"\n")
            self._process.stdin.flush()

    def _watch(self) -> None:
        self._process.wait()
        self._on_exit()  # before `exited`: whoever waited for the end hears nothing more of this process
        self.exited.set()

    def wait_ready(self, timeout_s: float) -> None:
        """Block until the worker serves calls. WorkerError, with the end of its log, if it does not get there."""
        try:
            poll = select.poll()  # select() takes no descriptor above 1,023
            poll.register(self._ready_fd, select.POLLIN)
            readable = poll.poll(min(timeout_s, MAX_WAIT_S) * 1000)
            line = os.read(self._ready_fd, 4_096) if readable else b""
        finally:
            os.close(self._ready_fd)
        if line:
            return
        if readable and self.exited.wait(5.0):
            if LACKS_WORKERS.search(self.log_tail()):
                raise ConfigError(
                    f"the environment of {self._python} lacks rft-workers; install it there, and the plugin of the "
                    f"{self.kind}, in the versions that the engine has: '{self._python} -m pip install rft-workers …'",
                    where="worker.python",
                )
            raise WorkerError(
                f"the {self.kind} worker ended with {self.exit_status()} before it was ready{self.log_hint()}"
            )
        raise WorkerError(f"the {self.kind} worker was not ready within {timeout_s:g} s{self.log_hint()}")

    @property
    def ended_by_signal(self) -> bool:
        """Whether the process is gone because of a signal."""
        return self._process.returncode is not None and self._process.returncode < 0

    def exit_status(self) -> str:
        """`exit code 1` or `signal SIGKILL`."""
        code = self._process.returncode
        if code is None:
            return "no exit code yet"
        if code < 0:
            with suppress(ValueError):
                return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"

    def log_hint(self) -> str:
        """The tail of a sentence: the last line of this life's log, and where the log lies."""
        lines = [line for line in self.log_tail().splitlines() if line.strip()]
        last = f"; its log ends with: {lines[-1].strip()}" if lines else ""
        return f"{last}; see {self.log_file}"

    def log_tail(self) -> str:
        """The end of what this life of the worker wrote, at most `TAIL_BYTES`."""
        try:
            with self.log_file.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def terminate(self) -> None:
        """Ask it to finish what it computes and to end."""
        self._process.send_signal(signal.SIGTERM)

    def end(self, grace_s: float = 0.0) -> None:
        """Wait `grace_s` for its end, then kill it and whatever it started. Returns when it is gone."""
        if grace_s:
            self.exited.wait(grace_s)
        # Its children share its process group, which exists as long as one of them does.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.exited.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()


def _environment(kind: WorkerKind, config: WorkerConfig) -> dict[str, str]:
    """The engine's environment without what the worker has no use for. Samplers get no secrets at all; graders
    may be judges, which find the key of their service by name, and lack only the tokens of workers."""

    def hidden(name: str) -> bool:
        words = name.upper().split("_")
        if name == config.token_env or (words[0] == "RFT" and "TOKEN" in words):
            return True
        return kind == "sampler" and not SECRET_WORDS.isdisjoint(words)

    kept = {name: value for name, value in os.environ.items() if not hidden(name)}
    return {**kept, "TOKENIZERS_PARALLELISM": "false"}
