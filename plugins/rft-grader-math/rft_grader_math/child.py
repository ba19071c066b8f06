"""The process that compares: reads a request, answers it, until its input ends.

    python -P -m rft_grader_math.child

A message is four bytes of length, big-endian, and JSON. On start `{"ready": true}`; then for every
`{"gold": text, "answer": text, "timeout_s": s}` one of `{"equal": bool}` and `{"failed": sentence}`.

The texts are parsed as LaTeX by a grammar (ANTLR): nothing here hands a text to Python. The parent kills
this process when it is late; should the parent be gone, an alarm does. Memory is limited.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import signal
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from math_verify import LatexExtractionConfig, parse, verify

MEMORY_BYTES = 2 * 1024**3
_CONFIG = [LatexExtractionConfig(boxed_match_priority=-1)]


def main() -> None:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("r+b") as nothing:  # whatever the libraries print stays out of the answers
        for standard in (0, 1):
            os.dup2(nothing.fileno(), standard)
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    send(replies, {"ready": True})
    while (request := receive(requests)) is not None:
        signal.alarm(math.ceil(request["timeout_s"]) + 5)
        send(replies, compare(request["gold"], request["answer"]))
        signal.alarm(0)


def compare(gold: str, answer: str) -> dict[str, Any]:
    """Whether the two are the same mathematics. An answer that cannot be read or compared is not equal."""
    try:
        expected = expressions(gold)
        if not expected:
            return {"failed": f"the reference {gold[:200]!r} cannot be read as mathematics"}
        try:
            return {"equal": bool(verify(expected, expressions(answer), timeout_seconds=None))}
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 sympy raises whatever it likes over texts that a model wrote
            return {"equal": False}
    except MemoryError:
        return {"failed": f"the comparison takes more than {MEMORY_BYTES // 1024**3} GiB"}
    except Exception as error:  # noqa: BLE001 the same, over the reference
        return {"failed": f"the reference {gold[:200]!r} cannot be read as mathematics: {type(error).__name__}"}


@lru_cache(maxsize=256)
def expressions(text: str) -> list[Any]:
    """What math-verify reads in a text, and the text itself, normalized, where it cannot."""
    found: list[Any] = parse(f"${text}$", _CONFIG, parsing_timeout=None, raise_on_error=True)
    return found


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """None when the input ends."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    message: dict[str, Any] = json.loads(stream.read(struct.unpack(">I", head)[0]))
    return message


if __name__ == "__main__":
    main()
