"""regex, json_schema, xml_format, length and repetition: what they score, and what they refuse."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rft_core import BuildContext, Grade, Group, Item, Outcome, Rollout, Segment
from rft_core.errors import ConfigError
from rft_core.registry import Registry

REGISTRY = Registry.discover()
ROW = {"messages": [{"role": "user", "content": "q"}], "answer": "42"}


def grades(raw: Mapping[str, Any], *texts: str, tokens: int = 0) -> list[Grade]:
    grader = REGISTRY.build("grader", {"name": "g", **raw}, BuildContext(base_dir=Path()))
    segments = (Segment(role="assistant", token_ids=(1,) * tokens, trained=True),)
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=1, segments=segments, text=text, finish_reason="stop")
        for n, text in enumerate(texts)
    )
    return list(grader.grade(Group(ordinal=0, item=Item(key="k", index=0, row=ROW), rollouts=rollouts)))


def rewards(raw: Mapping[str, Any], *texts: str, tokens: int = 0) -> list[float | None]:
    return [grade.reward for grade in grades(raw, *texts, tokens=tokens)]


@pytest.mark.parametrize(
    ("settings", "texts", "expected"),
    [
        ({"pattern": r"\d+"}, ["a 1", "a"], [1.0, 0.0]),
        ({"pattern": r"\d+", "mode": "fullmatch"}, ["12", "12 "], [1.0, 0.0]),
        ({"pattern": "yes", "flags": ["ignorecase"]}, ["YES", "no"], [1.0, 0.0]),
        ({"pattern": "a.b", "flags": ["dotall"]}, ["a\nb"], [1.0]),
        ({"pattern": "^b$", "flags": ["multiline"]}, ["a\nb"], [1.0]),
        ({"pattern": "a b", "flags": ["verbose"]}, ["ab"], [1.0]),
        ({"pattern": r"^\w$", "flags": ["ascii"]}, ["é", "e"], [0.0, 1.0]),
        ({"pattern": r"a(b)?", "group": 1}, ["ab", "a"], [1.0, 0.0]),
        ({"pattern": r"is (\d+)", "group": 1, "reference": "{{item.answer}}"}, ["is 42", "is 4", "42"], [1.0, 0.0, 0.0]),
        ({"pattern": r"(?P<n>\d+)", "group": "n", "reference": "{{item.answer}}"}, ["42", "421"], [1.0, 0.0]),
        ({"pattern": r"\d+", "input": "{{item.answer}}"}, ["no digit"], [1.0]),
        ({"pattern": r"\d+", "reference": "{{sample.output_text}}"}, ["7", "a 7"], [1.0, 0.0]),
    ],
)  # fmt: skip
def test_regex_scores(settings: dict[str, Any], texts: list[str], expected: list[float]) -> None:
    """Search and fullmatch, flags by name, a group that must take part or be equal to a reference."""
    assert rewards({"type": "regex", **settings}, *texts) == expected


@pytest.mark.parametrize("pattern", [r"(a|aa)+$", r"(a|a)*$"])
def test_a_pattern_that_backtracks_is_timed_out(pattern: str) -> None:
    """It takes its time-out and no more, is an error and no 0, and the next sample is graded as ever."""
    start_s = time.monotonic()
    slow, quick = grades({"type": "regex", "pattern": pattern, "timeout_s": 0.2}, "a" * 45 + "!", "zzz")
    assert time.monotonic() - start_s < 5
    assert (slow.outcome, slow.error_kind, slow.reward) == (Outcome.TIMED_OUT, "timed_out", None)
    assert "longer than 0.2 s" in (slow.message or "")
    assert quick.outcome is Outcome.SCORE


@pytest.mark.parametrize(
    ("pattern", "one"),
    [
        (r"is (\d+)", True),
        (r"^(?P<answer>[A-D])$", True),
        (r"(?:a|b)c+", True),
        (r"[+*?]\+x*", True),
        (r"[]*+]x+", True),
        (r"a{3}", True),
        (r"\d+\.\d+", False),
        (r"(a|aa)+", False),
        (r"(a)?", False),
        (r"(?:ab){2,}", False),
        (r"(?=a+)b", False),
        (r"(a(?R))b", False),
        (r"(?i)a", False),
        (r"a+?", False),
        (r"(.+)\1z", False),
        (r"(a|a)(a|a)(a|a)(a|a)b", False),
        (r"(?P<x>a+)(?P=x)", False),
        (r"(?:abc){e<=1}", False),
        (r"[[a]b]+c*", False),
    ],
)
def test_which_patterns_need_no_clock(pattern: str, one: bool) -> None:
    """One repeat of one character at most, and no group that repeats, looks around or calls itself."""
    from rft_graders.pattern import has_one_repeat

    assert has_one_repeat(pattern) is one


@pytest.mark.parametrize(
    "pattern", [r"x*$", r"\w+!", r"(a|a|a)b+c", r"[ax]{1,}z", r"(?:x)y{0,9}z", r"^.*q$", r"(a|a)(a|a)(a|a)a+b"]
)
def test_a_pattern_without_clock_is_quick(pattern: str) -> None:
    """The texts that would hurt most take no time, at the length up to which no clock is used."""
    from rft_graders.pattern import QUICK_CHARS, has_one_repeat

    assert has_one_repeat(pattern)
    texts = [letter * QUICK_CHARS for letter in "axb"] + ["ab" * (QUICK_CHARS // 2)]
    start_s = time.monotonic()
    grades({"type": "regex", "pattern": pattern, "flags": ["ignorecase"]}, *texts)
    assert time.monotonic() - start_s < 5


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "whole", "share"),
    [
        ({"name": "Ada", "age": 36}, 1.0, 1.0),
        ({"name": "Ada", "age": -1}, 0.0, 0.5),
        ({"name": "Ada"}, 0.0, 0.5),
        ({"name": "ada", "age": "36"}, 0.0, 0.0),
        ({"name": "Ada", "age": 36, "extra": 1}, 0.0, 2 / 3),
        ({}, 0.0, 0.0),
        ([], 0.0, 0.0),
        ("Ada", 0.0, 0.0),
    ],
)
def test_json_schema_scores(value: Any, whole: float, share: float) -> None:
    """1 or 0, or the share of the properties; a value that is not wholly valid never gets 1."""
    raw = {"type": "json_schema", "schema": PERSON}
    assert rewards(raw, json.dumps(value)) == [whole]
    assert rewards({**raw, "partial": True}, json.dumps(value)) == [pytest.approx(share)]


@pytest.mark.parametrize("text", ["", "Ada", "{'name': 1}", '{"name": NaN}', "[" * 100_000, '```json\n{"a": 1}\n```'])
def test_text_that_is_no_json_is_the_samples_fault(text: str) -> None:
    """sample_parse_error with reward 0, whatever is wrong with the text."""
    (grade,) = grades({"type": "json_schema", "schema": PERSON}, text)
    assert (grade.outcome, grade.error_kind, grade.reward) == (Outcome.SAMPLE_INVALID, "sample_parse_error", 0.0)


def test_a_schema_cannot_hang_over_a_text() -> None:
    """Patterns inside a schema run in linear time."""
    raw = {"type": "json_schema", "schema": {"type": "string", "pattern": "^(a|aa)+$"}}
    start_s = time.monotonic()
    assert rewards(raw, json.dumps("a" * 5000 + "!")) == [0.0]
    assert time.monotonic() - start_s < 5


@pytest.mark.parametrize(
    ("settings", "texts", "expected"),
    [
        ({}, ["<think>a</think><answer>b</answer>", "<answer>b</answer><think>a</think>"], [1.0, 0.0]),
        ({}, ["<think> </think><answer>b</answer>", "<think>a<answer>b</answer>"], [0.0, 0.0]),
        ({}, ["<think>a</think><answer>b</answer><answer>c</answer>", "x <think>a</think> y <answer>b</answer> z"], [0.0, 1.0]),
        ({}, ["<think>a<answer>b</answer></think>"], [0.0]),
        ({"partial": True}, ["<think>a</think>", "<answer>b</answer>", "", "<answer>b</answer><think>a</think>"], [0.5, 0.5, 0.0, 0.5]),
        ({"nothing_else": True}, ["<think>a</think>\n<answer>b</answer>\n", "so <think>a</think><answer>b</answer>"], [1.0, 0.0]),
        ({"nothing_else": True}, ["<think>a</think> so <answer>b</answer>", "<think>a</think><answer>b</answer> so"], [0.0, 0.0]),
    ],
)  # fmt: skip
def test_xml_format_scores(settings: dict[str, Any], texts: list[str], expected: list[float]) -> None:
    """Order, once each, closed, not empty; shares; and text outside."""
    assert rewards({"type": "xml_format", "tags": ["think", "answer"], **settings}, *texts) == expected


@pytest.mark.parametrize(
    ("settings", "texts", "expected"),
    [
        ({"min": 2, "max": 3}, ["a", "a b", "a b c", "a b c d"], [0.0, 1.0, 1.0, 0.0]),
        ({"min": 2, "max": 3, "falloff": 2}, ["", "a", "a b c d", "a b c d e", "a b c d e f"], [0.0, 0.5, 0.5, 0.0, 0.0]),
        ({"unit": "characters", "max": 4, "falloff": 4}, ["", "abcd", "abcde", "abcdefgh"], [1.0, 1.0, 0.75, 0.0]),
    ],
)  # fmt: skip
def test_length_scores(settings: dict[str, Any], texts: list[str], expected: list[float]) -> None:
    """1 in the band, then down in a straight line."""
    assert rewards({"type": "length", **settings}, *texts) == expected


def test_length_of_tokens_is_that_of_the_sample() -> None:
    """Tokens are counted where they were sampled."""
    assert rewards({"type": "length", "unit": "tokens", "max": 5, "falloff": 10}, "one word", tokens=10) == [0.5]


def test_repetition_scores() -> None:
    """New phrases over all phrases, without regard to case; short texts repeat nothing."""
    raw = {"type": "repetition", "words": 2}
    assert rewards(raw, "a b c", "a b A B", "x x x x x", "x", "") == [1.0, pytest.approx(2 / 3), 0.25, 1.0, 1.0]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"type": "regex", "pattern": "a(b"}, r"the pattern cannot be read: missing \) at position 3"),
        ({"type": "regex", "pattern": "a", "group": 1}, "has 0 groups, so there is no group 1"),
        ({"type": "regex", "pattern": "(?P<name>a)", "group": "nam"}, "no group 'nam'; did you mean 'name'"),
        ({"type": "regex", "pattern": "a", "flags": ["i"]}, "ignorecase"),
        ({"type": "regex", "pattern": "a", "reference": "{{answer}}"}, "must start with 'item.'"),
        ({"type": "json_schema", "schema": {"type": "objct"}}, r"the schema\['type'\] is not valid: \"objct\""),
        ({"type": "json_schema", "schema": {"$ref": "#/nope"}}, "Pointer '/nope' does not exist"),
        ({"type": "json_schema", "schema": {"$ref": "http://127.0.0.1:1/x"}}, "put the part under [$]defs"),
        ({"type": "json_schema", "schema": {"$ref": "file:///etc/passwd"}}, "schemas are not fetched"),
        ({"type": "json_schema", "schema": {"pattern": "(?=a)"}}, "is not a \"regex\""),
        ({"type": "json_schema", "schema": {"type": "array"}, "partial": True}, "there are none"),
        ({"type": "xml_format", "tags": []}, "at least 1"),
        ({"type": "xml_format", "tags": ["<think>"]}, "write it without < and >"),
        ({"type": "xml_format", "tags": ["a", "a"]}, "stands twice"),
        ({"type": "length", "min": 5, "max": 4}, "no length can score 1"),
        ({"type": "length", "max": -1}, "greater than or equal to 0"),
        ({"type": "repetition", "words": 0}, "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_before_a_run(raw: dict[str, Any], says: str) -> None:
    """What can be known to be wrong is a ConfigError when the settings are read."""
    with pytest.raises(ConfigError, match=says):
        REGISTRY.configure("grader", {"name": "g", **raw}, where="grader")


def test_validation_knows_what_the_templates_read() -> None:
    """`variables` of each grader name what its templates refer to."""
    raw = {"type": "regex", "pattern": "a", "input": "{{item.text}}", "reference": "{{item.answer}}"}
    found, config = REGISTRY.configure("grader", raw, where="grader")
    assert found.spec.variables(config) == ("item.text", "item.answer")  # type: ignore[union-attr]
    found, config = REGISTRY.configure("grader", {"type": "length"}, where="grader")
    assert found.spec.variables(config) == ("sample.output_text",)  # type: ignore[union-attr]


def test_a_schema_that_refers_to_itself_is_no_trap() -> None:
    """Recursion over the value is fine; a schema that is only itself ends, one way or another."""
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}, "additionalProperties": False}
    assert rewards({"type": "json_schema", "schema": tree}, '{"child": {"child": {}}}', '{"child": 1}') == [1.0, 0.0]


def test_validation_errors_are_pydantics() -> None:
    """The settings classes refuse unknown keys like all others."""
    spec = REGISTRY.registered("grader", "repetition").spec
    with pytest.raises(ValidationError, match="Extra inputs"):
        spec.config.model_validate({"wrds": 3})  # type: ignore[union-attr]
