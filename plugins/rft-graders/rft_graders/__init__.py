"""string_check, text_similarity and multi graders with OpenAI's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rft_core import BuildContext, Grader, GraderSpec, hookimpl
from rft_graders.config import MultiConfig, StringCheckConfig, TextSimilarityConfig, template_variables


def _string_check(config: StringCheckConfig, context: BuildContext) -> Grader:
    from rft_graders.compare import string_check

    return string_check(config)


def _text_similarity(config: TextSimilarityConfig, context: BuildContext) -> Grader:
    from rft_graders.compare import text_similarity

    return text_similarity(config)


def _multi(config: MultiConfig, context: BuildContext) -> Grader:
    from rft_graders.multi import build_multi

    return build_multi(config, context)


def _nested(config: MultiConfig) -> Mapping[str, Mapping[str, Any]]:
    return config.graders


@hookimpl
def rft_graders() -> Iterable[GraderSpec]:
    return [
        GraderSpec(
            name="string_check",
            config=StringCheckConfig,
            build=_string_check,
            summary="1 if two strings are equal, different, or one contains the other; else 0.",
            variables=template_variables,
        ),
        GraderSpec(
            name="text_similarity",
            config=TextSimilarityConfig,
            build=_text_similarity,
            summary="How alike two strings are, from 0 to 1.",
            variables=template_variables,
        ),
        GraderSpec(
            name="multi",
            config=MultiConfig,
            build=_multi,
            summary="Combines the scores of other graders by a formula.",
            nested=_nested,
        ),
    ]
