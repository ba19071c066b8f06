"""Checks that a component's answer fits its request, and brings it to one form.

Run by the process that hosts a component, and again by the engine on what a worker sends, because a
worker may be broken or lie. What passes is the same to the bit whether it crossed the wire or not.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain

from rft_core.boundary import clean_text
from rft_core.canonical import canonical_json
from rft_core.errors import BadReplyError
from rft_core.types import (
    Grade,
    GradedUnit,
    GradeUnit,
    Json,
    Outcome,
    Prompt,
    Rollout,
    SampledUnit,
    SampleUnit,
    Segment,
    TokenUsage,
)

MAX_DETAILS = 16_384
"""Most characters of a grade's details."""
MAX_REWARD = 1e9
"""A reward of another size is a mistake, and its square would be infinite in float32."""
MAX_NUMBER = 1e100
MAX_LOGPROB = 1e-5
"""A log-softmax in float32 may exceed 0 by its rounding."""


def check_sampled(unit: SampleUnit, reply: SampledUnit, *, vocab_size: int) -> SampledUnit:
    """The reply, log-probabilities rounded to float32. BadReplyError if it does not fit the unit."""
    if not isinstance(reply, SampledUnit):
        raise BadReplyError(f"the sampler answered with a {type(reply).__name__}, not a SampledUnit")
    if reply.request_id != unit.request_id:
        raise BadReplyError(f"the sampler answered unit {reply.request_id} when asked for {unit.request_id}")
    if (reply.policy, reply.policy_digest) != (unit.policy.number, unit.policy.digest):
        raise BadReplyError(
            f"the sampler used policy {reply.policy} ({reply.policy_digest}) for a unit of policy {unit.policy.number} ({unit.policy.digest})"
        )
    if len(reply.groups) != len(unit.prompts):
        raise BadReplyError(f"the sampler answered {len(reply.groups)} groups to {len(unit.prompts)} prompts")
    for prompt, rollouts in zip(unit.prompts, reply.groups, strict=True):
        _check_group(unit, prompt, rollouts)
    # The rollouts of a group usually hold the same prompt object, which is looked at once.
    distinct = {
        id(segment): segment for rollouts in reply.groups for rollout in rollouts for segment in rollout.segments
    }
    segments = list(distinct.values())
    _check_tokens(segments, vocab_size)
    _check_text("".join(rollout.text for rollouts in reply.groups for rollout in rollouts))
    return reply if _check_logprobs(segments) else _rounded(reply)


def _check_group(unit: SampleUnit, prompt: Prompt, rollouts: Sequence[Rollout]) -> None:
    if len(rollouts) != len(prompt.seeds):
        raise BadReplyError(
            f"the sampler drew {len(rollouts)} rollouts of prompt {prompt.ordinal}, {len(prompt.seeds)} were asked for"
        )
    number, most = unit.policy.number, unit.sampling.max_tokens
    for index, (rollout, seed) in enumerate(zip(rollouts, prompt.seeds, strict=True)):
        if rollout.ordinal != prompt.ordinal or rollout.sample != index or rollout.seed != seed:
            raise BadReplyError(
                f"rollout {index} of prompt {prompt.ordinal} came back as rollout {rollout.sample} of prompt {rollout.ordinal} "
                f"with seed {rollout.seed} instead of {seed}"
            )
        if rollout.finish_reason not in ("stop", "length"):
            raise BadReplyError(
                f"rollout {index} of prompt {prompt.ordinal} has an unknown finish reason '{rollout.finish_reason}'"
            )
        for segment in rollout.segments:
            if segment.logprobs is not None and len(segment.logprobs) != len(segment.token_ids):
                raise BadReplyError(
                    f"rollout {index} of prompt {prompt.ordinal} has {len(segment.token_ids)} tokens "
                    f"and {len(segment.logprobs)} log-probabilities"
                )
            if segment.trained and (segment.logprobs is None or segment.policy != number):
                raise BadReplyError(
                    f"rollout {index} of prompt {prompt.ordinal} has trained tokens of policy {segment.policy} instead of {number}, "
                    "or without log-probabilities"
                )
            if segment.trained and len(segment.token_ids) > most:
                raise BadReplyError(
                    f"rollout {index} of prompt {prompt.ordinal} has {len(segment.token_ids)} tokens, max_tokens is {most}"
                )


def _check_tokens(segments: Sequence[Segment], vocab_size: int) -> None:
    tokens = list(chain.from_iterable(s.token_ids for s in segments))
    if set(map(type, tokens)) - {int} or set(map(type, (s.token_ids for s in segments))) - {tuple}:
        raise BadReplyError("token ids must be a tuple of ints, the reply has something else")
    if tokens and (min(tokens) < 0 or max(tokens) >= vocab_size):
        raise BadReplyError(
            f"token ids must be from 0 to {vocab_size - 1}, the reply has {min(tokens)} to {max(tokens)}"
        )


