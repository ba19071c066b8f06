"""Converts between the records of `rft_core.types` and the messages of `rft.v1`, both ways, without loss.

`x_to_proto` fills a message, `x_from_proto` makes a record and raises ValueError for a message that
no record corresponds to. JSON values travel as JSON text; the tokens of a prompt travel once per
group. The tokens of a rollout are copied whole, never one by one in Python. What a grader that needs no
tokens is sent and answers travels as one list per field, which costs less than one message per rollout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from rft.v1 import common_pb2, grader_pb2, sampler_pb2, worker_pb2
from rft_core.canonical import canonical_json, digest
from rft_core.types import (
    Busy,
    FinishReason,
    Grade,
    GradedUnit,
    GradeUnit,
    Group,
    Item,
    Json,
    ModelRef,
    Outcome,
    Prompt,
    Rollout,
    SampledUnit,
    SamplerInfo,
    SampleUnit,
    SamplingParams,
    Segment,
    TokenUsage,
    WeightRef,
)

MAX_COUNT = 2**53
"""Whole numbers below this are the same in JSON, where they are doubles."""

_FINISH_TO_PROTO: dict[str, int] = {"stop": common_pb2.FINISH_REASON_STOP, "length": common_pb2.FINISH_REASON_LENGTH}
_FINISH_FROM_PROTO: dict[int, FinishReason] = {
    common_pb2.FINISH_REASON_STOP: "stop",
    common_pb2.FINISH_REASON_LENGTH: "length",
}
_OUTCOME_TO_PROTO = {outcome: grader_pb2.Outcome.Value(f"OUTCOME_{outcome.name}") for outcome in Outcome}
_OUTCOME_FROM_PROTO = {number: outcome for outcome, number in _OUTCOME_TO_PROTO.items()}


def json_to_text(value: Json) -> str:
    """ASCII JSON, so that strings of any content fit a protobuf string."""
    return _to_json(value)


_to_json = json.JSONEncoder(separators=(",", ":")).encode


def json_from_text(text: str) -> Any:
    """ValueError on bad JSON, also when it is nested too deep to read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None


def weights_to_proto(ref: WeightRef) -> common_pb2.WeightRef:
    kind = common_pb2.WEIGHT_KIND_FULL if ref.kind == "full" else common_pb2.WEIGHT_KIND_ADAPTER
    return common_pb2.WeightRef(
        run_id=ref.run_id, lineage=ref.lineage, number=ref.number, digest=ref.digest, kind=kind, path=ref.path
    )


def weights_from_proto(message: common_pb2.WeightRef) -> WeightRef:
    if message.kind == common_pb2.WEIGHT_KIND_UNSPECIFIED:
        raise ValueError("a weight reference has no kind")
    return WeightRef(
        run_id=message.run_id,
        lineage=message.lineage,
        number=message.number,
        digest=message.digest,
        kind="full" if message.kind == common_pb2.WEIGHT_KIND_FULL else "adapter",
        path=message.path,
    )


def model_to_proto(model: ModelRef) -> common_pb2.ModelRef:
    return common_pb2.ModelRef(
        path=str(model.path),
        device=model.device,
        dtype=model.dtype,
        adapter=None if model.adapter is None else str(model.adapter),
    )


def recipe_digest(component: str, model: ModelRef | None, seed: int) -> str:
    """Names a component as a worker builds it: its settings and provider, for which model, with which seed."""
    message = None if model is None else MessageToDict(model_to_proto(model))
    return digest([component, message, seed])


def model_from_proto(message: common_pb2.ModelRef) -> ModelRef:
    return ModelRef(
        path=Path(message.path),
        device=message.device,
        dtype=message.dtype,
        adapter=Path(message.adapter) if message.HasField("adapter") else None,
    )


def info_to_proto(info: SamplerInfo) -> worker_pb2.SamplerInfo:
    return worker_pb2.SamplerInfo(
        bitwise=info.bitwise, fingerprint=info.fingerprint, vocab_size=info.vocab_size, max_context=info.max_context
    )


def info_from_proto(message: worker_pb2.SamplerInfo) -> SamplerInfo:
    return SamplerInfo(
        bitwise=message.bitwise,
        fingerprint=message.fingerprint,
        vocab_size=message.vocab_size,
        max_context=message.max_context,
    )


