"""Settings of the graders that ask a judge model: OpenAI's grader JSON, and keys of ours beside it.

Source: https://platform.openai.com/docs/api-reference/graders
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rft_core import ComponentConfig
from rft_core.canonical import digest
from rft_core.errors import nearest
from rft_core.template import variables
from rft_graders_model.addresses import checked_url

TEXT_PARTS = ("input_text", "output_text", "text")


class GraderConfig(ComponentConfig):
    """What every grader of the contract has. A key that is null counts as left out, as in OpenAI's client."""

    name: str = Field("", description="Shown in tables and curves; `grader-` and a digest of the settings if left out.")
    pass_threshold: float | None = Field(
        None, description="Accepted for the contract's sake; it does not change the reward."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        given = {key: value for key, value in raw.items() if value is not None}
        return given if given.get("name") else {**given, "name": f"grader-{digest(given)[:12]}"}


class Message(BaseModel):
    """A message to the judge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "developer", "user", "assistant"] = Field(
        description="Who speaks; `developer` is sent as `system`, which every server knows."
    )
    content: str = Field(
        description="Template. OpenAI's other forms are read too: a text part, or a list of texts and text parts (joined by line breaks)."
    )
    type: Literal["message"] = Field("message", description="Always `message`.")

    @field_validator("content", mode="before")
    @classmethod
    def _text(cls, content: Any) -> Any:
        parts = content if isinstance(content, list) else [content]
        return "\n".join(_part_text(part) for part in parts)

    @field_validator("content")
    @classmethod
    def _compiles(cls, content: str) -> str:
        variables(content)
        return content


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise ValueError("content is a string, a part such as {type: input_text, text: ...}, or a list of them")
    if part["type"] not in TEXT_PARTS:
        raise ValueError(
            f"a part of type '{part['type']}' cannot be sent to the judge: only text can, no images and no audio; "
            "remove the part, or describe it in text"
        )
    if not isinstance(part.get("text"), str):
        raise ValueError(f"a part of type '{part['type']}' needs a 'text'")
    return str(part["text"])


class JudgeSampling(BaseModel):
    """How the judge draws its answer, in OpenAI's words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(None, ge=0, le=2, description="Not for reasoning models.")
    top_p: float | None = Field(None, gt=0, le=1, description="Nucleus sampling.")
    seed: int | None = Field(None, description="Passed on; few endpoints promise anything for it.")
    max_completions_tokens: int | None = Field(None, ge=1, description="Most tokens of an answer, reasoning included.")
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="For reasoning models only."
    )


class Prices(BaseModel):
    """What the judge costs, in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0, description="Dollars per million tokens that it reads.")
    completion: float = Field(ge=0, description="Dollars per million tokens that it writes.")
    cached: float | None = Field(
        None,
        ge=0,
        description="Dollars per million tokens that it reads from its cache; those of `prompt` if left out.",
    )


class JudgeConfig(GraderConfig):
    """The judge, and how to call it. All keys but `model` and `sampling_params` are ours."""

    model: str = Field(min_length=1, description="The judge's name at its endpoint.")
    sampling_params: JudgeSampling = Field(default_factory=JudgeSampling, description="How the judge draws its answer.")
    base_url: str | None = Field(
        None,
        description="The endpoint up to `/v1`; by default the environment variable OPENAI_BASE_URL, else https://api.openai.com/v1.",
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable with the key, read where the grader runs. It must be set for OpenAI, and wherever this key is given.",
    )
    structured_output: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema",
        description="How the endpoint is told to answer in JSON. The last two also put the schema into the last message.",
    )
    token_limit_key: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens", description="What the endpoint calls `max_completions_tokens`."
    )
    concurrency: int = Field(32, ge=1, le=4096, description="Most calls at the same time, for each grader worker.")
    requests_per_minute: float | None = Field(None, gt=0, description="Most calls a minute, for each grader worker.")
    tokens_per_minute: float | None = Field(None, gt=0, description="Most tokens a minute, for each grader worker.")
    max_retries: int = Field(4, ge=0, le=20, description="Further tries of a call that may work when done again.")
    request_timeout_s: float = Field(60.0, gt=0, description="Longest one try may take.")
    prices: Prices | None = Field(None, description="Gives the metric `cost_usd`.")
    deterministic: bool = Field(
        False,
        description="Whether the same completion always gets the same grade; needs temperature 0 or a seed.",
    )

    @field_validator("base_url")
    @classmethod
    def _is_base(cls, url: str | None) -> str | None:
        return None if url is None else base_of(url)

    @model_validator(mode="after")
    def _may_be_deterministic(self) -> Self:
        sampling = self.sampling_params
        if self.deterministic and sampling.temperature != 0 and sampling.seed is None:
            raise ValueError(
                "deterministic: a judge that samples its answer is not; set sampling_params.temperature to 0 "
                "or sampling_params.seed, or remove the key"
            )
        return self

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables of all templates, each once."""
        return ()


def base_of(url: str) -> str:
    """A base URL without a slash at its end. ValueError, with a sentence, if it cannot be one."""
    base = checked_url(url).rstrip("/")
    if "?" in base:
        raise ValueError("base_url: a base URL has no query (what stands after '?'); remove it")
    if base.endswith("/chat/completions"):
        raise ValueError("base_url: leave '/chat/completions' off, it is added")
    return base


def checked_range(limits: tuple[float, float]) -> tuple[float, float]:
    """ValueError unless both ends are finite and in order."""
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"range: the lower end comes first and both are finite numbers, got [{low}, {high}]")
    return limits


class PromptedConfig(JudgeConfig):
    """A judge that is asked about one completion at a time."""

    input: tuple[Message, ...] = Field(min_length=1, description="The messages to the judge.")

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables of all messages, each once."""
        return tuple(dict.fromkeys(name for message in self.input for name in variables(message.content)))


class ScoreModelConfig(PromptedConfig):
    type: Literal["score_model"] = "score_model"
    range: tuple[float, float] = Field(
        (0.0, 1.0), description="Lowest and highest score; what the judge gives beyond is clamped."
    )

    _range = field_validator("range")(checked_range)


class LabelModelConfig(PromptedConfig):
    type: Literal["label_model"] = "label_model"
    labels: tuple[str, ...] = Field(min_length=1, description="The labels that the judge chooses from.")
    passing_labels: tuple[str, ...] = Field(min_length=1, description="Those of `labels` that score 1.")

    @model_validator(mode="after")
    def _subset(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: a label stands twice; remove one")
        for label in self.passing_labels:
            if label not in self.labels:
                raise ValueError(f"passing_labels: there is no label '{label}'{nearest(label, self.labels)}")
        return self


class RankModelConfig(JudgeConfig):
    type: Literal["rank_model"] = "rank_model"
    rubric: str = Field(
        description="Template over the row of what makes a completion good, such as `Which answers {{item.question}} best?`"
    )
    reward: Literal["rank", "score"] = Field(
        "rank",
        description="rank: the place among the group, 1 for the best and 0 for the last. score: a number for each, given side by side.",
    )
    range: tuple[float, float] = Field((0.0, 1.0), description="For `reward: score`: lowest and highest score.")

    _range = field_validator("range")(checked_range)

    @field_validator("rubric")
    @classmethod
    def _over_the_row(cls, rubric: str) -> str:
        for name in variables(rubric):
            if not name.startswith("item."):
                raise ValueError(
                    f"rubric: {{{{{name}}}}} is of one completion, and the judge sees all of them; "
                    "use {{item.…}}, the completions are put below the rubric"
                )
        return rubric

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables of the rubric, each once."""
        return variables(self.rubric)
