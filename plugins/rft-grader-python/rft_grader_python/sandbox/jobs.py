"""Runs one job in a zygote and brings back what happened, from channels that the job's code cannot forge."""

from __future__ import annotations

import json
import os
import secrets
import select
import selectors
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from rft_grader_python.sandbox import wire
from rft_grader_python.sandbox.launch import Zygote

START_S = 30.0
"""Longest from a request until the fork is caged."""
THREADS_END_S = 1.0
MAX_ANSWER = 4 << 20
MAX_OUTPUT = 8 << 20
_SHOWN_STDERR = 2_000
_CREDENTIALS = struct.Struct("3i")


class SandboxError(Exception):
    """The sandbox failed, not the code in it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a job that gives a verdict ended."""

    kind: Literal["answer", "timed_out", "died", "tampered"]
    values: Any = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended."""

    status: int
    """Exit status; the negative signal if one killed it."""
    why: str = ""
    """`memory`, `disk`, `time`, `output`; empty if it ended by itself."""
    stdout: bytes = b""
    stderr: str = ""


@contextmanager
def _started(zygote: Zygote, kind: str, job: object, fds: list[int]) -> Iterator[tuple[socket.socket, _Channel]]:
    """A caged fork that has got its job. It is killed at the end, whatever happens."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with ours:
        channel = _Channel(ours)
        with theirs:
            try:
                report = zygote.request(kind, [theirs.fileno(), *fds])
            except OSError as error:
                raise SandboxError(f"the sandbox's server is gone: {error}") from error
        with report:
            channel.deadline_s = time.monotonic() + START_S
            try:
                if channel.read(1) != wire.CAGED:
                    raise SandboxError("a job did not lock its cage")
                channel.pid = channel.writer
                ours.settimeout(START_S)
                ours.sendall(wire.packed(job))
            except (EOFError, OSError) as error:
                raise SandboxError(f"a job did not start: {error or type(error).__name__}") from error
            yield report, channel


class _Channel:
    """The host's end of a job's channel. Reads with a deadline, and knows which process wrote."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline_s = 0.0
        self.pid = 0
        self.writer = 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, from one process. EOFError, TimeoutError, or PermissionError for another process."""
        parts = []
        while size:
            self.sock.settimeout(max(0.001, self.deadline_s - time.monotonic()))
            data, extra, _, _ = self.sock.recvmsg(min(size, 1 << 18), socket.CMSG_SPACE(_CREDENTIALS.size))
            if not data:
                raise EOFError("the job ended")
            self.writer = next((_CREDENTIALS.unpack(d)[0] for _, kind, d in extra if kind == socket.SCM_CREDENTIALS), 0)
            if self.pid not in (0, self.writer):
                raise PermissionError("another process wrote to the job's channel")
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


def verdict(
    zygote: Zygote, kind: str, job: object, time_s: float, *, fds: list[int] | None = None, alone: bool = True
) -> Answer:
    """What `run_grade` answers; see there for the protocol. SandboxError if the sandbox fails.

    `alone`: insist that no other thread runs in the job's process when it answers.
    """
    with _started(zygote, kind, job, fds or []) as (report, channel):
        channel.deadline_s = time.monotonic() + time_s
        try:
            if channel.read(1) != wire.READY:
                return Answer(kind="tampered", message="something else than the runner wrote to the answer's channel")
            channel.deadline_s = time.monotonic() + START_S
            if alone and (threads := _threads_left(channel.pid, report)):
                return Answer(kind="tampered", message=f"{threads} threads still run after grade() returned; join them")
            nonce = secrets.token_bytes(wire.NONCE_BYTES)
            channel.sock.sendall(nonce)
            if not secrets.compare_digest(channel.read(len(nonce)), nonce):
                return Answer(kind="tampered", message="the answer's channel was written to out of turn")
            (length,) = struct.unpack("=Q", channel.read(8))
            if length > MAX_ANSWER:
                return Answer(kind="tampered", message=f"the answer has {length} bytes, the most is {MAX_ANSWER}")
            return Answer(kind="answer", values=json.loads(channel.read(length)))
        except TimeoutError:
            return Answer(kind="timed_out", message=f"no answer within {time_s:g} s")
        except (PermissionError, ValueError) as error:
            return Answer(kind="tampered", message=str(error))
        except (EOFError, OSError):
            return Answer(kind="died", message=_how(_ended(report)))


