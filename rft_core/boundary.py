"""The one place where what a component raised is classified.

Components raise plain Python errors. A grader's error becomes a typed grade, because a rollout that
cannot be graded is data, not a crash; a full or read-only disk becomes a `StorageError`, whoever met it; any
other error of a component becomes a `ComponentError`.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path

from rft_core.errors import ComponentError, MissingVariableError, RftError, StorageError
from rft_core.types import Grade

MAX_MESSAGE_CHARS = 2_000
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
"""Of the disk too, below the folder where the component was to write."""
RUST_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust, such as safetensors and tokenizers, pass on an error of the operating system."""
RESUME = "then 'rft-engine resume'"


def sentence(error: BaseException) -> str:
    """`ValueError: no number (graders.py, line 12)`: type, message and the line that raised, bounded in length."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return clean_text(f"{type(error).__name__}: {error}", MAX_MESSAGE_CHARS) + place


def clean_text(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """`text` as valid UTF-8 of at most `limit` characters; half surrogate pairs are escaped."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def component_error(error: BaseException, what: str, folder: Path | None = None) -> RftError:
    """The error to raise for what component `what` raised, which writes in `folder` if it has one. RftErrors
    already are sentences and pass."""
    if isinstance(error, RftError):
        return error
    return disk_error(error, what, folder) or ComponentError(f"{what} raised {sentence(error)}")


def disk_error(
    error: BaseException, what: str, folder: Path | None = None, *, then: str = RESUME
) -> StorageError | None:
    """The error to raise where `error`, or what caused it, is that of a full or read-only disk; else None.
    `folder` is where `what` was to write, `then` what to do when there is room."""
    seen: BaseException | None = error
    while seen is not None:
        number, place = _number_of(seen), getattr(seen, "filename", None) or folder
        if number in NO_ROOM or (number in DENIED and _is_below(place, folder)):
            where = f" in {place}" if place else ""
            return StorageError(
                f"{what} could not write{where}: {os.strerror(number)}; free space or fix the permissions, {then}"
            )
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None


def _is_below(place: str | Path | None, folder: Path | None) -> bool:
    return place is not None and folder is not None and Path(place).resolve().is_relative_to(folder.resolve())


def _number_of(error: BaseException) -> int:
    """The operating system's number of an error, 0 if it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = RUST_ERROR.search(str(error))
    return int(found[1]) if found else 0


def error_grade(error: BaseException) -> Grade:
    """The grade of a rollout whose grader raised `error`, with a flag of the OpenAI contract."""
    if isinstance(error, MissingVariableError):
        return Grade.error("invalid_variable_error", clean_text(str(error)))
    if isinstance(error, RftError):
        return Grade.error("other_error", clean_text(str(error)))
    return Grade.error("python_grader_runtime_error", sentence(error))
