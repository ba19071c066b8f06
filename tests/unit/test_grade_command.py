"""`rft-engine grade`: one grade as people read it and as OpenAI's graders/run answers it, and files of cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from rft_core.errors import ConfigError
from rft_core.grader_run import FLAGS, grade_text
from rft_test_plugin.harness import engine

SIMILAR = {
    "type": "text_similarity",
    "name": "x",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
BEAR, HAIR = "fuzzy wuzzy was a bear", "fuzzy wuzzy had no hair"


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_the_object_is_the_contracts() -> None:
    """Reward, flags, usage and names stand where OpenAI's client reads them; the guide's own figure comes out."""
    answer = grade_text(SIMILAR, BEAR, {"answer": HAIR})
    assert answer["reward"] == 0.7555555555555555
    assert answer["sub_rewards"] == {}
    assert answer["model_grader_token_usage_per_model"] == {}
    metadata = answer["metadata"]
    assert (metadata["name"], metadata["type"]) == ("x", "text_similarity")
    assert (metadata["token_usage"], metadata["sampled_model_name"], metadata["scores"]) == (None, None, {})
    assert 0 < metadata["execution_time"] < 60
    assert set(FLAGS) <= set(metadata["errors"])
    assert not any(metadata["errors"].values())


def test_a_failed_grade_is_zero_with_its_flag() -> None:
    """What a run leaves out, graders/run answers with 0, one flag, and the details beside it."""
    answer = grade_text(SIMILAR, BEAR, {})
    errors = answer["metadata"]["errors"]
    assert answer["reward"] == 0.0
    assert [name for name, value in errors.items() if value is True] == ["invalid_variable_error"]
    assert "item has no 'answer'" in errors["invalid_variable_error_details"]


def test_a_multi_grader_tells_its_parts() -> None:
    """sub_rewards by key; a grader without a name gets one of OpenAI's kind."""
    answer = grade_text(
        {"type": "multi", "graders": {"a": SIMILAR}, "calculate_output": "2 * a"}, HAIR, {"answer": HAIR}
    )
    assert (answer["reward"], answer["sub_rewards"]) == (2.0, {"a": 1.0})
    assert answer["metadata"]["name"].startswith("grader-")
    assert len(answer["metadata"]["name"]) == len("grader-") + 12


def test_the_command(tmp_path: Path) -> None:
    """People get a few lines, --json the object; a failed grade and a wrong file are told by the exit code."""
    grader = write(tmp_path / "grader.json", SIMILAR)
    item = write(tmp_path / "item.json", {"answer": HAIR})
    said = engine("grade", "--grader", grader, "--item", item, "--sample", BEAR)
    assert (said.code, said.output.splitlines()[0]) == (0, "reward 0.756")
    (answer,) = engine("grade", "--grader", grader, "--item", item, "--sample", BEAR, "--json").events
    assert answer["reward"] == 0.7555555555555555
    failed = engine("grade", "--grader", grader, "--sample", BEAR)
    assert failed.code == 1
    assert "no reward: grader_error" in failed.output
    for arguments, sentence in (
        (["--grader", grader], "--sample TEXT"),
        (["--sample", "x"], "--grader FILE"),
        (["--grader", tmp_path / "none.json", "--sample", "x"], "cannot be read"),
        (["--grader", grader, "--item", write(tmp_path / "list.json", [1]), "--sample", "x"], "holds no JSON object"),
        (["--cases", grader, "--sample", "x"], "leave the other options out"),
    ):
        outcome = engine("grade", *arguments)
        assert outcome.code == 2, outcome
        assert sentence in outcome.errors
        assert "Traceback" not in outcome.errors


def test_cases_come_back_in_order(tmp_path: Path) -> None:
    """One object a line; a grader that cannot be built is a line with an error, and the rest is graded."""
    cases = [
        {"grader": SIMILAR, "item": {"answer": HAIR}, "model_sample": BEAR},
        {"grader": {**SIMILAR, "evaluation_metric": "no_such"}, "item": {}, "model_sample": BEAR},
        {"grader": SIMILAR, "item": {"answer": BEAR}, "model_sample": BEAR},
        *({"grader": SIMILAR, "item": item, "model_sample": BEAR} for item in ("x", 5, True, [], ["ab"], [["a", 1]])),
    ]
    file = tmp_path / "cases.jsonl"
    file.write_text("\n".join(map(json.dumps, cases)))
    outcome = engine("grade", "--cases", file)
    assert outcome.code == 1
    first, second, third, *rest = outcome.events
    assert (first["reward"], third["reward"]) == (0.7555555555555555, 1.0)
    assert "no_such" in second["error"]
    assert second["where"].endswith("line 2")
    assert all("the item must be a JSON object" in event["error"] for event in rest)
    assert len(rest) == 6


def test_cases_with_one_grader_share_it(tmp_path: Path) -> None:
    """A grader is built once for its settings, however its keys are ordered, so state that it keeps shows as in a
    run; more graders than stay open are built again; one whose calls hang is built anew."""
    (tmp_path / "counts.py").write_text(
        "import time\n\nseen = []\n\n\ndef grade(sample, item):\n    seen.append(1)\n"
        "    time.sleep(item.get('sleep', 0))\n    return 1 / len(seen)\n"
    )
    one = {"type": "python_file", "path": "counts.py:grade"}
    others = [{**one, "name": f"n{number}"} for number in range(4)]
    graders = [one, dict(reversed(one.items())), one, *others, one]
    cases = [{"grader": grader, "item": {}, "model_sample": "x"} for grader in graders]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    outcome = engine("grade", "--cases", tmp_path / "cases.jsonl")
    assert [event["reward"] for event in outcome.events] == [1, 1 / 2, 1 / 3, 1, 1, 1, 1, 1]
    cases = [{"grader": one, "item": {"sleep": 30}, "model_sample": "x"}] * 5 + [{"grader": one, "model_sample": "x"}]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    outcome = engine("grade", "--cases", tmp_path / "cases.jsonl", "--timeout", "0.2")
    assert [event["outcome"]["kind"] for event in outcome.events] == [*["timed_out"] * 5, "score"]


def test_a_wrong_grader_is_an_error_not_a_grade() -> None:
    with pytest.raises(ConfigError, match="evaluation_metric"):
        grade_text({**SIMILAR, "evaluation_metric": "no_such"}, "x")
