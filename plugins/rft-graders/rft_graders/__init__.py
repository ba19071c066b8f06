"""string_check, text_similarity and multi graders with OpenAI's JSON; regex, json_schema, xml_format, length and repetition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rft_core import BuildContext, Grader, GraderSpec, hookimpl
from rft_graders.config import MultiConfig, StringCheckConfig, TextSimilarityConfig, template_variables
from rft_graders.format_config import (
    JsonSchemaConfig,
    LengthConfig,
    RegexConfig,
    RepetitionConfig,
    XmlFormatConfig,
    format_variables,
)

SHORT_FORMULA_CHARS = 200
"""A `multi` grader whose formula is no longer takes microseconds for it."""


def _string_check(config: StringCheckConfig, context: BuildContext) -> Grader:
    from rft_graders.compare import string_check

    return string_check(config)


def _text_similarity(config: TextSimilarityConfig, context: BuildContext) -> Grader:
    if config.evaluation_metric == "cosine":
        from rft_graders.cosine import CosineGrader

        return CosineGrader(config)
    from rft_graders.compare import text_similarity

    return text_similarity(config)


def _regex(config: RegexConfig, context: BuildContext) -> Grader:
    from rft_graders.pattern import regex_grader

    return regex_grader(config)


def _json_schema(config: JsonSchemaConfig, context: BuildContext) -> Grader:
    from rft_graders.schema import json_schema

    return json_schema(config)


def _xml_format(config: XmlFormatConfig, context: BuildContext) -> Grader:
    from rft_graders.shape import xml_format

    return xml_format(config)


def _length(config: LengthConfig, context: BuildContext) -> Grader:
    from rft_graders.shape import length

    return length(config)


def _repetition(config: RepetitionConfig, context: BuildContext) -> Grader:
    from rft_graders.shape import repetition

    return repetition(config)


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
            needs_tokens=lambda config: False,
            instant=lambda config: True,
        ),
        GraderSpec(
            name="text_similarity",
            config=TextSimilarityConfig,
            build=_text_similarity,
            summary="How alike two strings are, from 0 to 1.",
            variables=template_variables,
            deterministic=lambda config: config.evaluation_metric != "cosine",
            costly=lambda config: config.evaluation_metric == "cosine",
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="regex",
            config=RegexConfig,
            build=_regex,
            summary="1 if a pattern matches, or if what it captures equals a text; else 0.",
            variables=format_variables,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="json_schema",
            config=JsonSchemaConfig,
            build=_json_schema,
            summary="Whether a text is JSON that a schema describes.",
            variables=format_variables,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="xml_format",
            config=XmlFormatConfig,
            build=_xml_format,
            summary="Whether tags stand in order, once each, with text in them.",
            variables=format_variables,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="length",
            config=LengthConfig,
            build=_length,
            summary="1 for a text as long as it should be, less in a straight line beyond.",
            variables=format_variables,
            needs_tokens=lambda config: config.unit == "tokens",
            instant=lambda config: True,
        ),
        GraderSpec(
            name="repetition",
            config=RepetitionConfig,
            build=_repetition,
            summary="The share of a text's phrases that repeat no earlier one.",
            variables=format_variables,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="multi",
            config=MultiConfig,
            build=_multi,
            summary="Combines the scores of other graders by a formula.",
            nested=_nested,
            needs_tokens=lambda config: False,
            instant=lambda config: len(config.calculate_output) <= SHORT_FORMULA_CHARS,
        ),
    ]
