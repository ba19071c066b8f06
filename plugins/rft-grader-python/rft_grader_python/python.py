"""The grader `python`: OpenAI's, with its source in the run file.

    {"type": "python", "source": "def grade(sample, item):\\n    return 1.0"}

A result is a number, None (no opinion), or a dict with the key `score` and, if wanted, `metrics`,
`sub_rewards` and `details`. An exception, NaN or anything else is a grade `python_grader_runtime_error`; trouble
of the sandbox itself is `python_grader_server_error`. Neither is trained on. A process that dies without an
answer is tried once more.

Each call runs in a fresh fork of a parent that has loaded the source: docs/sandbox.md.
Source: https://platform.openai.com/docs/guides/graders#python-graders
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from rft_core.grading import sample_dict
from rft_core.types import Grade, Group
from rft_grader_python.config import IMAGE_TAGS, PythonConfig
from rft_grader_python.pool import Sandbox
from rft_grader_python.sandbox.jobs import Answer, verdict
from rft_grader_python.sandbox.launch import Zygote
from rft_grader_python.sandbox.setup import Setup
from rft_grader_python.source import executed_in_process, imported_modules
from rft_grader_python.verdict import RUNTIME_ERROR, to_grade


class PythonGrader:
    """Calls `grade` once per rollout, several at once."""

    def __init__(self, config: PythonConfig) -> None:
        """ConfigError if the source cannot be loaded, or nothing isolates it here."""
        self._config = config
        _warn(config)
        imports = imported_modules(config.source)
        # A source that handles signals needs the main thread; see sandbox/run_grade.py.
        self._alone = config.sandbox != "none" and "signal" not in imports
        setup = Setup(
            tier=config.sandbox, limits=config.limits(config.timeout_s), imports=imports, source=config.source
        )
        self._sandbox = Sandbox(setup, 1 if config.sandbox == "none" else config.parallel)

    def facts(self) -> dict[str, str]:
        """The isolation in force, for the record of the run."""
        return dict(self._sandbox.facts)

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout, in order."""
        item = dict(group.item.row)
        jobs = [{"sample": sample_dict(rollout), "item": item} for rollout in group.rollouts]
        return self._sandbox.map(self._grade, jobs)

    def close(self) -> None:
        self._sandbox.close()

    def _grade(self, job: Mapping[str, Any]) -> Grade:
        answer = self._sandbox.run(lambda zygote: self._asked(zygote, job))
        if answer.kind == "died":  # by chance, such as a machine short of memory, or by its own doing: then again
            answer = self._sandbox.run(lambda zygote: self._asked(zygote, job))
        if answer.kind == "answer":
            return to_grade(answer.values)
        if answer.kind == "timed_out":
            return Grade.timed_out(f"grade() did not answer within {self._config.timeout_s:g} s")
        return Grade.error(RUNTIME_ERROR, answer.message)

    def _asked(self, zygote: Zygote, job: Mapping[str, Any]) -> Answer:
        answer = verdict(zygote, "grade", job, self._config.timeout_s, alone=self._alone)
        if self._config.sandbox == "none" and answer.kind != "answer":
            self._sandbox.restart(zygote)  # it is this process that hangs or died
        return answer


def _warn(config: PythonConfig) -> None:
    if config.image_tag and config.image_tag not in IMAGE_TAGS:
        warnings.warn(
            f"image_tag '{config.image_tag}' is unknown; the grader runs with the packages installed here", stacklevel=4
        )
    if calls := executed_in_process(config.source):
        warnings.warn(
            f"the grader '{config.name}' calls {', '.join(calls)}: what it executes can change what grade() returns "
            "for that sample; to run a program that the model wrote use code_tests",
            stacklevel=4,
        )
