"""The grader `code_tests`: runs the program that the model wrote against tests of the row.

    pairs        the program runs once per pair, with `input` on its standard input; what it prints is compared
                 here, so the expected outputs never enter its process
    a test file  runs in a process of its own, where `solution` stands for the program in another one

The program has no channel on which a verdict travels. A crash, a time-out, an early exit, an object that is
equal to everything: its own fault, and the test does not pass. `metrics` counts them. Tests that are no tests,
and a sandbox that fails, are grader errors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rft_core.errors import DataError, MissingVariableError
from rft_core.grading import grade_of_missing, sample_namespace
from rft_core.template import lookup, render
from rft_core.types import Grade, Group, Json, Outcome, Rollout
from rft_grader_python.config import CodeTestsConfig
from rft_grader_python.pool import Sandbox
from rft_grader_python.programs import Pair, last_block, read_tests, same_output
from rft_grader_python.sandbox.jobs import Ended, program, tests
from rft_grader_python.sandbox.setup import Setup

MAX_FAILURES_SHOWN = 5
MAX_SHOWN_CHARS = 300
TESTS_SPARE_S = 10.0
"""What the tests may take beside what they wait for the program."""
_ONE_VARIABLE = re.compile(r"\s*\{\{([^{}]+)\}\}\s*")


class CodeTestsGrader:
    """One program per rollout, several at once."""

    def __init__(self, config: CodeTestsConfig) -> None:
        """ConfigError if nothing isolates programs here."""
        self._config = config
        self._sandbox = Sandbox(Setup(tier=config.sandbox, limits=config.limits(config.timeout_s)), config.parallel)

    def facts(self) -> dict[str, str]:
        """The isolation in force, for the record of the run."""
        return dict(self._sandbox.facts)

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout, in order."""
        return self._sandbox.map(lambda rollout: self._grade(rollout, group), group.rollouts)

    def close(self) -> None:
        self._sandbox.close()

    def _grade(self, rollout: Rollout, group: Group) -> Grade:
        namespaces = {"item": group.item.row, "sample": sample_namespace(rollout)}
        config = self._config
        try:
            text = render(config.input, namespaces)
            found = read_tests(_value(config.tests, namespaces))
            entry_point = render(config.entry_point, namespaces) if config.entry_point else None
        except MissingVariableError as error:
            return grade_of_missing(error)
        except DataError as error:
            return Grade.error("other_error", str(error))
        code = last_block(text) if config.extract == "last_block" else text
        if problem := _syntax_problem(code):
            return _invalid(problem)
        if isinstance(found, str):
            return self._by_file(code, found, entry_point)
        return self._by_pairs(code, found)

    def _by_pairs(self, code: str, pairs: Sequence[Pair]) -> Grade:
        counts = {"tests_passed": 0.0, "tests_total": float(len(pairs))}
        failures: list[Json] = []
        for number, pair in enumerate(pairs):
            ended = self._run(code, pair)
            printed = ended.stdout.decode("utf-8", "replace")
            right = same_output(printed, pair.output, exact=self._config.compare == "exact")
            flag = _flag(ended) or ("" if right else "wrong_outputs")
            counts[flag or "tests_passed"] = counts.get(flag or "tests_passed", 0.0) + 1
            if flag and len(failures) < MAX_FAILURES_SHOWN:
                failures.append(
                    {
                        "test": number,
                        "printed": _cut(printed),
                        "stderr": _cut(ended.stderr),
                        "ended": flag,
                    }
                )
            if flag and self._config.score == "all":
                break  # one failure decides
        return self._scored(counts, {"failures": failures} if failures else {})

    def _run(self, code: str, pair: Pair) -> Ended:
        data = pair.input.encode("utf-8", "surrogatepass")
        return self._sandbox.run(lambda zygote: program(zygote, code, data, self._config.timeout_s))

    def _by_file(self, code: str, text: str, entry_point: str | None) -> Grade:
        job: dict[str, Any] = {"tests": text, "entry_point": entry_point}
        time_s = self._config.timeout_s
        answer = self._sandbox.run(lambda zygote: tests(zygote, code, job, time_s, spare_s=TESTS_SPARE_S))
        if answer.kind == "timed_out":
            return Grade.timed_out(f"the tests themselves took {TESTS_SPARE_S:g} s more than the program")
        if answer.kind != "answer":
            return Grade.error("other_error", f"the tests failed to run: {answer.message}")
        returned, result = answer.values
        if not returned:
            return Grade.error("other_error", str(result["error"]))
        return self._scored(dict(result["metrics"]), dict(result["details"]))

    def _scored(self, counts: dict[str, float], details: dict[str, Json]) -> Grade:
        share = counts["tests_passed"] / counts["tests_total"]
        return Grade.score(
            share if self._config.score == "fraction" else float(share == 1.0), metrics=counts, details=details
        )


def _value(template: str, namespaces: Any) -> Json:
    """The value of a template that is one variable, as it is; else its text."""
    one = _ONE_VARIABLE.fullmatch(template)
    return lookup(one[1].strip(), namespaces) if one else render(template, namespaces)


def _flag(ended: Ended) -> str:
    """The name of what went wrong with a program beside its output; empty for nothing."""
    if ended.why in ("time", "given up"):
        return "time_outs"
    if ended.why:
        return f"over_{ended.why}_limit"
    return "crashes" if ended.status else ""


def _syntax_problem(code: str) -> str:
    if not code.strip():
        return "the completion holds no program"
    try:
        compile(code, "solution.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"the program cannot be compiled: {error}"
    return ""


def _invalid(problem: str) -> Grade:
    return Grade(
        outcome=Outcome.SAMPLE_INVALID,
        reward=0.0,
        error_kind="sample_parse_error",
        message=problem,
        metrics={"does_not_compile": 1.0},
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"
