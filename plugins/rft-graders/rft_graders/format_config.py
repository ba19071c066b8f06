"""Settings of the graders that look at the form of one text: regex, json_schema, xml_format, length, repetition."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rft_core.errors import nearest
from rft_core.template import variables
from rft_graders.config import GraderConfig


class FormatConfig(GraderConfig):
    """One text to look at."""

    input: str = Field("{{sample.output_text}}", description="Template of the text to grade.")

    @field_validator("input")
    @classmethod
    def _compiles(cls, template: str) -> str:
        variables(template)
        return template


class RegexConfig(FormatConfig):
    type: Literal["regex"] = "regex"
    pattern: str = Field(
        min_length=1, description="A regular expression in Python's syntax, as the library regex reads it."
    )
    mode: Literal["search", "fullmatch"] = Field(
        "search", description="search: it matches anywhere; fullmatch: it matches the whole text."
    )
    group: int | str = Field(
        0,
        description="Number or name of the group that must match, or be equal to the reference; 0 is the whole match.",
    )
    reference: str | None = Field(
        None, description="Template of the text that the group must be equal to; null asks for a match alone."
    )
    flags: list[Literal["ignorecase", "multiline", "dotall", "verbose", "ascii"]] = Field(
        [], description="Names of Python's flags: ignorecase, multiline, dotall, verbose, ascii."
    )
    timeout_s: float = Field(
        1.0, gt=0, le=60, description="Longest one match may take; then the grade is timed_out: the pattern backtracks."
    )

    @field_validator("reference")
    @classmethod
    def _reference_compiles(cls, template: str | None) -> str | None:
        variables(template or "")
        return template

    @model_validator(mode="after")
    def _pattern(self) -> RegexConfig:
        from rft_graders.pattern import compiled

        pattern = compiled(self)
        if isinstance(self.group, str) and self.group not in pattern.groupindex:
            raise ValueError(f"the pattern has no group '{self.group}'{nearest(self.group, pattern.groupindex)}")
        if isinstance(self.group, int) and not 0 <= self.group <= pattern.groups:
            raise ValueError(f"the pattern has {pattern.groups} groups, so there is no group {self.group}")
        return self


class JsonSchemaConfig(FormatConfig):
    type: Literal["json_schema"] = "json_schema"
    schema_: dict[str, Any] = Field(
        alias="schema", description="The JSON Schema; draft 2020-12 unless its $schema names another."
    )
    partial: bool = Field(
        False, description="Score the share of top-level properties that are as the schema says, instead of 1 or 0."
    )

    @field_validator("schema_")
    @classmethod
    def _sound(cls, schema: dict[str, Any]) -> dict[str, Any]:
        from rft_graders.schema import validator

        validator(schema)
        return schema

    @model_validator(mode="after")
    def _has_properties(self) -> JsonSchemaConfig:
        if self.partial and not self.schema_.get("properties"):
            raise ValueError("partial counts the schema's top-level 'properties', and there are none; leave it out")
        return self


class XmlFormatConfig(FormatConfig):
    type: Literal["xml_format"] = "xml_format"
    tags: list[str] = Field(min_length=1, description="Names of the tags, in order, such as [think, answer].")
    partial: bool = Field(False, description="Score the share of tags that stand as they should, instead of 1 or 0.")
    nothing_else: bool = Field(False, description="Score 0 if text stands outside the tags.")

    @field_validator("tags")
    @classmethod
    def _names(cls, tags: list[str]) -> list[str]:
        for tag in tags:
            if not tag or any(c in "<>/ \t\n" for c in tag):
                raise ValueError(f"'{tag}' is no name of a tag; write it without < and >")
            if tags.count(tag) > 1:
                raise ValueError(f"the tag '{tag}' stands twice; each tag is looked for once")
        return tags


class LengthConfig(FormatConfig):
    type: Literal["length"] = "length"
    unit: Literal["words", "characters", "tokens"] = Field(
        "words", description="What is counted; tokens are those that the model sampled, whatever `input` is."
    )
    min: int = Field(0, ge=0, description="Shortest length that scores 1.")
    max: int | None = Field(None, ge=0, description="Longest length that scores 1; null for no limit.")
    falloff: int = Field(
        0, ge=0, description="So far outside the band the score has fallen to 0, in a straight line; 0 falls at once."
    )

    @model_validator(mode="after")
    def _band(self) -> LengthConfig:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}: no length can score 1")
        return self


class RepetitionConfig(FormatConfig):
    type: Literal["repetition"] = "repetition"
    words: int = Field(3, ge=1, description="How many words in a row make a phrase.")


def format_variables(config: FormatConfig) -> tuple[str, ...]:
    """Variables of the templates, each once."""
    reference = (config.reference or "") if isinstance(config, RegexConfig) else ""
    return tuple(dict.fromkeys((*variables(config.input), *variables(reference))))
