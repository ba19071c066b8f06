"""The one place where what a component raised is classified.

Components raise plain Python errors. A grader's error becomes a typed grade, because a rollout that
cannot be graded is data, not a crash; any other component's error becomes a `ComponentError`.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from rft_core.errors import ComponentError, MissingVariableError, RftError
from rft_core.types import Grade

MAX_MESSAGE_CHARS = 2_000


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


def component_error(error: BaseException, what: str) -> RftError:
    """The error to raise for what component `what` raised. RftErrors already are sentences and pass."""
    if isinstance(error, RftError):
        return error
    return ComponentError(f"{what} raised {sentence(error)}")


def error_grade(error: BaseException) -> Grade:
    """The grade of a rollout whose grader raised `error`, with a flag of the OpenAI contract."""
    if isinstance(error, MissingVariableError):
        return Grade.error("invalid_variable_error", clean_text(str(error)))
    if isinstance(error, RftError):
        return Grade.error("other_error", clean_text(str(error)))
    return Grade.error("python_grader_runtime_error", sentence(error))
