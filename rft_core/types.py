"""The records that components exchange. Read this file first: it is the vocabulary of the project.

All records are frozen. Token ids are plain ints, log-probabilities are natural logarithms (nats)
rounded to float32, durations are seconds and end in `_s`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = Any
Row = Mapping[str, Json]
FinishReason = Literal["stop", "length"]
Needs = Literal["rollouts", "labels", "pairs"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One row of a data source."""

    key: str
    """Stable name of the row, unique in its source, for example `train.jsonl:17`."""
    index: int
    """Position in the source, from 0."""
    row: Row
    """The whole JSON row. `messages` is the prompt; graders see every key as `item.<key>`."""


class SamplingParams(BaseModel):
    """How completions are drawn. Shared by every sampler; its fields carry their usual meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, ge=0.0, le=100.0, description="0 means greedy decoding.")
    top_p: float = Field(
        1.0, gt=0.0, le=1.0, description="Nucleus sampling: keep the smallest set of tokens that holds this mass."
    )
    max_tokens: int = Field(256, ge=1, description="Most tokens in a completion.")
    stop: tuple[str, ...] = Field(
        (), description="Strings that end a completion; the match itself is cut off the text."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightRef:
    """Names one version of the policy's weights, and where to read it.

    Two references with equal digests name the same bits, wherever they lie.
    """

    run_id: str
    lineage: str
    """The line of updates the number counts along; a fork starts a new one."""
    number: int
    """Policy version: 0 is the policy before the first update."""
    digest: str
    """`rft_core.weights.digest_of` the tensors."""
    kind: Literal["full", "adapter"]
    """Whole weights, or a peft adapter over the model the sampler was built with."""
    path: str
    """A folder with `model.safetensors`, or `adapter_model.safetensors` and `adapter_config.json`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRef:
    """The model a run starts from, as a local Hugging Face folder."""

    path: Path
    """Folder with config.json, tokenizer files and safetensors weights."""
    device: str = "cpu"
    dtype: str = "float32"
    adapter: Path | None = None
    """A peft adapter to start from, when the run was forked from a LoRA run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of tokens with one author: the prompt, a completion, later a tool's answer."""

    role: str
    """`prompt`, `assistant` or `tool`."""
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    """Behaviour log-probability of each token, of the distribution it was drawn from; None if not sampled."""
    trained: bool = False
    """Whether the optimizer may learn from these tokens."""
    policy: int | None = None
    """Policy version that sampled them; None if not sampled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """What the policy did with one prompt."""

    ordinal: int
    """Ordinal of the draw in the run: which visit of which row this is."""
    sample: int
    """Index in the group, from 0."""
    seed: int
    segments: tuple[Segment, ...]
    text: str
    """The completion as text, as graders see it in `sample.output_text`."""
    finish_reason: FinishReason

    @property
    def completion_ids(self) -> tuple[int, ...]:
        """Token ids of all trained segments, in order."""
        return tuple(t for s in self.segments if s.trained for t in s.token_ids)

    @property
    def completion_tokens(self) -> int:
        return sum(len(s.token_ids) for s in self.segments if s.trained)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """All rollouts of one visit of one item."""

    ordinal: int
    item: Item
    rollouts: tuple[Rollout, ...]


class Outcome(StrEnum):
    """How a grade ended. Only SCORE and SAMPLE_INVALID carry a reward that is trained on."""

    SCORE = "score"
    ABSTAINED = "abstained"
    """The grader had no opinion (returned None)."""
    SAMPLE_INVALID = "sample_invalid"
    """The sample's own fault, such as JSON that does not parse: scores the grader's minimum."""
    GRADER_ERROR = "grader_error"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenUsage:
    """What a judge model read and wrote for a grade."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Those of the prompt that the endpoint had cached."""
    calls: int = 1

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            calls=self.calls + other.calls,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """The typed outcome of grading one rollout. Never a bare float: a failed grader is not a 0."""

    outcome: Outcome
    reward: float | None = None
    """Finite for SCORE and SAMPLE_INVALID, None otherwise."""
    error_kind: str | None = None
    """For errors: a flag of the OpenAI contract, such as `invalid_variable_error`."""
    message: str | None = None
    sub_rewards: Mapping[str, float] = field(default_factory=dict)
    """Per-grader scores of a `multi` grader."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Numbers a grader reports beside its score; they reach the curves."""
    details: Mapping[str, Json] = field(default_factory=dict)
    """Why, as JSON: a judge's steps, a program's output. Stored beside the rollout, at most 16 KiB."""
    usage: Mapping[str, TokenUsage] = field(default_factory=dict)
    """Tokens spent on this grade, by model."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Of a failed grade that others went into: the error kind of each that failed, by its name."""

    @property
    def failed(self) -> bool:
        """By the grader's fault, not the sample's."""
        return self.outcome in (Outcome.GRADER_ERROR, Outcome.TIMED_OUT)

    def __post_init__(self) -> None:
        scored = self.outcome in (Outcome.SCORE, Outcome.SAMPLE_INVALID)
        if scored != (self.reward is not None):
            raise ValueError(f"a grade with outcome {self.outcome} must {'' if scored else 'not '}have a reward")
        if self.reward is not None and not math.isfinite(self.reward):
            raise ValueError(f"a reward must be finite, got {self.reward}")

    @classmethod
    def score(
        cls,
        reward: float,
        *,
        sub_rewards: Mapping[str, float] | None = None,
        metrics: Mapping[str, float] | None = None,
        details: Mapping[str, Json] | None = None,
        usage: Mapping[str, TokenUsage] | None = None,
    ) -> Grade:
        """A grade that worked. `reward` must be finite; it is used as it is."""
        return cls(
            outcome=Outcome.SCORE,
            reward=float(reward),
            sub_rewards=sub_rewards or {},
            metrics=metrics or {},
            details=details or {},
            usage=usage or {},
        )

    @classmethod
    def abstained(cls, message: str | None = None) -> Grade:
        """The grader has no opinion: the rollout leaves its group's baseline and the update."""
        return cls(outcome=Outcome.ABSTAINED, message=message)

    @classmethod
    def invalid(cls, message: str, *, kind: str = "sample_parse_error", minimum: float = 0.0) -> Grade:
        """The sample itself is at fault: it scores the grader's minimum and is trained on."""
        return cls(outcome=Outcome.SAMPLE_INVALID, reward=minimum, error_kind=kind, message=message)

    @classmethod
    def error(cls, kind: str, message: str) -> Grade:
        """The grader failed: the rollout is not trained on."""
        return cls(outcome=Outcome.GRADER_ERROR, error_kind=kind, message=message)

    @classmethod
    def timed_out(cls, message: str) -> Grade:
        """The grader did not answer in time: the rollout is not trained on."""
        return cls(outcome=Outcome.TIMED_OUT, error_kind="timed_out", message=message)


