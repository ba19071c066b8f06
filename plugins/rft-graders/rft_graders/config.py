"""Settings of the graders: OpenAI's grader JSON, field by field.

Source: https://platform.openai.com/docs/api-reference/graders
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rft_core import ComponentConfig
from rft_core.canonical import digest
from rft_core.errors import nearest
from rft_core.template import variables
from rft_graders.formula import FUNCTIONS, NAME, parse

METRICS = ("fuzzy_match", "bleu", "gleu", "meteor", "cosine", *(f"rouge_{n}" for n in range(1, 6)), "rouge_l")


class GraderConfig(ComponentConfig):
    """What every grader of the contract has."""

    name: str = Field("", description="Shown in tables and curves; `grader-` and a digest of the settings if left out.")
    pass_threshold: float | None = Field(
        None, description="Accepted for the contract's sake; it does not change the reward."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and not raw.get("name"):
            return {**raw, "name": f"grader-{digest(dict(raw))[:12]}"}
        return raw


class CompareConfig(GraderConfig):
    """Two templates to compare."""

    input: str = Field(description="Template of the text to grade, such as {{sample.output_text}}.")
    reference: str = Field(description="Template of the text to compare with, such as {{item.answer}}.")

    @field_validator("input", "reference")
    @classmethod
    def _compiles(cls, template: str) -> str:
        variables(template)
        return template


class StringCheckConfig(CompareConfig):
    type: Literal["string_check"] = "string_check"
    operation: Literal["eq", "ne", "like", "ilike"] = Field(
        description="eq: equal, ne: different, like: input contains reference, ilike: the same without regard to case."
    )


class TextSimilarityConfig(CompareConfig):
    type: Literal["text_similarity"] = "text_similarity"
    evaluation_metric: str = Field(
        description="fuzzy_match, bleu, gleu, meteor, rouge_1 to rouge_5, rouge_l, or cosine, which needs an embedding endpoint."
    )
    embedding_base_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="For cosine: where an endpoint of OpenAI's form answers, such as http://127.0.0.1:8000/v1.",
    )
    embedding_model: str = Field("text-embedding-3-large", description="For cosine: the model to ask for.")
    api_key_env: str | None = Field(
        None, description="For cosine: the environment variable that holds the endpoint's key; null sends none."
    )

    @field_validator("evaluation_metric")
    @classmethod
    def _available(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"there is no metric '{metric}'{nearest(metric, METRICS)}")
        return metric

    @model_validator(mode="after")
    def _embeddings(self) -> TextSimilarityConfig:
        if self.evaluation_metric == "cosine" and self.embedding_base_url is None:
            raise ValueError(
                "the metric cosine compares embeddings: name an endpoint in embedding_base_url, or choose another metric"
            )
        if self.evaluation_metric != "cosine" and self.embedding_base_url is not None:
            raise ValueError(
                f"embedding_base_url is for the metric cosine, not {self.evaluation_metric}; leave one of them out"
            )
        return self


class MultiConfig(GraderConfig):
    type: Literal["multi"] = "multi"
    graders: dict[str, dict[str, Any]] = Field(
        min_length=1, description="Graders by the name they have in the formula."
    )
    calculate_output: str = Field(description="The formula, such as `0.8 * correct + 0.2 * style`.")

    @field_validator("graders", mode="before")
    @classmethod
    def _keyed(cls, graders: Any) -> Any:
        if isinstance(graders, list):
            raise ValueError('\'graders\' is an object keyed by name, not a list: write {"correct": {"type": ...}}')
        if isinstance(graders, Mapping) and isinstance(graders.get("type"), str):
            raise ValueError('\'graders\' holds one grader; put it under a name: {"correct": {"type": ...}}')
        return graders

    @field_validator("graders")
    @classmethod
    def _usable(cls, graders: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for key, grader in graders.items():
            if not NAME.fullmatch(key) or key in FUNCTIONS:
                raise ValueError(
                    f"'{key}' cannot be a name in the formula; use letters, digits and _, and no function's name"
                )
            if not isinstance(grader.get("type"), str):
                raise ValueError(f"the grader '{key}' has no 'type'")
            if grader["type"] == "multi":
                raise ValueError(
                    f"the grader '{key}' is a multi grader, which cannot stand inside another; write one formula over all graders"
                )
        return graders

    @model_validator(mode="after")
    def _formula(self) -> MultiConfig:
        names = parse(self.calculate_output).names
        for name in names:
            if name not in self.graders:
                raise ValueError(f"calculate_output: there is no grader named '{name}'{nearest(name, self.graders)}")
        return self


def template_variables(config: CompareConfig) -> tuple[str, ...]:
    """Variables of both templates, each once."""
    return tuple(dict.fromkeys((*variables(config.input), *variables(config.reference))))
