"""The conversion between records and messages loses nothing, and refuses what is no record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rft.v1 import common_pb2, grader_pb2, sampler_pb2
from rft_core.grading import without_tokens
from rft_core.remote import convert
from rft_core.types import (
    Busy,
    Grade,
    GradedUnit,
    GradeUnit,
    Group,
    Item,
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

TEXT = st.text(max_size=20)
INT = st.integers(0, 2**62)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
LEAF = st.none() | st.booleans() | st.integers() | FLOAT | TEXT


def objects(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """JSON objects with these values."""
    nested = st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
    )
    return st.dictionaries(TEXT, nested, max_size=4)


ROW = objects(LEAF | st.just("\ud800"))
TOKENS = st.lists(st.integers(0, 2**32 - 1), max_size=6).map(tuple)
LOGPROBS = st.lists(st.floats(max_value=0, width=32, allow_infinity=False), max_size=6).map(tuple)
SEGMENT = st.builds(
    Segment, role=TEXT, token_ids=TOKENS, logprobs=st.none() | LOGPROBS, trained=st.booleans(), policy=st.none() | INT
)
ROLLOUT = st.builds(
    Rollout,
    ordinal=INT,
    sample=INT,
    seed=st.integers(0, 2**64 - 1),
    segments=st.lists(SEGMENT | st.just(Segment(role="prompt", token_ids=(1, 2))), max_size=3).map(tuple),
    text=TEXT,
    finish_reason=st.sampled_from(["stop", "length"]),
)
ROLLOUTS = st.lists(ROLLOUT, max_size=4).map(tuple)
WEIGHTS = st.builds(
    WeightRef, run_id=TEXT, lineage=TEXT, number=INT, digest=TEXT, kind=st.sampled_from(["full", "adapter"]), path=TEXT
)
BUSY = st.lists(st.builds(Busy, kind=TEXT, start_s=FLOAT, end_s=FLOAT), max_size=2).map(tuple)
PROMPT = st.builds(
    Prompt,
    ordinal=INT,
    messages=st.lists(ROW, max_size=2).map(tuple),
    tools=st.lists(ROW, max_size=1).map(tuple),
    seeds=st.lists(st.integers(0, 2**64 - 1), max_size=3).map(tuple),
)
SAMPLING = st.builds(
    SamplingParams,
    temperature=st.floats(0, 100),
    top_p=st.floats(0, 1, exclude_min=True),
    max_tokens=st.integers(1, 2**31),
    stop=st.lists(TEXT, max_size=2).map(tuple),
)
COUNT = st.integers(0, 2**52)
NUMBERS = st.dictionaries(TEXT, FLOAT, max_size=2)
GRADE = st.one_of(
    st.builds(
        Grade.score,
        FLOAT,
        sub_rewards=NUMBERS,
        metrics=NUMBERS,
        details=objects(LEAF),
        usage=st.dictionaries(TEXT, st.builds(TokenUsage, prompt_tokens=COUNT, calls=COUNT), max_size=2),
    ),
    st.builds(Grade.abstained, st.none() | TEXT),
    st.builds(Grade.invalid, TEXT, kind=TEXT, minimum=FLOAT),
    st.builds(Grade.error, TEXT, TEXT),
    st.builds(Grade.timed_out, TEXT),
    st.builds(Grade, outcome=st.just(Outcome.TIMED_OUT), faults=st.dictionaries(TEXT, TEXT, max_size=2)),
)


GRADE_UNITS = st.builds(
    GradeUnit,
    request_id=TEXT,
    run_id=TEXT,
    groups=st.lists(
        st.builds(Group, ordinal=INT, item=st.builds(Item, key=TEXT, index=INT, row=ROW), rollouts=ROLLOUTS),
        max_size=2,
    ).map(tuple),
    timeout_s=FLOAT,
)


@given(
    st.builds(
        SampleUnit,
        request_id=TEXT,
        run_id=TEXT,
        policy=WEIGHTS,
        prompts=st.lists(PROMPT, max_size=3).map(tuple),
        sampling=SAMPLING,
    )
)
@settings(max_examples=60, deadline=None)
def test_sample_units_survive_the_wire(unit: SampleUnit) -> None:
    """A unit to sample is the same after its bytes were sent and read."""
    sent = convert.sample_request(unit, "digest").SerializeToString()
    assert convert.sample_unit(sampler_pb2.SampleRequest.FromString(sent)) == unit


@given(
    st.builds(
        SampledUnit,
        request_id=TEXT,
        policy=INT,
        policy_digest=TEXT,
        groups=st.lists(ROLLOUTS, max_size=3).map(tuple),
        busy=BUSY,
    )
)
@settings(max_examples=60, deadline=None)
def test_sampled_units_survive_the_wire(reply: SampledUnit) -> None:
    """Rollouts, with shared and unshared first segments, are the same after the wire."""
    sent = convert.sample_response(reply).SerializeToString()
    assert convert.sampled_unit(sampler_pb2.SampleResponse.FromString(sent)) == reply


@given(GRADE_UNITS)
@settings(max_examples=60, deadline=None)
def test_grade_units_survive_the_wire(unit: GradeUnit) -> None:
    """A unit to grade, rows of any JSON included, is the same after the wire."""
    sent = convert.grade_request(unit, "digest").SerializeToString()
    assert convert.grade_unit(grader_pb2.GradeRequest.FromString(sent)) == unit


@given(GRADE_UNITS)
@settings(max_examples=60, deadline=None)
def test_units_without_tokens_survive_the_wire(unit: GradeUnit) -> None:
    """All but the segments is the same after the wire, for a grader that needs no tokens."""
    sent = convert.grade_request(unit, "digest", needs_tokens=False).SerializeToString()
    assert convert.grade_unit(grader_pb2.GradeRequest.FromString(sent)) == without_tokens(unit)


@given(
    st.builds(
        GradedUnit,
        request_id=TEXT,
        grades=st.lists(st.lists(GRADE, max_size=3).map(tuple), max_size=3).map(tuple),
        busy=BUSY,
    )
)
@settings(max_examples=60, deadline=None)
def test_graded_units_survive_the_wire(reply: GradedUnit) -> None:
    """Grades of every outcome are the same after the wire."""
    sent = convert.grade_response(reply).SerializeToString()
    assert convert.graded_unit(grader_pb2.GradeResponse.FromString(sent)) == reply


def test_rewards_keep_their_bits() -> None:
    """Zeros of both signs stay what they are, in any order; a score with more than a reward keeps the rest. Where
    there is nothing else, rewards travel as numbers alone."""
    zeros = (Grade.score(0.0), Grade.score(-0.0), Grade.score(0.0))
    more = (Grade.score(1.0, metrics={"m": 2.0}), Grade.score(0.5))
    plain = (Grade.score(0.0), Grade.score(0.1), Grade.score(0.0))
    reply = GradedUnit(request_id="r", grades=(zeros, more, plain))
    message = convert.grade_response(reply)
    assert [len(group.rewards) for group in message.groups] == [0, 0, 3]
    found = convert.graded_unit(message)
    assert found == reply
    assert [str(grade.reward) for grade in found.grades[0]] == ["0.0", "-0.0", "0.0"]


def test_small_records_survive_the_wire() -> None:
    """Model references and sampler infos are the same after the wire."""
    for model in (
        ModelRef(path=Path("/m")),
        ModelRef(path=Path("/m"), device="cuda:1", dtype="bfloat16", adapter=Path("/a")),
    ):
        assert convert.model_from_proto(convert.model_to_proto(model)) == model
    info = SamplerInfo(bitwise=True, fingerprint="f", vocab_size=7, max_context=9)
    assert convert.info_from_proto(convert.info_to_proto(info)) == info


def test_every_outcome_has_a_number() -> None:
    """The enum of the wire and the one of the records have the same names."""
    assert set(grader_pb2.Outcome.keys()) == {"OUTCOME_UNSPECIFIED", *(f"OUTCOME_{o.name}" for o in Outcome)}


BAD_DETAILS = [
    *("[]", "[1]", "null", "3", '"text"', "{", "[" * 100_000),
    *('{"a": NaN}', '{"a": [-Infinity]}', '{"a": {"b": 1e999}}', '{"a": "\\ud800"}', '{"a": ' + "[" * 100_000 + "}"),
]
BAD_USAGE = [
    grader_pb2.TokenUsage(prompt_tokens=-1),
    grader_pb2.TokenUsage(completion_tokens=2**53),
    grader_pb2.TokenUsage(cached_tokens=2**63 - 1),
    grader_pb2.TokenUsage(calls=-(2**63)),
]


def scored(**fields: Any) -> grader_pb2.GradeResponse:
    grade = grader_pb2.Grade(outcome="OUTCOME_SCORE", reward=1, **fields)
    return grader_pb2.GradeResponse(groups=[grader_pb2.GradeGroup(grades=[grade])])


def texts(**fields: Any) -> grader_pb2.GradeRequest:
    """A request with one text, and some of its fields spoilt."""
    good = {"ordinals": [0], "samples": [0], "seeds": [0], "texts": ["t"], "finish_reasons": ["FINISH_REASON_STOP"]}
    group = grader_pb2.Group(item=grader_pb2.Item(row_json="{}"), texts=grader_pb2.RolloutTexts(**{**good, **fields}))
    return grader_pb2.GradeRequest(groups=[group])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (convert.weights_from_proto, common_pb2.WeightRef(digest="d")),
        (convert.rollouts_from_proto, common_pb2.RolloutGroup(rollouts=[common_pb2.Rollout()])),
        (
            convert.rollouts_from_proto,
            common_pb2.RolloutGroup(
                rollouts=[common_pb2.Rollout(finish_reason="FINISH_REASON_STOP", starts_with_shared=True)]
            ),
        ),
        (convert.grade_unit, texts(samples=[0, 1])),
        (convert.grade_unit, texts(finish_reasons=["FINISH_REASON_UNSPECIFIED"])),
        (convert.graded_unit, grader_pb2.GradeResponse(groups=[grader_pb2.GradeGroup(rewards=[1.0, float("nan")])])),
        (convert.graded_unit, grader_pb2.GradeResponse(groups=[grader_pb2.GradeGroup(rewards=[float("inf")])])),
        (
            convert.graded_unit,
            grader_pb2.GradeResponse(groups=[grader_pb2.GradeGroup(rewards=[1.0], grades=[grader_pb2.Grade()])]),
        ),
        (convert.graded_unit, grader_pb2.GradeResponse(groups=[grader_pb2.GradeGroup(grades=[grader_pb2.Grade()])])),
        (
            convert.graded_unit,
            grader_pb2.GradeResponse(
                groups=[grader_pb2.GradeGroup(grades=[grader_pb2.Grade(outcome="OUTCOME_SCORE", reward=float("nan"))])]
            ),
        ),
        (
            convert.graded_unit,
            grader_pb2.GradeResponse(
                groups=[
                    grader_pb2.GradeGroup(
                        grades=[grader_pb2.Grade(outcome="OUTCOME_SCORE", reward=1, metrics={"m": float("inf")})]
                    )
                ]
            ),
        ),
        *((convert.graded_unit, scored(details_json=text)) for text in BAD_DETAILS),
        *((convert.graded_unit, scored(usage={"m": used})) for used in BAD_USAGE),
        (convert.json_from_text, "[" * 100_000),
        (convert.json_from_text, "{"),
    ],
)
def test_what_is_no_record_is_refused(function: object, message: object) -> None:
    """Missing enums, rewards that are not finite and unreadable JSON raise ValueError, and nothing else."""
    with pytest.raises(ValueError, match=r"."):
        function(message)  # type: ignore[operator]


def test_sampling_settings_are_checked_on_arrival() -> None:
    """A request with impossible sampling settings does not become a unit."""
    message = sampler_pb2.SampleRequest(
        policy=common_pb2.WeightRef(kind="WEIGHT_KIND_FULL"), sampling=sampler_pb2.SamplingParams(top_p=7)
    )
    with pytest.raises(ValidationError):
        convert.sample_unit(message)


def test_prompt_tokens_travel_once() -> None:
    """16 rollouts of one prompt of 1,000 tokens cost little more than the prompt itself."""
    prompt = Segment(role="prompt", token_ids=tuple(range(100_000, 101_000)))
    rollouts = tuple(
        Rollout(ordinal=0, sample=i, seed=i, segments=(prompt,), text="", finish_reason="stop") for i in range(16)
    )
    message = common_pb2.RolloutGroup()
    convert.rollouts_to_proto(rollouts, message)
    assert message.ByteSize() < 4 * 1_000
    assert convert.rollouts_from_proto(message) == rollouts


def test_a_component_is_named_by_its_model_too() -> None:
    """Two stages of a run may ask one worker for the same sampler over different models: two components."""
    models = [
        None,
        ModelRef(path=Path("/a")),
        ModelRef(path=Path("/b")),
        ModelRef(path=Path("/a"), dtype="bfloat16"),
        ModelRef(path=Path("/a"), adapter=Path("/c")),
    ]
    digests = [convert.recipe_digest("component", model, seed) for model in models for seed in (0, 1)]
    assert len(set(digests)) == len(digests)
    assert digests[0] == convert.recipe_digest("component", None, 0)