@dataclass(frozen=True, kw_only=True, slots=True)
class GradedGroup:
    """A group and one grade per rollout, in the same order."""

    group: Group
    grades: tuple[Grade, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One prompt to sample from, once per seed."""

    ordinal: int
    messages: tuple[Mapping[str, Json], ...]
    tools: tuple[Mapping[str, Json], ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleUnit:
    """A piece of sampling work, computed whole by one worker. Asking again for the same unit is safe."""

    request_id: str
    """Digest of the content: equal ids name equal work."""
    run_id: str
    policy: WeightRef
    prompts: tuple[Prompt, ...]
    sampling: SamplingParams


@dataclass(frozen=True, kw_only=True, slots=True)
class Busy:
    """A stretch in which a component computed, by the clock of the process that waited for it."""

    kind: str
    start_s: float
    """`time.monotonic()` of the engine's host."""
    end_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledUnit:
    """The answer to a `SampleUnit`: one tuple of rollouts per prompt, in the order of its seeds."""

    request_id: str
    policy: int
    policy_digest: str
    groups: tuple[tuple[Rollout, ...], ...]
    busy: tuple[Busy, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GradeUnit:
    """Groups to grade, computed whole by one worker."""

    request_id: str
    run_id: str
    groups: tuple[Group, ...]
    timeout_s: float = 60.0
    """Longest one group may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradedUnit:
    """The answer to a `GradeUnit`: one tuple of grades per group, one grade per rollout, in order."""

    request_id: str
    grades: tuple[tuple[Grade, ...], ...]
    busy: tuple[Busy, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerInfo:
    """What a loaded sampler says about itself."""

    bitwise: bool
    """The same unit gives the same bits between equal fingerprints."""
    fingerprint: str
    """Build, instruction set and threads."""
    vocab_size: int
    max_context: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainBatch:
    """What one step hands to the optimizer: graded groups, or items for optimizers that need labels or pairs."""

    step: int
    """From 1."""
    total_steps: int
    groups: tuple[GradedGroup, ...] = ()
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """What an optimizer says about one step. On CPU equal batches give equal reports, to the bit."""

    metrics: Mapping[str, float]
    """By the field's usual names: loss, grad_norm, kl, entropy, clip_fraction, …"""
    trained_tokens: int
    policy: int
    """Policy version after the step."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rollouts the update left out, by kind."""
    alarms: tuple[str, ...] = ()
    """What looks wrong in this step though it counts, such as a loss without a gradient; one sentence each."""
