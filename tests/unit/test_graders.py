"""string_check, text_similarity, multi, and what graders see of a sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rft_core import BuildContext, Grade, Grader, GraderSpec, Group, Item, Outcome, Rollout, TokenUsage
from rft_core.errors import BadReplyError, ConfigError
from rft_core.grading import sample_dict, sample_namespace
from rft_core.template import render
from rft_graders import rft_graders
from rft_graders.formula import MAX_DEPTH, parse
from rft_graders.multi import MultiGrader

SPECS: Mapping[str, GraderSpec] = {spec.name: spec for spec in rft_graders()}
ROW = {"messages": [{"role": "user", "content": "q"}], "answer": "42", "n": {"x": [7]}}


def rollout(text: str, sample: int = 0) -> Rollout:
    return Rollout(ordinal=0, sample=sample, seed=1, segments=(), text=text, finish_reason="stop")


def group(*texts: str, row: Mapping[str, Any] = ROW) -> Group:
    return Group(ordinal=0, item=Item(key="rows.jsonl:1", index=0, row=row), rollouts=tuple(map(rollout, texts)))


def build(raw: Mapping[str, Any]) -> Grader:
    spec = SPECS[raw["type"]]
    return spec.build(spec.config.model_validate(raw), BuildContext(base_dir=Path(), build_grader=build))


def string_check(
    text: str = "{{sample.output_text}}", reference: str = "{{item.answer}}", operation: str = "eq"
) -> dict[str, Any]:
    return {"type": "string_check", "name": "s", "input": text, "reference": reference, "operation": operation}


def similarity(reference: str = "{{item.answer}}") -> dict[str, Any]:
    return {
        "type": "text_similarity",
        "name": "t",
        "input": "{{sample.output_text}}",
        "reference": reference,
        "evaluation_metric": "fuzzy_match",
    }


def rewards(raw: Mapping[str, Any], *texts: str, row: Mapping[str, Any] = ROW) -> list[float | None]:
    return [grade.reward for grade in build(raw).grade(group(*texts, row=row))]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("eq", [1.0, 0.0, 0.0, 0.0]),
        ("ne", [0.0, 1.0, 1.0, 1.0]),
        ("like", [1.0, 1.0, 0.0, 0.0]),
        ("ilike", [1.0, 1.0, 1.0, 0.0]),
    ],
)
def test_string_check_operations(operation: str, expected: list[float]) -> None:
    """Equality is exact; `like` means that the input contains the reference; `ilike` ignores case."""
    assert rewards(string_check(reference="Ab%", operation=operation), "Ab%", " Ab% ", "xaB%x", "Abz") == expected


def test_text_similarity_is_wratio() -> None:
    """The contract's example pair scores 0.7556; equal texts 1, disjoint 0, and nearer scores higher."""
    raw = similarity("fuzzy wuzzy had no hair")
    example, equal, other, near = rewards(
        raw, "fuzzy wuzzy was a bear", "Fuzzy wuzzy had no hair!", "QQQ", "fuzzy wuzzy had no hat"
    )
    assert example == pytest.approx(0.7555555555555555)
    assert equal == 1.0
    assert other == 0.0
    assert near is not None
    assert 0.76 < near < 1.0


