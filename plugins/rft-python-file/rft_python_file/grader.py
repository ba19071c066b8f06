"""The grader `python_file`: a function of the user, with the signature of OpenAI's python grader.

    def grade(sample, item):   # scope: rollout
        return 1.0 if sample["output_text"].strip() == item["answer"] else 0.0

    def grade(samples, item):  # scope: group
        return [... one per sample ...]

A result is a number, None (the grader has no opinion), a `rft_core.Grade`, or a dict with the key
`score` and, if wanted, `metrics` and `sub_rewards`. An exception, NaN or anything else is the grade
`python_grader_runtime_error`, which is not trained on.

The function is trusted and runs unsandboxed in the process that hosts the grader, possibly in
several threads at once. It gets copies: what it changes in `sample` or `item` reaches no other call.
Source: https://platform.openai.com/docs/guides/graders#python-graders
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from numbers import Real
from pathlib import Path
from typing import Any

from rft_core.grading import sample_dict
from rft_core.types import Grade, Group
from rft_python_file.config import PythonFileGraderConfig
from rft_python_file.loading import describe, load_function, require_arguments, source_fingerprint

ERROR_KIND = "python_grader_runtime_error"
_KEYS = {"score", "metrics", "sub_rewards", "details"}


class PythonFileGrader:
    """Calls the function once per rollout or once per group."""

    def __init__(self, config: PythonFileGraderConfig, base_dir: Path) -> None:
        self._per_group = config.scope == "group"
        self._path = (base_dir / config.file).resolve()
        self._fingerprint = source_fingerprint(base_dir, config.file) if self._path.is_file() else ""
        self._function = load_function(base_dir, config.file, config.function)
        require_arguments(self._function, config.path, "samples" if self._per_group else "sample", "item")
        self._slots = None if config.concurrency is None else threading.Semaphore(config.concurrency)

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout, in order."""
        samples = [sample_dict(rollout) for rollout in group.rollouts]
        if not self._per_group:
            return self._call_each(samples, group)
        try:
            with self._slots or nullcontext():
                results = self._function(samples, copy.deepcopy(dict(group.item.row)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # user code: its failure is a grade
            return [self._failed(error)] * len(samples)
        if not isinstance(results, list | tuple) or len(results) != len(samples):
            given = f"{len(results)} results" if isinstance(results, list | tuple) else f"{type(results).__name__}"
            return [
                Grade.error(ERROR_KIND, f"the function returned {given}, it must return a list of {len(samples)}")
            ] * len(samples)
        return [self._graded(result) for result in results]

    def fingerprint(self) -> str:
        """`sha256:…` of the file as it was loaded."""
        return self._fingerprint

    def close(self) -> None:
        """Nothing to release."""

    def _call_each(self, samples: Sequence[Mapping[str, Any]], group: Group) -> list[Grade]:
        """One grade per sample, in order. With a `concurrency` each call has a thread, which does not keep the
        process alive: one that hangs cannot be stopped."""
        if self._slots is None:
            return [self._call_one(sample, group) for sample in samples]
        slots, grades = self._slots, dict[int, Grade]()

        def call(number: int) -> None:
            with slots:
                grades[number] = self._call_one(samples[number], group)

        threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(len(samples))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [grades[number] for number in range(len(samples))]

    def _call_one(self, sample: Mapping[str, Any], group: Group) -> Grade:
        try:
            result = self._function(sample, copy.deepcopy(dict(group.item.row)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # user code: its failure is a grade
            return self._failed(error)
        return self._graded(result)

    def _failed(self, error: BaseException) -> Grade:
        return Grade.error(ERROR_KIND, describe(error, self._path))

    @staticmethod
    def _graded(result: object) -> Grade:
        try:
            return to_grade(result)
        except (TypeError, ValueError, OverflowError) as error:
            return Grade.error(ERROR_KIND, str(error))


def to_grade(result: object) -> Grade:
    """The grade that a function's result stands for. TypeError or ValueError, with a sentence, if none."""
    if isinstance(result, Grade):
        return result
    if result is None:
        return Grade.abstained("the function returned None")
    if not isinstance(result, dict):
        return Grade.score(_number(result, "the result"))
    unknown = set(result) - _KEYS
    if unknown or "score" not in result:
        raise ValueError(
            f"a dict result has the keys score, metrics, sub_rewards and details, got {', '.join(map(str, result)) or 'none'}"
        )
    if result["score"] is None:
        return Grade.abstained("the function returned the score None")
    score = _number(result["score"], "score")
    details = result.get("details") or {}
    if not isinstance(details, Mapping):
        raise TypeError(f"details must be a dict, got {type(details).__name__}")
    return Grade.score(
        score, metrics=_numbers(result, "metrics"), sub_rewards=_numbers(result, "sub_rewards"), details=dict(details)
    )


def _numbers(result: Mapping[str, Any], key: str) -> dict[str, float]:
    values = result.get(key) or {}
    if not isinstance(values, Mapping):
        raise TypeError(f"{key} must be a dict of numbers, got {type(values).__name__}")
    return {str(name): _number(value, f"{key}['{name}']") for name, value in values.items()}


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} must be a number, got {type(value).__name__} {value!r:.80}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} must be finite, got {number}")
    return number