def _check_logprobs(segments: Sequence[Segment]) -> bool:
    """Whether all log-probabilities are float32 numbers already. BadReplyError if one is impossible."""
    import numpy as np  # here: grader workers need none of it, and start the sooner

    flat = list(chain.from_iterable(s.logprobs for s in segments if s.logprobs is not None))
    try:
        values = np.array(flat, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadReplyError(f"log-probabilities must be numbers: {error}") from None
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    bad = ~np.isfinite(rounded) | (rounded > MAX_LOGPROB)
    if bad.any():
        raise BadReplyError(f"a log-probability must be finite and at most 0, the reply has {values[bad][0]}")
    return bool((rounded == values).all()) and set(map(type, flat)) <= {float}


def _rounded(reply: SampledUnit) -> SampledUnit:
    def segment(old: Segment) -> Segment:
        if old.logprobs is None:
            return old
        return replace(old, logprobs=tuple(array("f", old.logprobs)))

    groups = tuple(
        tuple(replace(rollout, segments=tuple(map(segment, rollout.segments))) for rollout in rollouts)
        for rollouts in reply.groups
    )
    return replace(reply, groups=groups)


def _check_text(text: str) -> None:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise BadReplyError(f"a completion's text is not valid Unicode: {error}") from None


def check_graded(unit: GradeUnit, reply: GradedUnit) -> GradedUnit:
    """The reply of a grader worker, its grades settled, if it fits the unit; BadReplyError otherwise."""
    if reply.request_id != unit.request_id:
        raise BadReplyError(f"the grader answered unit {reply.request_id} when asked for {unit.request_id}")
    if len(reply.grades) != len(unit.groups):
        raise BadReplyError(f"the grader answered {len(reply.grades)} groups when {len(unit.groups)} were asked for")
    for group, grades in zip(unit.groups, reply.grades, strict=True):
        if len(grades) != len(group.rollouts):
            raise BadReplyError(
                f"the grader answered {len(grades)} grades to {len(group.rollouts)} rollouts of group {group.ordinal}"
            )
    return replace(reply, grades=tuple(settle_grades(grades, len(grades)) for grades in reply.grades))


def settle_grades(answer: object, rollouts: int) -> tuple[Grade, ...]:
    """What a grader returned for one group, as plain grades. BadReplyError if it is not one grade per rollout.

    A single grade that is malformed (not a Grade, a metric that is not finite) becomes an error grade.
    """
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        raise BadReplyError(f"a grader must return a list of grades, got a {type(answer).__name__}")
    if len(answer) != rollouts:
        raise BadReplyError(f"a grader must return one grade per rollout: got {len(answer)} for {rollouts}")
    different = {id(grade): grade for grade in answer}  # a grader gives the same few frozen grades again and again
    if all(map(_is_settled, different.values())):
        return tuple(answer)
    settled = {number: grade if _is_settled(grade) else _settled(grade) for number, grade in different.items()}
    return tuple(settled[id(grade)] for grade in answer)


def _is_settled(grade: object) -> bool:
    return (
        type(grade) is Grade
        and type(grade.outcome) is Outcome
        and (grade.reward is None or (type(grade.reward) is float and -MAX_REWARD <= grade.reward <= MAX_REWARD))
        and grade.message is None
        and not grade.sub_rewards
        and not grade.metrics
        and not grade.details
        and not grade.usage
        and not grade.faults
    )


def _settled(grade: object) -> Grade:
    if not isinstance(grade, Grade):
        return Grade.error("other_error", clean_text(f"a grader must return Grade objects, got {grade!r}", 200))
    try:
        return Grade(
            outcome=Outcome(grade.outcome),
            reward=None if grade.reward is None else _bounded("a reward", grade.reward, MAX_REWARD),
            error_kind=None if grade.error_kind is None else clean_text(str(grade.error_kind), 100),
            message=None if grade.message is None else clean_text(str(grade.message)),
            sub_rewards=_numbers(grade.sub_rewards),
            metrics=_numbers(grade.metrics),
            details=_details(grade.details),
            usage=_usage(grade.usage),
            faults={clean_text(str(name), 200): clean_text(str(kind), 100) for name, kind in grade.faults.items()},
        )
    except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        return Grade.error("other_error", clean_text(f"the grader returned a malformed grade: {error}"))


def _details(values: Mapping[str, Json]) -> Mapping[str, Json]:
    """As JSON that any process reads the same; what is too long is named by its size."""
    if not values:
        return {}
    text = canonical_json(dict(values)).decode()
    if len(text) > MAX_DETAILS:
        return {"left_out": f"{len(text)} characters of details; at most {MAX_DETAILS} are kept"}
    found: Mapping[str, Json] = json.loads(text)
    return found


def _usage(values: Mapping[str, TokenUsage]) -> dict[str, TokenUsage]:
    found = {}
    for model, used in values.items():
        counts = {name: int(count) for name, count in asdict(used).items()}
        if min(counts.values()) < 0 or max(counts.values()) >= 2**53:
            raise ValueError(f"the token counts of '{model}' are impossible: {counts}")
        found[clean_text(str(model), 200)] = TokenUsage(**counts)
    return found


def _numbers(values: Mapping[str, float]) -> dict[str, float]:
    return {
        (key := clean_text(str(name), 200)): _bounded(f"'{key}'", value, MAX_NUMBER) for name, value in values.items()
    }


def _bounded(what: str, value: float, most: float) -> float:
    """The number; ValueError if it is not finite, or so large that sums over a run would not be."""
    number = float(value)
    if not -most <= number <= most:
        raise ValueError(f"{what} must be a number of at most {most:g} in size, got {number:g}")
    return number