def test_openai_json_is_taken_verbatim() -> None:
    """`pass_threshold` is accepted, a missing name is filled in the same way every time, spaces in braces do not matter."""
    raw = {**similarity("{{ item.n.x[0] }}"), "pass_threshold": 0.8}
    del raw["name"]
    config = SPECS["text_similarity"].config.model_validate(raw)
    assert config.name == SPECS["text_similarity"].config.model_validate(raw).name  # type: ignore[attr-defined]
    assert config.name.startswith("grader-")  # type: ignore[attr-defined]
    assert SPECS["text_similarity"].variables(config) == ("sample.output_text", "item.n.x[0]")
    assert rewards(raw, "7") == [1.0]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (string_check(operation="neq"), "'eq', 'ne', 'like' or 'ilike'"),
        (string_check(reference="{{answer}}"), "must start with 'item.'"),
        ({**similarity(), "evaluation_metric": "rouge_6"}, "there is no metric 'rouge_6'; did you mean 'rouge_"),
        ({**string_check(), "refrence": "x"}, "Extra inputs"),
        ({"type": "multi", "graders": [string_check()], "calculate_output": "1"}, "object keyed by name"),
        ({"type": "multi", "graders": string_check(), "calculate_output": "1"}, "put it under a name"),
        ({"type": "multi", "graders": {}, "calculate_output": "1"}, "at least 1 item"),
        ({"type": "multi", "graders": {"a-b": string_check()}, "calculate_output": "1"}, "cannot be a name"),
        ({"type": "multi", "graders": {"max": string_check()}, "calculate_output": "1"}, "cannot be a name"),
        ({"type": "multi", "graders": {"a": {}}, "calculate_output": "a"}, "has no 'type'"),
        (
            {"type": "multi", "graders": {"a": {"type": "multi"}}, "calculate_output": "a"},
            "cannot stand inside another",
        ),
        ({"type": "multi", "graders": {"score": string_check()}, "calculate_output": "scor"}, "did you mean 'score'"),
        ({"type": "multi", "graders": {"a": string_check()}, "calculate_output": "a +"}, "it ends where"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(raw: dict[str, Any], says: str) -> None:
    """What can be known to be wrong before a run is refused when the settings are read."""
    with pytest.raises(ValidationError) as caught:
        SPECS[raw["type"]].config.model_validate(raw)
    assert says in str(caught.value)


def test_a_key_that_the_row_lacks_is_a_grader_error() -> None:
    """A fault of the data is not trained on: no reward, the contract's flag, and a sentence."""
    (grade,) = build(string_check(reference="{{item.anwser}}")).grade(group("42"))
    assert (grade.outcome, grade.error_kind, grade.reward) == (Outcome.GRADER_ERROR, "invalid_variable_error", None)
    assert "item.anwser" in (grade.message or "")


@pytest.mark.parametrize(
    "text", ["no json", "{'a': 1}", '{"answer": NaN}', '{"b": 1}', "[" * 100_000, "3", '{"answer": 1, "answer": 42}']
)
def test_json_that_the_sample_lacks_is_the_samples_fault(text: str) -> None:
    """A completion without the JSON that is graded scores the minimum, so that leaving it out never pays."""
    bad, good = build(string_check(text="{{sample.output_json.answer}}")).grade(group(text, '{"answer": 42}'))
    assert (bad.outcome, bad.error_kind, bad.reward) == (Outcome.SAMPLE_INVALID, "sample_parse_error", 0.0)
    assert good.reward == 1.0


def test_a_missing_tool_call_is_the_samples_fault() -> None:
    """Other parts of the sample that are missing are its fault as well."""
    (grade,) = build(string_check(text="{{sample.output_tools[0].function.name}}")).grade(group("x"))
    assert (grade.outcome, grade.error_kind, grade.reward) == (Outcome.SAMPLE_INVALID, "invalid_variable_error", 0.0)


def test_sample_namespace_has_the_shape_of_the_contract() -> None:
    """Templates and functions see the same sample; `output_json` is there only for JSON."""
    sample = sample_namespace(rollout('{"a": [1]}'))
    assert (
        render("{{sample.output_json.a[0]}} {{sample.choices[0].message.content}}", {"sample": sample})
        == '1 {"a": [1]}'
    )
    assert dict(sample) == sample_dict(rollout('{"a": [1]}'))
    assert sample["choices"][0]["finish_reason"] == "stop"
    assert "output_json" not in sample_dict(rollout("{"))
    assert len(sample_namespace(rollout("{"))) == 3


def test_a_completion_cannot_inject_a_template() -> None:
    """A completion that spells a variable stays text."""
    assert rewards(string_check(), "{{item.answer}}") == [0.0]


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("10 - 3 - 2", 5.0),
        ("16 / 4 / 2", 2.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-a ^ 2", -4.0),
        ("2 ^ -1", 0.5),
        ("--a", 2.0),
        ("+a", 2.0),
        ("1e-9 * 1E9 + .5 + 1.", 2.5),
        ("max(a, b) + min(a, b, -1)", 2.0),
        ("abs(0 - b) + floor(2.7) + ceil(2.1)", 8.0),
        ("exp(0) + sqrt(9) + log(exp(1))", 5.0),
        ("0.8*a+0.2*b", 2.2),
        ("a\n*\tb", 6.0),
    ],
)
def test_formula_values(formula: str, value: float) -> None:
    """Precedence, associativity, functions and number formats follow the grammar."""
    assert parse(formula).evaluate({"a": 2.0, "b": 3.0}) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("", "it ends where"),
        ("a b", "'b' stands where an operator or the end should"),
        ("2a", "'a' stands where"),
        ("a ** 2", "write \\^ for powers"),
        ("a % 2", "'%' is not part of the grammar"),
        ("a > 1", "'>' is not part of the grammar"),
        ("a if b else c", "'if' stands where"),
        ("(a", "it ends where '\\)' should"),
        ("a)", "'\\)' stands where"),
        ("max(a)", "max takes two or more arguments, not 1"),
        ("sqrt(a, b)", "sqrt takes one argument, not 2"),
        ("sqrt()", "stands where a number"),
        ("sqr(a)", "did you mean 'sqrt'"),
        ("max", "needs its argument"),
        ("__import__('os')", "there is no function|is not part of the grammar"),
        ("a.real", "is not part of the grammar"),
        ("1e999", "too large"),
        ("９", "is not part of the grammar"),
        ("(" * 5000 + "a" + ")" * 4000, "nested deeper"),
        ("-" * 5000 + "a", "nested deeper"),
        ("a^" * 4000 + "a", "nested deeper"),
        ("a+" * 6000 + "a", "the most is"),
    ],
)
def test_formula_errors_say_where(formula: str, says: str) -> None:
    """What the grammar does not produce is a ConfigError with a position, at any depth."""
    with pytest.raises(ConfigError, match=says):
        parse(formula)


