"""A job that calls `grade(sample, item)` and says what it returned.

How the answer is given, so that code which `grade` executes cannot give it in its place:

1. `grade` runs in a thread of its own, while the main thread waits outside Python's frames of that thread.
2. The main thread wakes when that thread has ended, and tells the host that it is ready.
3. The host asks the kernel how many threads this process has, and goes on only when there is one: nothing
   that the sample started still runs. Then it sends a number that did not exist before.
4. The main thread answers with that number and the result, and the kernel attests which process wrote.

A second result, a dead main thread, a closed channel or a process in between is an error, never a verdict.
What this cannot do: keep code that `grade` executes from changing what `grade` itself computes; the two share
their memory. `code_tests` keeps them apart.

A source that imports `signal` needs the main thread for its handlers, and gets it: then steps 1 and 3 are left
out, and code which it executes could answer.
"""

from __future__ import annotations

import _thread
import gc
import itertools
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from rft_grader_python.sandbox.wire import NONCE_BYTES, READY, read_object, with_length

MAX_OUTPUT_CHARS = 4_000
MAX_ERROR_CHARS = 1_800
FILE = "grader.py"
_KEYS = {"score", "metrics", "sub_rewards", "details"}

Function = Callable[[Any, Any], object]


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
    """Reads one job, runs it, answers. Returns whether or not the host took the answer."""
    job = read_object(channel)
    call = itertools.starmap(judge, ((function, job["sample"], job["item"]),))
    if own_thread:
        _answer_of_thread(channel, call)
    else:
        _answer(channel, [next(call)])


def _answer_of_thread(channel: int, call: Any) -> None:
    box: list[Any] = []
    # List, chain and lock are C: grade's thread has no frame of this module that leads to the others.
    ended = _thread.allocate_lock()
    ended.acquire()
    wake = itertools.starmap(ended.release, ((),))
    wait, answer = ended.acquire, _answer
    gc_off = gc.disable
    _thread.start_new_thread(box.extend, (itertools.chain(call, wake),))
    wait()
    gc_off()
    answer(channel, box)


def _answer(
    channel: int,
    box: list[Any],
    # Bound before the sample runs: what these names lead to may be replaced by then.
    write: Callable[[int, bytes], int] = os.write,
    read: Callable[[int, int], bytes] = os.read,
    length: Callable[[Any], int] = len,
    kind: Callable[[Any], type] = type,
    text: type = bytes,
    ready: bytes = READY,
    nonce_bytes: int = NONCE_BYTES,
) -> None:
    write(channel, ready)
    nonce = read(channel, nonce_bytes)
    if length(box) <= 2 and kind(box[0]) is text:
        write(channel, nonce + box[0])


def judge(function: Function, sample: Any, item: Any) -> bytes:
    """The answer for one sample, with its length: `{"result": …}` or `{"error": …, "output": …}`."""
    output = Output()
    sys.stdout = sys.stderr = output
    try:
        answer: dict[str, Any] = {"result": plain(function(sample, item))}
        return with_length(json.dumps(answer, allow_nan=False).encode())
    except BaseException as error:  # noqa: BLE001  # user code: its failure is the answer
        answer = {"error": describe(error), "memory": isinstance(error, MemoryError), "output": output.text()}
        return with_length(json.dumps(answer).encode())


def plain(result: object) -> object:
    """A result as JSON. TypeError or ValueError, with a sentence, if it stands for no grade."""
    if result is None:
        return None
    if not isinstance(result, dict):
        return number(result, "the result")
    if "score" not in result or set(result) - _KEYS:
        raise ValueError(
            f"a dict result has the keys score, metrics, sub_rewards and details, got {', '.join(map(str, result)) or 'none'}"
        )
    score = result["score"]
    found: dict[str, object] = {"score": None if score is None else number(score, "score")}
    for key in ("metrics", "sub_rewards"):
        found[key] = _numbers(result.get(key) or {}, key)
    details = result.get("details") or {}
    if not isinstance(details, Mapping):
        raise TypeError(f"details must be a dict, got {type(details).__name__}")
    return {**found, "details": dict(details)}


def _numbers(values: object, key: str) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise TypeError(f"{key} must be a dict of numbers, got {type(values).__name__}")
    return {str(name): number(value, f"{key}['{name}']") for name, value in values.items()}


def number(value: object, what: str) -> float:
    """A finite float. TypeError or ValueError with a sentence."""
    if isinstance(value, bool) or not isinstance(value, Real):
        hint = "; write float(…)" if isinstance(value, bool) else ""
        raise TypeError(f"{what} must be a number, got {type(value).__name__} {value!r:.80}{hint}")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{what} must be finite, got {found}")
    return found


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
