"""`run` refuses a grader that fails its check, before anything is made or loaded."""

import json
from pathlib import Path
from typing import Any

from rft_test_plugin.harness import engine, fast_run

EXACT = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}
CHECKED = {"check": True}


def begin(folder: Path, grader: dict[str, Any], *overrides: str) -> tuple[int, str, list[str]]:
    """Exit code, errors, and the verdicts."""
    run_file = fast_run(folder, grader=grader, grading=CHECKED, training={"steps": 1, "batch_size": 2, "group_size": 2})
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
    assert begin(tmp_path, {"type": "test_text_length"}, "data.train.path=validation.jsonl")[2] == ["bad"]


def test_a_grader_that_may_cost_money_is_not_asked(tmp_path: Path) -> None:
    code, errors, verdicts = begin(tmp_path, {"type": "test_noisy"})
    assert code == 0, errors
    assert verdicts == ["not asked: it may cost money"]
