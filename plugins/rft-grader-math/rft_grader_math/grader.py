r"""math: 1 if the answer in a text is mathematically equal to the reference, else 0.

math-verify decides, in a process of its own that is killed after `timeout_s`: neither a text nor sympy can
hang or crash the engine, and no text is executed. What becomes of a rollout:

    no \boxed{} and no number, or an answer of absurd length    sample_invalid: scores 0
    the same text as the reference                              1, without asking
    the comparison takes longer than timeout_s                  timed_out, not trained on
    the reference cannot be read, a process died                grader error, not trained on
    otherwise                                                   1 or 0

Equal answers of one group are compared once. Source: https://github.com/huggingface/Math-Verify
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rft_core.errors import MissingVariableError
from rft_core.grading import grade_of_missing, sample_namespace
from rft_core.template import compile_template
from rft_core.types import Grade, Group, Rollout, Row
from rft_grader_math.config import MathConfig
from rft_grader_math.extract import MAX_CHARS, answer_in, reference_in
from rft_grader_math.processes import Comparers, DiedError, LateError

MOST_PROCESSES = 4


class MathGrader:
    """Called from several threads; as many comparisons run at once as there are processes."""

    def __init__(self, config: MathConfig) -> None:
        self._config = config
        self._input, self._reference = compile_template(config.input), compile_template(config.reference)
        self._comparers = Comparers(config.processes or min(MOST_PROCESSES, os.cpu_count() or 1))

    def grade(self, group: Group) -> Sequence[Grade]:
        known: dict[tuple[str, str], Grade] = {}
        return [self._grade_one(group.item.row, rollout, known) for rollout in group.rollouts]

    def close(self) -> None:
        self._comparers.close()

    def _grade_one(self, row: Row, rollout: Rollout, known: dict[tuple[str, str], Grade]) -> Grade:
        namespaces = {"item": row, "sample": sample_namespace(rollout)}
        try:
            text, reference = self._input.render(namespaces), self._reference.render(namespaces)
        except MissingVariableError as error:
            return grade_of_missing(error)
        gold, answer = reference_in(reference), answer_in(text, self._config.extract)
        if not gold or len(gold) > MAX_CHARS:
            return Grade.error("other_error", f"the reference {reference[:200]!r} holds no answer to compare with")
        if answer is None:
            return Grade.invalid(f"the text holds no answer (extract: {self._config.extract})")
        if len(answer) > MAX_CHARS:
            return Grade.invalid(f"the answer has {len(answer)} characters, more than {MAX_CHARS}")
        if answer == gold:
            return Grade.score(1.0)
        if (gold, answer) not in known:
            known[gold, answer] = self._compared(gold, answer)
        return known[gold, answer]

    def _compared(self, gold: str, answer: str) -> Grade:
        timeout_s = self._config.timeout_s
        try:
            with self._comparers.one() as comparer:
                verdict = comparer.ask({"gold": gold, "answer": answer, "timeout_s": timeout_s}, timeout_s)
        except LateError:
            return Grade.timed_out(f"comparing {answer[:100]!r} with {gold[:100]!r} took longer than {timeout_s:g} s")
        except DiedError as error:
            return Grade.error("other_error", f"{error} (comparing {answer[:100]!r} with {gold[:100]!r})")
        if "failed" in verdict:
            return Grade.error("other_error", str(verdict["failed"]))
        return Grade.score(float(verdict["equal"]))