def test_long_flat_formulas_are_fine() -> None:
    """Thousands of terms, and nesting up to the limit, need no deep stack."""
    assert parse("a+" * 4000 + "a").evaluate({"a": 1.0}) == 4001.0
    assert parse("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH).evaluate({"a": 1.0}) == 1.0


@given(st.text(alphabet="ab12.e+-*/^(), maxlogsqrt"))
def test_any_formula_has_a_finite_value_or_a_named_error(formula: str) -> None:
    """No text makes the parser or the evaluation fail in another way."""
    try:
        value = parse(formula).evaluate(dict.fromkeys(parse(formula).names, 0.5))
    except (ConfigError, ArithmeticError):
        return
    assert math.isfinite(value)


def multi(formula: str) -> dict[str, Any]:
    graders = {"exact": string_check(), "close": similarity(), "json": string_check(text="{{sample.output_json.a}}")}
    return {"type": "multi", "name": "m", "graders": graders, "calculate_output": formula}


def test_multi_combines_scores() -> None:
    """The formula sees each sub-grader's score by its key, and sub_rewards keeps them."""
    raw = {
        "type": "multi",
        "graders": {"exact": string_check(), "close": similarity()},
        "calculate_output": "0.75 * exact + 0.25 * close",
    }
    right, wrong = build(raw).grade(group("42", "zzz"))
    assert (right.outcome, right.reward, right.sub_rewards) == (Outcome.SCORE, 1.0, {"exact": 1.0, "close": 1.0})
    assert (wrong.reward, wrong.sub_rewards) == (0.0, {"exact": 0.0, "close": 0.0})
    assert set(SPECS["multi"].nested(SPECS["multi"].config.model_validate(raw))) == {"exact", "close"}


@pytest.mark.parametrize(
    "formula",
    [
        "1 / exact",
        "log(exact)",
        "sqrt(exact - 1)",
        "exp(1000 + exact)",
        "(0-2)^(exact+0.5)",
        "1e308*10*(exact+1)",
        "1/(1e308*1e10*(exact+1))",
    ],
)
def test_a_formula_without_value_is_not_trained_on(formula: str) -> None:
    """Division by zero, domain errors and overflow, also in the middle, are formula_parse_error with the scores kept."""
    raw = {"type": "multi", "graders": {"exact": string_check()}, "calculate_output": formula}
    (grade,) = build(raw).grade(group("wrong"))
    assert (grade.outcome, grade.error_kind, grade.reward) == (Outcome.GRADER_ERROR, "formula_parse_error", None)
    assert grade.sub_rewards == {"exact": 0.0}


@pytest.mark.parametrize("formula", ["1/0", "exact/(1-1)", "log(0)", "sqrt(0-1) * exact", "1e308*10", "(0-2)^0.5"])
def test_a_formula_that_never_has_a_value_is_refused(formula: str) -> None:
    """What reads no score and has no value would fail every grade of the run: refused before it starts."""
    raw = {"type": "multi", "graders": {"exact": string_check()}, "calculate_output": formula}
    with pytest.raises(ValidationError, match=r"it (has no value|divides by zero)"):
        build(raw)


def test_a_formula_cannot_reward_a_broken_sample() -> None:
    """`1 - x` of a sample that x cannot read is what the best x would give; other scores keep their credit."""
    parts = {"x": Fixed(Grade.invalid("no json")), "y": Fixed(Grade.score(0.5))}
    for formula, reward in (("1 - x", 0.0), ("y + x", 0.5), ("y - x", -0.5), ("y / (1 - x)", 0.5)):
        (grade,) = MultiGrader(parts, parse(formula)).grade(group("?"))
        assert (grade.outcome, grade.reward) == (Outcome.SAMPLE_INVALID, reward)


class Fixed:
    """A grader that always answers with the same grades."""

    def __init__(self, *grades: Grade) -> None:
        self._grades = grades
        self.closed = False

    def grade(self, group: Group) -> Sequence[Grade]:
        return self._grades

    def close(self) -> None:
        self.closed = True


SCORE = Grade.score(0.5, metrics={"len": 3.0})
JUDGED = Grade.score(
    0.5, sub_rewards={"style": 0.25}, details={"why": "short"}, usage={"judge": TokenUsage(prompt_tokens=7)}
)
ERROR = Grade.error("other_error", "broke")
TIMED_OUT = Grade.timed_out("slow")
ABSTAINED = Grade.abstained()
INVALID = Grade.invalid("bad json", minimum=-1.0)


@pytest.mark.parametrize(
    ("first", "second", "outcome", "kind", "reward", "sub_rewards"),
    [
        (SCORE, ERROR, Outcome.GRADER_ERROR, "other_error", None, {"a": 0.5}),
        (TIMED_OUT, SCORE, Outcome.TIMED_OUT, "timed_out", None, {"b": 0.5}),
        (ABSTAINED, ERROR, Outcome.GRADER_ERROR, "other_error", None, {}),
        (ABSTAINED, INVALID, Outcome.ABSTAINED, None, None, {"b": -1.0}),
        (SCORE, INVALID, Outcome.SAMPLE_INVALID, "sample_parse_error", -0.5, {"a": 0.5, "b": -1.0}),
        (SCORE, SCORE, Outcome.SCORE, None, 1.0, {"a": 0.5, "b": 0.5}),
    ],
)  # fmt: skip
def test_what_a_sub_grade_makes_of_the_whole(
    first: Grade, second: Grade, outcome: Outcome, kind: str | None, reward: float | None, sub_rewards: dict[str, float]
) -> None:
    """A failed sub-grader fails the grade, an invalid sample scores its minimum, and known scores are kept."""
    (grade,) = MultiGrader({"a": Fixed(first), "b": Fixed(second)}, parse("a + b")).grade(group("x"))
    assert (grade.outcome, grade.error_kind, grade.reward, grade.sub_rewards) == (outcome, kind, reward, sub_rewards)


def test_multi_keeps_metrics_and_closes_its_graders() -> None:
    """Metrics of sub-graders are told apart by their key; close reaches every sub-grader."""
    parts = {"a": Fixed(SCORE), "b": Fixed(SCORE)}
    grader = MultiGrader(parts, parse("a * b"))
    (grade,) = grader.grade(group("x"))
    assert grade.metrics == {"a/len": 3.0, "b/len": 3.0}
    grader.close()
    assert all(part.closed for part in parts.values())


def test_multi_keeps_what_judges_say_and_spend() -> None:
    """Sub-scores and details by the grader's key; the tokens of one model added up."""
    (grade,) = MultiGrader({"a": Fixed(JUDGED), "b": Fixed(JUDGED)}, parse("a + b")).grade(group("x"))
    assert grade.sub_rewards == {"a": 0.5, "b": 0.5, "a/style": 0.25, "b/style": 0.25}
    assert grade.details == {"a": {"why": "short"}, "b": {"why": "short"}}
    assert grade.usage == {"judge": TokenUsage(prompt_tokens=14, calls=2)}


def test_multi_names_every_grader_that_failed() -> None:
    """By their path, so that each is counted for itself; the grade carries the first one's kind and words."""
    down, slow = Grade.error("endpoint_down", "refused"), Grade.timed_out("too slow")
    inner = MultiGrader({"b": Fixed(down), "c": Fixed(SCORE)}, parse("b + c"))
    (grade,) = MultiGrader({"a": Fixed(slow), "i": inner, "s": Fixed(SCORE)}, parse("a + i + s")).grade(group("x"))
    assert grade.faults == {"a": "timed_out", "i/b": "endpoint_down"}
    assert (grade.outcome, grade.error_kind, grade.message) == (Outcome.TIMED_OUT, "timed_out", "a: too slow")


def test_a_sub_grader_that_miscounts_is_refused() -> None:
    """Two grades for one rollout are never zipped silently."""
    with pytest.raises(BadReplyError, match="'a' gave 2 grades for 1"):
        MultiGrader({"a": Fixed(SCORE, SCORE)}, parse("a")).grade(group("x"))


def test_multi_marks_samples_that_are_not_json() -> None:
    """In a real multi grader a completion that is not JSON keeps its other scores and the flag."""
    (grade,) = build(multi("exact + json")).grade(group("42"))
    assert (grade.outcome, grade.error_kind, grade.reward) == (Outcome.SAMPLE_INVALID, "sample_parse_error", 1.0)
