"""string_check and text_similarity: both compare two rendered templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rft_core.errors import MissingVariableError
from rft_core.grading import grade_of_missing, sample_namespace
from rft_core.template import compile_template
from rft_core.types import Grade, Group, Json, Rollout
from rft_graders.config import CompareConfig, StringCheckConfig, TextSimilarityConfig

Compare = Callable[[str, str], float]

OPERATIONS: Mapping[str, Compare] = {
    "eq": lambda text, reference: float(text == reference),
    "ne": lambda text, reference: float(text != reference),
    "like": lambda text, reference: float(reference in text),
    "ilike": lambda text, reference: float(reference.casefold() in text.casefold()),
}
"""Of `string_check`. Containment, not SQL wildcards; nothing is trimmed."""


class CompareGrader:
    """Scores each rollout by a function of its rendered `input` and `reference`. Holds no state."""

    def __init__(self, config: CompareConfig, compare: Compare) -> None:
        self._input = compile_template(config.input)
        self._reference = compile_template(config.reference)
        self._compare = compare

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout. A missing variable: see `rft_core.grading.grade_of_missing`."""
        return [self._grade_one(group.item.row, rollout) for rollout in group.rollouts]

    def _grade_one(self, item: Mapping[str, Json], rollout: Rollout) -> Grade:
        namespaces = {"item": item, "sample": sample_namespace(rollout)}
        try:
            text, reference = self._input.render(namespaces), self._reference.render(namespaces)
        except MissingVariableError as error:
            return grade_of_missing(error)
        return Grade.score(self._compare(text, reference))

    def close(self) -> None:
        """Nothing to release."""


def string_check(config: StringCheckConfig) -> CompareGrader:
    """1 if `operation` holds between `input` and `reference`, else 0."""
    return CompareGrader(config, OPERATIONS[config.operation])


def text_similarity(config: TextSimilarityConfig) -> CompareGrader:
    """`fuzzy_match` is rapidfuzz's WRatio over lower-cased words, divided by 100; 0 if either text has
    no letter or digit.

    Source: the Python example of https://platform.openai.com/docs/guides/graders#text-similarity-graders
    """
    from rapidfuzz import fuzz, utils

    def fuzzy_match(text: str, reference: str) -> float:
        return fuzz.WRatio(text, reference, processor=utils.default_process) / 100

    return CompareGrader(config, fuzzy_match)
