"""string_check and text_similarity: both compare two rendered templates."""

from __future__ import annotations

from collections.abc import Mapping

from rft_core.types import Grade
from rft_graders.config import StringCheckConfig, TextSimilarityConfig
from rft_graders.texts import RIGHT, WRONG, Judge, TextGrader

OPERATIONS: Mapping[str, Judge] = {
    "eq": lambda text, reference: RIGHT if text == reference else WRONG,
    "ne": lambda text, reference: RIGHT if text != reference else WRONG,
    "like": lambda text, reference: RIGHT if reference in text else WRONG,
    "ilike": lambda text, reference: RIGHT if reference.casefold() in text.casefold() else WRONG,
}
"""Of `string_check`. Containment, not SQL wildcards; nothing is trimmed."""


def string_check(config: StringCheckConfig) -> TextGrader:
    """1 if `operation` holds between `input` and `reference`, else 0."""
    return TextGrader(OPERATIONS[config.operation], config.input, config.reference)


def text_similarity(config: TextSimilarityConfig) -> TextGrader:
    """How alike the texts are by a metric of `rft_graders.metrics`, from 0 to 1."""
    from rft_graders.metrics import metric

    measure = metric(config.evaluation_metric)
    return TextGrader(lambda text, reference: Grade.score(measure(text, reference)), config.input, config.reference)