def _threads_left(pid: int, report: socket.socket) -> int:
    """Threads of a process beside its main one, once those that are ending have ended. EOFError if it is gone."""
    until_s = time.monotonic() + THREADS_END_S
    while True:
        try:
            others = len(os.listdir(f"/proc/{pid}/task")) - 1
        except OSError as error:
            if select.select([report], [], [], THREADS_END_S)[0]:
                raise EOFError("the job ended") from None
            raise SandboxError(f"the threads of a job cannot be counted: {error.strerror}") from error
        if others <= 0 or time.monotonic() > until_s:
            return others
        time.sleep(0.0005)


def _ended(report: socket.socket) -> dict[str, Any]:
    """The zygote's word on how a job ended."""
    report.settimeout(START_S)
    try:
        answer = wire.receive_request(report)
    except OSError:
        answer = None
    return answer[0] if answer else {"status": None, "why": ""}


def _how(end: dict[str, Any]) -> str:
    status, why = end["status"], end["why"]
    if why == "memory":
        return "the process was killed because it held more memory than allowed"
    if why == "disk":
        return "the process was killed because it wrote more files than allowed"
    if status is None:
        return "the process and its server died"
    return f"the process was killed by signal {-status}" if status < 0 else f"the process exited with status {status}"


def program(zygote: Zygote, text: str, stdin: bytes, time_s: float) -> Ended:
    """Run a program as `__main__`. SandboxError if the sandbox fails."""
    pipes = [os.pipe() for _ in range(3)]
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
    ours = {in_write, out_read, err_read}
    theirs = [in_read, out_write, err_write]
    try:
        with _started(zygote, "program", {"program": text}, theirs) as (report, _):
            for fd in theirs:
                os.close(fd)
            theirs = []
            talk = _Conversation(in_write, out_read, err_read, stdin, ours)
            return talk.until_end(report, time.monotonic() + time_s)
    finally:
        for fd in [*theirs, *ours]:
            os.close(fd)


class _Conversation:
    """Feeds a program and collects what it prints, each bounded."""

    def __init__(self, stdin: int, stdout: int, stderr: int, data: bytes, open_fds: set[int]) -> None:
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self._data = memoryview(data)
        self._open = open_fds
        self._out: list[bytes] = []
        self._size = 0
        self._err = b""
        for fd in open_fds:
            os.set_blocking(fd, False)

    def until_end(self, report: socket.socket, deadline_s: float) -> Ended:
        """Until the program ends and its output is read, or a limit is passed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            selector.register(self._stderr, selectors.EVENT_READ)
            selector.register(self._stdin, selectors.EVENT_WRITE)
            selector.register(report, selectors.EVENT_READ)
            end: dict[str, Any] | None = None
            while True:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return self._result(-9, "time")
                # When the program has ended, what the pipes still hold is read without waiting.
                events = selector.select(0 if end else left_s)
                if end and not [k for k, _ in events if k.fd != self._stdin]:
                    return self._result(-9 if end["status"] is None else int(end["status"]), str(end["why"]))
                for key, _ in events:
                    if key.fileobj is report:
                        end = _ended(report)
                        selector.unregister(report)
                    elif not self._move(key.fd):
                        selector.unregister(key.fd)
                        self._open.discard(key.fd)
                        os.close(key.fd)
                if self._size > MAX_OUTPUT:
                    return self._result(-9, "output")

    def _move(self, fd: int) -> bool:
        """One piece in or out; False when this pipe is done."""
        try:
            if fd == self._stdin:
                self._data = self._data[os.write(fd, self._data[: 1 << 16]) :] if self._data else self._data
                return bool(self._data)
            piece = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if fd == self._stdout:
            self._out.append(piece)
            self._size += len(piece)
        else:
            self._err = (self._err + piece)[-_SHOWN_STDERR:]
        return bool(piece)

    def _result(self, status: int, why: str) -> Ended:
        return Ended(status=status, why=why, stdout=b"".join(self._out), stderr=self._err.decode("utf-8", "replace"))


def tests(zygote: Zygote, text: str, job: dict[str, Any], time_s: float, *, spare_s: float) -> Answer:
    """Run tests in one fork against the program in another. The program gets `time_s` in all, the tests
    `spare_s` more. Its answers reach the tests alone; the verdict comes from the tests' process."""
    for_tests, for_program = socket.socketpair()
    with for_tests, for_program, _started(zygote, "solution", {"program": text}, [for_program.fileno()]):
        for_program.close()
        return verdict(
            zygote,
            "tests",
            {"sample": {**job, "time_s": time_s}, "item": {}},
            time_s + spare_s,
            fds=[for_tests.fileno()],
        )
