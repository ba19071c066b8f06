"""`run` refuses a grader that fails its check, before anything is made or loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from rft_test_plugin.harness import engine, fast_run

EXACT = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}
CHECKED = {"check": True}


def begin(folder: Path, grader: dict[str, Any], *overrides: str) -> tuple[int, str, list[str]]:
    """Exit code, errors, and the verdicts."""
    run_file = fast_run(
        folder, processes=(), grader=grader, grading=CHECKED, training={"steps": 1, "batch_size": 2, "group_size": 2}
    )
    arguments = [part for override in overrides for part in ("--set", override)]
    outcome = engine("run", run_file, *arguments, env={"RFT_CACHE_DIR": str(folder / "cache")})
    return outcome.code, outcome.errors, [e["verdict"] for e in outcome.events if e["event"] == "grader_checked"]


def test_a_bad_grader_is_refused_and_a_sound_one_is_not(tmp_path: Path) -> None:
    code, errors, verdicts = begin(tmp_path / "bad", {"type": "test_text_length"})
    assert (code, verdicts) == (2, ["bad"])
    assert "the grader 'test_text_length' fails its check:" in errors
    assert "grading.check=false" in errors
    assert not (tmp_path / "bad" / "runs").exists()
    code, errors, verdicts = begin(tmp_path / "bad", {"type": "test_text_length"}, "grading.check=false")
    assert (code, verdicts) == (0, []), errors
    code, errors, verdicts = begin(tmp_path / "sound", EXACT)
    assert (code, verdicts) == (0, ["sound"]), errors


def test_a_verdict_is_kept_until_the_grader_or_the_rows_change(tmp_path: Path) -> None:
    assert begin(tmp_path, {"type": "test_text_length"})[2] == ["bad"]
    (file,) = (tmp_path / "cache" / "checks").iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "findings": []}))
    assert begin(tmp_path, {"type": "test_text_length"})[2] == ["sound"], "it was not asked again"
    assert begin(tmp_path, {"type": "test_text_length"}, "data.train.path=test.jsonl")[2] == ["bad"]


def test_a_grader_that_may_cost_money_is_not_asked(tmp_path: Path) -> None:
    code, errors, verdicts = begin(tmp_path, {"type": "test_noisy"})
    assert code == 0, errors
    assert verdicts == ["not asked"]


def test_form_may_be_all_that_is_graded(tmp_path: Path) -> None:
    """A grader of form alone ignores the rows' answers, and that may be meant; so may a marked answer be short."""
    code, errors, verdicts = begin(tmp_path / "form", {"type": "length", "max": 40})
    assert (code, verdicts) == (0, ["sound"]), errors
    marked = {**EXACT, "input": "{{sample.output_text}}$", "reference": "#{{item.answer}}$", "operation": "like"}
    code, errors, verdicts = begin(tmp_path / "marked", marked)
    assert (code, verdicts) == (0, ["sound"]), errors


def test_a_target_in_the_run_file_says_how_a_right_answer_is_written(tmp_path: Path) -> None:
    """A form that nobody would guess is refused with what to do, and sound once the target says it."""
    code = "def grade(sample, item):\n    return float(sample['output_text'] == f\"<<{item['answer']}|{item['answer']}>>\")\n"
    (tmp_path / "grader.py").write_text(code)
    odd = {"type": "python_file", "path": "grader.py:grade"}
    found, errors, verdicts = begin(tmp_path, odd)
    assert (found, verdicts) == (2, ["bad"])
    assert "grading.target" in errors
    target = "grading.target=<<{{item.answer}}|{{item.answer}}>>"
    found, errors, verdicts = begin(tmp_path, odd, target)
    assert (found, verdicts) == (0, ["sound"]), errors


def test_few_rows_say_nothing(tmp_path: Path) -> None:
    grader = {"type": "test_text_length"}
    run_file = fast_run(
        tmp_path,
        processes=(),
        grader=grader,
        grading=CHECKED,
        training={"steps": 1, "batch_size": 2, "group_size": 2},
    )
    (tmp_path / "train.jsonl").write_text((tmp_path / "train.jsonl").read_text().splitlines()[0] + "\n")
    outcome = engine("run", run_file)
    assert outcome.code == 0, outcome.errors
    assert [e["reason"] for e in outcome.events if e["event"] == "grader_checked"] == ["1 rows are too few"]


def test_a_grader_that_fails_is_told_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "grader.py").write_text("def grade(sample, item):\n    return 'yes'\n")
    code, errors, _ = begin(tmp_path, {"type": "python_file", "path": "grader.py:grade"})
    assert code == 2
    assert "must be a number, got str 'yes'" in errors
    assert "Traceback" not in errors


def test_validate_refuses_what_run_refuses(tmp_path: Path) -> None:
    run_file = fast_run(tmp_path, processes=(), grader={"type": "test_text_length"}, grading=CHECKED)
    outcome = engine("validate", run_file)
    assert outcome.code == 2
    assert "fails its check" in outcome.errors + outcome.output


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_rows_without_what_the_templates_name(tmp_path: Path, split: str) -> None:
    """Found in all rows before the run directory is made, not when a step draws the row."""
    run_file = fast_run(tmp_path, processes=(), grader=EXACT)
    with (tmp_path / f"{split}.jsonl").open("a") as file:
        file.write(json.dumps({"messages": [{"role": "user", "content": "none"}]}) + "\n")
    outcome = engine("run", run_file)
    assert outcome.code == 2
    assert "{{item.answer}} is missing in 1 of" in outcome.errors
    assert not (tmp_path / "runs").exists()


def test_a_start_that_was_refused_leaves_its_name_free(tmp_path: Path) -> None:
    """Such as for a worker that is not there: the same command with the right setting starts the run."""
    run_file = fast_run(tmp_path)
    gone = engine("run", run_file, "--name", "one", "--set", "grading.worker.python=/nonexistent/python")
    assert gone.code != 0
    assert (tmp_path / "runs" / "one").exists(), "its logs can be read"
    assert engine("run", run_file, "--name", "one").code == 0
    assert "exists; resume it" in engine("run", run_file, "--name", "one").errors


def test_a_cache_that_cannot_be_written_refuses_no_run(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "checks").write_text("in the way")
    code, errors, verdicts = begin(tmp_path, EXACT)
    assert (code, verdicts) == (0, ["sound"]), errors