def busy_to_proto(busy: Iterable[Busy]) -> list[common_pb2.Busy]:
    return [common_pb2.Busy(kind=b.kind, start_s=b.start_s, end_s=b.end_s) for b in busy]


def busy_from_proto(messages: Iterable[common_pb2.Busy]) -> tuple[Busy, ...]:
    return tuple(Busy(kind=m.kind, start_s=m.start_s, end_s=m.end_s) for m in messages)


def _segment_to_proto(segment: Segment, message: common_pb2.Segment) -> None:
    message.role = segment.role
    message.token_ids.extend(segment.token_ids)
    if segment.logprobs is not None:
        message.logprobs.SetInParent()
        message.logprobs.values.extend(segment.logprobs)
    message.trained = segment.trained
    if segment.policy is not None:
        message.policy = segment.policy


def _segment_from_proto(message: common_pb2.Segment) -> Segment:
    return Segment(
        role=message.role,
        token_ids=tuple(message.token_ids[:]),  # a slice is a list, made in half the time of an iteration
        logprobs=tuple(message.logprobs.values[:]) if message.HasField("logprobs") else None,
        trained=message.trained,
        policy=message.policy if message.HasField("policy") else None,
    )


def rollouts_to_proto(rollouts: Sequence[Rollout], message: common_pb2.RolloutGroup) -> None:
    """The first segment of the first rollout is sent once for all rollouts that start with it."""
    shared = rollouts[0].segments[0] if rollouts and rollouts[0].segments else None
    if shared is not None:
        _segment_to_proto(shared, message.shared)
    for rollout in rollouts:
        segments = rollout.segments
        starts = shared is not None and bool(segments) and (segments[0] is shared or segments[0] == shared)
        target = message.rollouts.add(
            ordinal=rollout.ordinal,
            sample=rollout.sample,
            seed=rollout.seed,
            text=rollout.text,
            finish_reason=_FINISH_TO_PROTO[rollout.finish_reason],
            starts_with_shared=starts,
        )
        for segment in segments[1:] if starts else segments:
            _segment_to_proto(segment, target.segments.add())


def rollouts_from_proto(message: common_pb2.RolloutGroup) -> tuple[Rollout, ...]:
    shared = (_segment_from_proto(message.shared),) if message.HasField("shared") else ()
    found = []
    for rollout in message.rollouts:
        own = tuple(map(_segment_from_proto, rollout.segments))
        if rollout.starts_with_shared and not shared:
            raise ValueError("a rollout has no first segment")
        found.append(
            Rollout(
                ordinal=rollout.ordinal,
                sample=rollout.sample,
                seed=rollout.seed,
                segments=shared + own if rollout.starts_with_shared else own,
                text=rollout.text,
                finish_reason=_finish_reason(rollout.finish_reason),
            )
        )
    return tuple(found)


def _finish_reason(number: int) -> FinishReason:
    found = _FINISH_FROM_PROTO.get(number)
    if found is None:
        raise ValueError("a rollout has no known finish reason")
    return found


def sample_request(unit: SampleUnit, component_digest: str) -> sampler_pb2.SampleRequest:
    sampling = unit.sampling
    return sampler_pb2.SampleRequest(
        request_id=unit.request_id,
        run_id=unit.run_id,
        component_digest=component_digest,
        policy=weights_to_proto(unit.policy),
        prompts=[
            sampler_pb2.Prompt(
                ordinal=prompt.ordinal,
                messages_json=json_to_text(_plain(prompt.messages)),
                tools_json=json_to_text(_plain(prompt.tools)),
                seeds=prompt.seeds,
            )
            for prompt in unit.prompts
        ],
        sampling=sampler_pb2.SamplingParams(
            temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens, stop=sampling.stop
        ),
    )


def _plain(mappings: Iterable[Mapping[str, Json]]) -> list[dict[str, Json]]:
    return [dict(mapping) for mapping in mappings]


def sample_unit(message: sampler_pb2.SampleRequest) -> SampleUnit:
    sampling = message.sampling
    return SampleUnit(
        request_id=message.request_id,
        run_id=message.run_id,
        policy=weights_from_proto(message.policy),
        prompts=tuple(
            Prompt(
                ordinal=prompt.ordinal,
                messages=tuple(json_from_text(prompt.messages_json)),
                tools=tuple(json_from_text(prompt.tools_json)),
                seeds=tuple(prompt.seeds),
            )
            for prompt in message.prompts
        ),
        sampling=SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop=tuple(sampling.stop),
        ),
    )


