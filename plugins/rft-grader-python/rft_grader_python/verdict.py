"""The grade that a job's answer stands for. The job made the answer: nothing in it is taken on trust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from rft_core.types import Grade, Json

RUNTIME_ERROR = "python_grader_runtime_error"
_KEYS = {"score", "metrics", "sub_rewards", "details"}


def to_grade(answer: Json) -> Grade:
    """Of `[returned, value]`: a number, None or a dict; or `{"error", "output"}`."""
    try:
        returned, value = answer
        if not returned:
            return failed(str(value["error"]), str(value.get("output") or ""))
        return _graded(value)
    except (LookupError, AttributeError, TypeError, ValueError, OverflowError) as error:
        return Grade.error(RUNTIME_ERROR, f"{type(error).__name__}: {error}")


def failed(message: str, output: str = "") -> Grade:
    """The grade of a call that raised; what it printed is kept to explain it."""
    grade = Grade.error(RUNTIME_ERROR, message)
    return replace(grade, details={"output": output}) if output else grade


def _graded(value: Json) -> Grade:
    if value is None:
        return Grade.abstained("grade() returned None")
    if not isinstance(value, dict):
        return Grade.score(_number(value, "the result"))
    if "score" not in value or set(value) - _KEYS:
        raise ValueError(
            f"a dict result has the keys score, metrics, sub_rewards and details, got {', '.join(value) or 'none'}"
        )
    if value["score"] is None:
        return Grade.abstained("grade() returned the score None")
    details = value.get("details") or {}
    if not isinstance(details, Mapping):
        raise TypeError(f"details must be a dict, got {type(details).__name__}")
    return Grade.score(
        _number(value["score"], "score"),
        metrics=_numbers(value, "metrics"),
        sub_rewards=_numbers(value, "sub_rewards"),
        details=dict(details),
    )


def _numbers(result: Mapping[str, Json], key: str) -> dict[str, float]:
    values = result.get(key) or {}
    if not isinstance(values, Mapping):
        raise TypeError(f"{key} must be a dict of numbers, got {type(values).__name__}")
    return {str(name): _number(value, f"{key}['{name}']") for name, value in values.items()}


def _number(value: Json, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = "; write float(…)" if isinstance(value, bool) else ""
        raise TypeError(f"{what} must be a number, got {type(value).__name__} {value!r:.80}{hint}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} must be finite, got {number}")
    return number
