"""Grader JSON as OpenAI's contract gives it: it is taken verbatim, and has the values that the contract fixes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rft_core import BuildContext, Grade, Group, Item, Outcome, Rollout
from rft_core.errors import ConfigError
from rft_core.registry import Registry

REGISTRY = Registry.discover()
ROW = {
    "messages": [{"role": "user", "content": "..."}],
    "reference_answer": "fuzzy wuzzy had no hair",
    "ground_truth": {"date": "2026-11-24"},
    "nums": [1.0, True, None],
    "label": "Paris",
}


def grade(raw: str | dict[str, Any], text: str, row: dict[str, Any] = ROW) -> Grade:
    values = json.loads(raw) if isinstance(raw, str) else raw
    grader = REGISTRY.build("grader", values, BuildContext(base_dir=Path()), where="grader")
    rollout = Rollout(ordinal=0, sample=0, seed=1, segments=(), text=text, finish_reason="stop")
    (found,) = grader.grade(Group(ordinal=0, item=Item(key="k", index=0, row=row), rollouts=(rollout,)))
    grader.close()
    assert isinstance(found, Grade)
    return found


def string_check(operation: str, reference: str = "{{item.label}}", text: str = "{{sample.output_text}}") -> str:
    return json.dumps(
        {"type": "string_check", "name": "c", "input": text, "reference": reference, "operation": operation}
    )


@pytest.mark.parametrize(
    ("operation", "text", "reward"),
    [
        ("eq", "Paris", 1.0),
        ("eq", "paris", 0.0),
        ("eq", " Paris", 0.0),
        ("ne", "Paris", 0.0),
        ("ne", "paris", 1.0),
        ("like", "It is Paris.", 1.0),
        ("like", "It is paris.", 0.0),
        ("like", "Par", 0.0),
        ("ilike", "It is PARIS.", 1.0),
        ("ilike", "It is London.", 0.0),
    ],
)
def test_string_check(operation: str, text: str, reward: float) -> None:
    """Section 3.2: exact, case-sensitive but for ilike, containment of the reference in the input, no trimming."""
    assert grade(string_check(operation), text).reward == reward


def test_percent_is_no_wildcard_and_neq_no_operation() -> None:
    """Section 3.2: `%` is literal, and `neq` of the guide's text is not accepted."""
    assert grade(string_check("like", reference="%"), "Paris").reward == 0.0
    with pytest.raises(ConfigError, match="'eq', 'ne', 'like' or 'ilike'"):
        grade(string_check("neq"), "Paris")


TEXT_SIMILARITY = """{
  "type": "text_similarity",
  "name": "similar",
  "input": "{{ sample.output_text }}",
  "reference": "{{item.reference_answer}}",
  "pass_threshold": 0.8,
  "evaluation_metric": "fuzzy_match"
}"""


def test_the_real_responses_figure() -> None:
    """Section 3.3: the pair of the guide under WRatio gives what the service answered, to the last digit."""
    assert grade(TEXT_SIMILARITY, "fuzzy wuzzy was a bear").reward == 0.7555555555555555


@pytest.mark.parametrize(
    "metric", ["fuzzy_match", "bleu", "gleu", "meteor", *(f"rouge_{n}" for n in range(1, 6)), "rouge_l"]
)
def test_every_metric_of_the_contract(metric: str) -> None:
    """Section 3.3: 1 for equal long texts, about 0 for disjoint ones, the nearer answer above the farther, 0 to 1."""
    raw = {**json.loads(TEXT_SIMILARITY), "evaluation_metric": metric}
    row = {**ROW, "reference_answer": "one two three four five six seven eight nine ten"}
    texts = (row["reference_answer"], "one two three four five six nine", "some other thing", "QQQ")
    equal, near, far, none = (grade(raw, text, row).reward or 0.0 for text in texts)
    assert equal == pytest.approx(1.0, abs=1e-3)
    assert 1.0 >= equal > near > far >= none >= 0.0
    assert none == pytest.approx(0.0, abs=0.01)


def test_cosine_is_refused_without_an_endpoint() -> None:
    """Section 3.3: the metric of evals alone."""
    with pytest.raises(ConfigError, match=r"^grader: the metric cosine compares embeddings: name an endpoint"):
        grade({**json.loads(TEXT_SIMILARITY), "evaluation_metric": "cosine"}, "x")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{item.ground_truth.date}}", "2026-11-24"),
        ("{{ item.nums }}", "[1.0, true, null]"),
        ("{{item.nums[0]}} {{item.nums[1]}} {{item.nums[2]}}", "1.0 true null"),
        ("{{item.messages}}", '[{"role": "user", "content": "..."}]'),
    ],
)
def test_templates(template: str, text: str) -> None:
    """Section 3.1: nested access, whole objects and values other than strings, as JSON."""
    assert grade(string_check("eq", reference=template), text).reward == 1.0


def test_templates_of_the_samples_json() -> None:
    """Section 3.1: `sample.output_json.a.b` of a completion that is JSON, and of one that is not."""
    raw = string_check("eq", text="{{sample.output_json.a.b}}")
    assert grade(raw, '{"a": {"b": "Paris"}}').reward == 1.0
    wrong = grade(raw, "Paris")
    assert (wrong.outcome, wrong.error_kind) == (Outcome.SAMPLE_INVALID, "sample_parse_error")
    missing = grade(string_check("eq", reference="{{item.nope}}"), "Paris")
    assert (missing.outcome, missing.error_kind) == (Outcome.GRADER_ERROR, "invalid_variable_error")
    for bare in ("{{label}}", "{{row.label}}"):
        with pytest.raises(ConfigError, match=r"must start with 'item\.' or 'sample\.'"):
            grade(string_check("eq", reference=bare), "Paris")


MULTI = """{
  "type": "multi",
  "graders": {
    "exact": {"type": "string_check", "name": "another name", "input": "{{sample.output_text}}",
              "reference": "{{item.reference_answer}}", "operation": "eq"},
    "close": {"type": "text_similarity", "name": "close", "input": "{{sample.output_text}}",
              "reference": "{{item.reference_answer}}", "evaluation_metric": "fuzzy_match", "pass_threshold": 0.5},
    "unused": {"type": "string_check", "name": "u", "input": "a", "reference": "a", "operation": "eq"}
  },
  "calculate_output": "max(exact, 1e-9) + 0.5 * close ^ 2"
}"""


def test_multi() -> None:
    """Section 3.7: keys are the variables, scientific notation, `^`, a grader that the formula does not read."""
    found = grade(MULTI, "fuzzy wuzzy was a bear")
    assert found.reward == pytest.approx(1e-9 + 0.5 * 0.7555555555555555**2)
    assert found.sub_rewards == {"exact": 0.0, "close": 0.7555555555555555, "unused": 1.0}


def test_lists_and_multi_in_multi_are_refused() -> None:
    """Section 3.7: the API reference's list of graders is broken documentation; nesting is not allowed."""
    with pytest.raises(ConfigError, match="keyed by name, not a list"):
        grade({"type": "multi", "graders": [json.loads(string_check("eq"))], "calculate_output": "1"}, "x")
    with pytest.raises(ConfigError, match="cannot stand inside another"):
        grade({"type": "multi", "graders": {"m": json.loads(MULTI)}, "calculate_output": "m"}, "x")