def sample_response(reply: SampledUnit) -> sampler_pb2.SampleResponse:
    message = sampler_pb2.SampleResponse(
        request_id=reply.request_id,
        policy=reply.policy,
        policy_digest=reply.policy_digest,
        busy=busy_to_proto(reply.busy),
    )
    for rollouts in reply.groups:
        rollouts_to_proto(rollouts, message.groups.add())
    return message


def sampled_unit(message: sampler_pb2.SampleResponse) -> SampledUnit:
    return SampledUnit(
        request_id=message.request_id,
        policy=message.policy,
        policy_digest=message.policy_digest,
        groups=tuple(map(rollouts_from_proto, message.groups)),
        busy=busy_from_proto(message.busy),
    )


def grade_request(unit: GradeUnit, component_digest: str, *, needs_tokens: bool = True) -> grader_pb2.GradeRequest:
    """The request for a grader that needs the tokens of the rollouts, or their texts alone."""
    message = grader_pb2.GradeRequest(
        request_id=unit.request_id, run_id=unit.run_id, component_digest=component_digest, timeout_s=unit.timeout_s
    )
    for group in unit.groups:
        item = group.item
        target = message.groups.add(
            ordinal=group.ordinal,
            item=grader_pb2.Item(key=item.key, index=item.index, row_json=json_to_text(dict(item.row))),
        )
        if needs_tokens:
            target.rollouts.SetInParent()
            rollouts_to_proto(group.rollouts, target.rollouts)
        else:
            _texts_to_proto(group.rollouts, target.texts)
    return message


def _texts_to_proto(rollouts: Sequence[Rollout], message: grader_pb2.RolloutTexts) -> None:
    message.SetInParent()
    if rollouts:
        ordinals, samples, seeds, texts, finish_reasons = zip(*map(_TEXT_COLUMNS, rollouts), strict=True)
        message.ordinals.extend(ordinals)
        message.samples.extend(samples)
        message.seeds.extend(seeds)
        message.texts.extend(texts)
        message.finish_reasons.extend(map(_FINISH_TO_PROTO.__getitem__, finish_reasons))  # type: ignore[arg-type] # ints


_TEXT_COLUMNS = attrgetter("ordinal", "sample", "seed", "text", "finish_reason")


def _texts_from_proto(message: grader_pb2.RolloutTexts) -> tuple[Rollout, ...]:
    """The rollouts of columns of equal lengths, ValueError else."""
    texts = message.texts[:]
    columns = (message.ordinals[:], message.samples[:], message.seeds[:], texts)
    finish_reasons = list(map(_FINISH_FROM_PROTO.get, message.finish_reasons))
    if any(len(column) != len(texts) for column in (*columns, finish_reasons)):
        raise ValueError("the columns of a group's rollouts have different lengths")
    if None in finish_reasons:
        raise ValueError("a rollout has no known finish reason")
    rollouts: tuple[Any, ...] = tuple(map(_TextRollout, *columns, finish_reasons))
    for rollout in rollouts:
        _set_class(rollout, Rollout)
    return rollouts


class _TextRollout:
    """A rollout without segments before it is a `Rollout`. A frozen class takes three times as long to fill its
    fields, and the rollouts of a unit were a quarter of what a worker spends on it; both have the same slots."""

    __slots__ = Rollout.__slots__

    def __init__(self, ordinal: int, sample: int, seed: int, text: str, finish_reason: FinishReason | None) -> None:
        self.ordinal = ordinal
        self.sample = sample
        self.seed = seed
        self.segments: tuple[Segment, ...] = ()
        self.text = text
        self.finish_reason = finish_reason


_set_class: Callable[[Any, type], None] = object.__dict__["__class__"].__set__
"""Sets the class of an object, past the frozen one's own `__setattr__`."""


def grade_unit(message: grader_pb2.GradeRequest) -> GradeUnit:
    return GradeUnit(
        request_id=message.request_id,
        run_id=message.run_id,
        groups=tuple(map(_group_from_proto, message.groups)),
        timeout_s=message.timeout_s,
    )


def _group_from_proto(message: grader_pb2.Group) -> Group:
    item = message.item
    of_texts = message.HasField("texts")
    return Group(
        ordinal=message.ordinal,
        item=Item(key=item.key, index=item.index, row=json_from_text(item.row_json)),
        rollouts=_texts_from_proto(message.texts) if of_texts else rollouts_from_proto(message.rollouts),
    )


