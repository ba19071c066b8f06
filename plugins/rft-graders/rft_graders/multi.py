"""multi: combines the scores of other graders by a formula.

What a rollout's sub-grades make of the whole grade, the first that applies:

    any failed or timed out      the same failure, not trained on: a failed grader is not a zero
    any abstained                abstained
    the formula has no value     formula_parse_error, not trained on
    any sample_invalid           sample_invalid, with the lowest value that the formula has when each such
                                 grade counts as its minimum or as 1: whatever the formula does with a
                                 score, a broken sample gains nothing by being broken
    otherwise                    score, with the formula's value

`sub_rewards` holds the scores there are in each case. Source: https://platform.openai.com/docs/guides/graders#multigraders
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from rft_core.errors import BadReplyError, ConfigError
from rft_core.hosting import facts_of
from rft_core.protocols import Grader
from rft_core.specs import BuildContext
from rft_core.types import Grade, Group, Outcome, TokenUsage
from rft_graders.config import MultiConfig
from rft_graders.formula import Formula, parse

BEST = 1.0
MAX_PRETENDED = 8
"""Invalid grades that are tried both ways; 2 to this power evaluations are still nothing."""


class MultiGrader:
    """Grades a group with every sub-grader, in the order of the config, then applies the formula."""

    def __init__(self, graders: Mapping[str, Grader], formula: Formula) -> None:
        self._graders = graders
        self._formula = formula

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout. BadReplyError if a sub-grader answers with another number of grades."""
        columns = {key: self._graded(key, grader, group) for key, grader in self._graders.items()}
        return [self._combine({key: grades[i] for key, grades in columns.items()}) for i in range(len(group.rollouts))]

    def facts(self) -> dict[str, str]:
        return {
            f"{key}.{name}": value for key, grader in self._graders.items() for name, value in facts_of(grader).items()
        }

    def close(self) -> None:
        for grader in self._graders.values():
            grader.close()

    @staticmethod
    def _graded(key: str, grader: Grader, group: Group) -> Sequence[Grade]:
        grades = grader.grade(group)
        if len(grades) != len(group.rollouts):
            raise BadReplyError(
                f"the grader '{key}' gave {len(grades)} grades for {len(group.rollouts)} rollouts; it must give one per rollout"
            )
        return grades

    def _combine(self, grades: Mapping[str, Grade]) -> Grade:
        scores = {key: grade.reward for key, grade in grades.items() if grade.reward is not None}
        inner = {f"{key}/{name}": value for key, grade in grades.items() for name, value in grade.sub_rewards.items()}
        metrics = {f"{key}/{name}": value for key, grade in grades.items() for name, value in grade.metrics.items()}
        outcome, kind, message = self._worst(grades)
        reward = None
        if outcome in (Outcome.SCORE, Outcome.SAMPLE_INVALID):
            try:
                reward = self._formula.evaluate(scores)
                for pretended in _pretended(grades):
                    with contextlib.suppress(ArithmeticError):
                        reward = min(reward, self._formula.evaluate({**scores, **pretended}))
            except ArithmeticError as error:
                outcome, kind = Outcome.GRADER_ERROR, "formula_parse_error"
                message = f"the formula '{self._formula.text}' has no value: {error}"
        return Grade(
            outcome=outcome,
            reward=reward,
            error_kind=kind,
            message=message,
            sub_rewards={**scores, **inner},
            metrics=metrics,
            details={key: dict(grade.details) for key, grade in grades.items() if grade.details},
            usage=_spent([grade.usage for grade in grades.values()]),
            faults=dict(_faults(grades)),
        )

    @staticmethod
    def _worst(grades: Mapping[str, Grade]) -> tuple[Outcome, str | None, str | None]:
        for outcomes in ((Outcome.GRADER_ERROR, Outcome.TIMED_OUT), (Outcome.ABSTAINED,), (Outcome.SAMPLE_INVALID,)):
            for key, grade in grades.items():
                if grade.outcome in outcomes:
                    return grade.outcome, grade.error_kind, f"{key}: {grade.message or grade.outcome}"
        return Outcome.SCORE, None, None


def _faults(grades: Mapping[str, Grade]) -> Iterator[tuple[str, str]]:
    """The graders that failed, with those inside of them by their path, and the error kind of each."""
    for key, grade in grades.items():
        if grade.faults:
            yield from ((f"{key}/{name}", kind) for name, kind in grade.faults.items())
        elif grade.failed:
            yield key, grade.error_kind or grade.outcome.value


def _pretended(grades: Mapping[str, Grade]) -> Iterator[dict[str, float]]:
    """Every way in which some of the invalid grades could have been the best score instead."""
    invalid = [key for key, grade in grades.items() if grade.outcome is Outcome.SAMPLE_INVALID][:MAX_PRETENDED]
    for count in range(1, len(invalid) + 1):
        for keys in combinations(invalid, count):
            yield dict.fromkeys(keys, BEST)


def _spent(usages: Sequence[Mapping[str, TokenUsage]]) -> dict[str, TokenUsage]:
    """The tokens of all sub-graders, by model."""
    total: dict[str, TokenUsage] = {}
    for usage in usages:
        for model, used in usage.items():
            total[model] = total[model] + used if model in total else used
    return total


def build_multi(config: MultiConfig, context: BuildContext) -> MultiGrader:
    """Builds the sub-graders through the host, so that they may come from any plugin."""
    if context.build_grader is None:
        raise ConfigError("a multi grader needs a host that can build graders, and this one cannot")
    return MultiGrader(
        {key: context.build_grader(raw) for key, raw in config.graders.items()}, parse(config.calculate_output)
    )
