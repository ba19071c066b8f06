"""A job that calls `grade(sample, item)` and says what it returned.

How the answer is given, so that code which `grade` executes cannot give it in its place:

1. `grade` runs in a thread of its own, while the main thread waits. No frame leads from one to the other.
2. The main thread wakes when `grade` is done, and tells the host that it is ready.
3. The host asks the kernel how many threads this process has, and goes on only when there is one: nothing
   that the sample started still runs. Then it sends a number that did not exist before.
4. The main thread answers with that number and the result, and the kernel attests which process wrote. From
   waking to answering it runs one function that is already on its way, and calls nothing that is written in
   Python or looked up by name: there is nothing to replace.

A second answer, a dead main thread, a closed channel or another process is an error, never a verdict. What
this cannot do: keep code that `grade` executes from changing what `grade` itself computes, because the two
share their memory. `code_tests` keeps them apart.

A source that imports `signal` needs the main thread for its handlers, and gets it: then steps 1 and 3 are left
out, and code which it executes could answer.
"""

from __future__ import annotations

import _json
import _thread
import gc
import itertools
import os
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from rft_grader_python.sandbox.wire import NONCE_BYTES, READY, read_object

MAX_OUTPUT_CHARS = 4_000
MAX_ERROR_CHARS = 1_800
FILE = "grader.py"

Function = Callable[[Any, Any], object]
Outcome = tuple[bool, object]
"""Whether `grade` returned; what it returned, or `{"error", "output"}`."""


class Output:
    """What is printed, the beginning alone."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = MAX_OUTPUT_CHARS

    def write(self, text: str) -> int:
        if self._left > 0:
            self._parts.append(text[: self._left])
            self._left -= len(text)
        return len(text)

    def text(self) -> str:
        return "".join(self._parts) + ("…" if self._left < 0 else "")

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False


def serve(channel: int, function: Function, *, own_thread: bool) -> None:
    """Reads one job, runs it, answers."""
    job = read_object(channel)
    sys.stdout = sys.stderr = Output()
    calls = itertools.starmap(outcome, ((function, job["sample"], job["item"]),))
    _answer(channel, calls, own_thread)


def _answer(channel: int, calls: Iterator[Outcome], own_thread: bool) -> None:
    # Bound before the sample runs. The encoder is C, and for what is not plain data calls the type `float`.
    encode = _json.make_encoder(None, float, _json.encode_basestring_ascii, None, ":", ",", False, False, True)
    write, read, size, pack, join, gc_off = os.write, os.read, len, struct.Struct("=Q").pack, "".join, gc.disable
    ready, nonce_bytes, failure = READY, NONCE_BYTES, BaseException
    no_grade = b'[false,{"error":"TypeError: the result is neither a number nor None nor a dict of those"}]'
    box: list[Any] = []
    if own_thread:
        sys.addaudithook(_refuse)
        done = _thread.allocate_lock()
        done.acquire()
        wait, wake = done.acquire, itertools.starmap(done.release, ((),))
        # List, chain and lock are C: below `outcome` the thread has no frame that leads here.
        _thread.start_new_thread(box.extend, (itertools.chain(calls, wake),))
        del done, wake, calls
        wait()
    else:
        box.extend(calls)
    gc_off()
    write(channel, ready)
    nonce = read(channel, nonce_bytes)
    if size(box) <= 2:
        try:
            body = join(encode(box[0], 0)).encode()
        except failure:
            body = no_grade
        write(channel, nonce + pack(size(body)) + body)


def _refuse(event: str, arguments: object) -> None:
    """Audit hook: what would let one thread look into another's frames, or rewrite running ones."""
    if event in {"sys.settrace", "sys.setprofile", "sys._current_frames", "sys._current_exceptions"}:
        raise PermissionError(f"{event} is not allowed here")
    if event in {"gc.get_objects", "gc.get_referrers", "gc.get_referents"}:
        raise PermissionError(f"{event} is not allowed here")


def outcome(function: Function, sample: Any, item: Any) -> Outcome:
    """What one call comes to. Nothing between the call and the return is looked up."""
    try:
        return (True, function(sample, item))
    except BaseException as error:  # noqa: BLE001  # user code: its failure is the answer
        return (False, {"error": describe(error), "output": _printed()})


def _printed() -> str:
    return sys.stdout.text() if isinstance(sys.stdout, Output) else ""


def describe(error: BaseException) -> str:
    """The traceback, from the source on, with file names in place of paths."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    lines = [f'  File "{_short(f.filename)}", line {f.lineno}, in {f.name}' for f in frames]
    lines = ["Traceback (most recent call last):", *lines] if lines else []
    if len(lines) > 9:
        lines = [*lines[:3], "  …", *lines[-5:]]
    try:
        message = "".join(traceback.format_exception_only(type(error), error)).strip()
    except Exception:  # noqa: BLE001  # an exception of user code whose text cannot be made
        message = type(error).__name__
    if len(message) > MAX_ERROR_CHARS:
        message = message[:MAX_ERROR_CHARS] + "…"
    for prefix in {sys.prefix, sys.base_prefix} - {"/", "/usr"}:
        message = message.replace(prefix, "…")
    return "\n".join([*lines, message])


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])