def grade_response(reply: GradedUnit) -> grader_pb2.GradeResponse:
    return grader_pb2.GradeResponse(
        request_id=reply.request_id,
        groups=map(_grades_to_proto, reply.grades),
        busy=busy_to_proto(reply.busy),
    )


def graded_unit(message: grader_pb2.GradeResponse) -> GradedUnit:
    return GradedUnit(
        request_id=message.request_id,
        grades=tuple(map(_grades_from_proto, message.groups)),
        busy=busy_from_proto(message.busy),
    )


def _grades_to_proto(grades: Sequence[Grade]) -> grader_pb2.GradeGroup:
    different = {id(grade): grade for grade in grades}.values()  # a grader gives the same few frozen ones
    if all(map(_is_score_alone, different)):  # as nearly all are
        return grader_pb2.GradeGroup(rewards=[grade.reward for grade in grades])  # type: ignore[misc] # each has one
    return grader_pb2.GradeGroup(grades=map(_grade_to_proto, grades))


def _grades_from_proto(message: grader_pb2.GradeGroup) -> tuple[Grade, ...]:
    rewards = message.rewards[:]
    if not rewards:
        return tuple(map(_grade_from_proto, message.grades))
    if message.grades:
        raise ValueError("a group has both grades and rewards")
    of_reward = {reward: _score_alone(reward) for reward in set(rewards)}
    return tuple(map(of_reward.__getitem__, rewards))


def _is_score_alone(grade: Grade) -> bool:
    """Whether a grade is a score with its reward, and nothing else. -0.0 is not, as it equals another reward."""
    if grade.outcome is not Outcome.SCORE or grade.error_kind is not None or grade.message is not None:
        return False
    if grade.sub_rewards or grade.metrics or grade.details or grade.usage or grade.faults:
        return False
    return grade.reward != 0 or math.copysign(1.0, grade.reward) > 0


@lru_cache(maxsize=1024)
def _score_alone(reward: float) -> Grade:
    """A score, made once, as grades are frozen."""
    return Grade.score(reward)


def _grade_to_proto(grade: Grade) -> grader_pb2.Grade:
    return grader_pb2.Grade(
        outcome=_OUTCOME_TO_PROTO[grade.outcome],  # type: ignore[arg-type] # an int is what enums are at run time
        reward=grade.reward,
        error_kind=grade.error_kind,
        message=grade.message,
        sub_rewards=grade.sub_rewards,
        metrics=grade.metrics,
        details_json=json_to_text(dict(grade.details)) if grade.details else "",
        usage={model: grader_pb2.TokenUsage(**asdict(used)) for model, used in grade.usage.items()},
        faults=grade.faults,
    )


def _grade_from_proto(message: grader_pb2.Grade) -> Grade:
    outcome = _OUTCOME_FROM_PROTO.get(message.outcome)
    if outcome is None:
        raise ValueError("a grade has no known outcome")
    return Grade(
        outcome=outcome,
        reward=message.reward if message.HasField("reward") else None,
        error_kind=message.error_kind if message.HasField("error_kind") else None,
        message=message.message if message.HasField("message") else None,
        sub_rewards=_finite(message.sub_rewards),
        metrics=_finite(message.metrics),
        details=_details(message.details_json) if message.details_json else {},
        usage={model: _usage(model, used) for model, used in message.usage.items()},
        faults=dict(message.faults),
    )


def _details(text: str) -> dict[str, Json]:
    """A JSON object that can be stored: no NaN, no infinity, no broken text."""
    found = json_from_text(text)
    if not isinstance(found, dict):
        raise ValueError("a grade's details must be a JSON object")
    try:
        canonical_json(found)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
    return found


def _usage(model: str, message: grader_pb2.TokenUsage) -> TokenUsage:
    used = TokenUsage(
        prompt_tokens=message.prompt_tokens,
        completion_tokens=message.completion_tokens,
        cached_tokens=message.cached_tokens,
        calls=message.calls,
    )
    if not all(0 <= count < MAX_COUNT for count in asdict(used).values()):
        raise ValueError(f"the token counts of '{model}' are impossible")
    return used


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    found = dict(values)
    if any(v - v != 0 for v in found.values()):  # only for NaN and infinities
        raise ValueError("a grade's metrics must be finite")
    return found
