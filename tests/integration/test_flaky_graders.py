"""Graders that fail now and then, and graders that are slow: what they cost a whole run, and what they do not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rft_core.storage import store
from rft_test_plugin.harness import ONE_THREAD, audit, engine, fast_run, summary, tiny_run

GRADER = """
import random, time
def grade(sample, item):
    text = sample["output_text"]
    if random.random() < {raises} + {raises_per_character} * len(text):
        raise ConnectionError("the service did not answer")
    if random.random() < {hangs}:
        time.sleep(1.0)
    return float("1" in text)
"""
KIND = "python_grader_runtime_error"
PYTHON_FILE = {"type": "python_file", "path": "grader.py:grade", "deterministic": False}


def put_grader(
    folder: Path, *, raises: float = 0.0, raises_per_character: float = 0.0, hangs: float = 0.0
) -> dict[str, Any]:
    """Write the grader that fails at these rates, and return its component."""
    folder.mkdir(parents=True, exist_ok=True)
    source = GRADER.format(raises=raises, raises_per_character=raises_per_character, hangs=hangs)
    (folder / "grader.py").write_text(source)
    return PYTHON_FILE


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def share_with_one(run_dir: Path, step: int) -> float:
    """Share of good answers to the validation rows, whether or not they were graded."""
    groups = store.from_table(store.read_table(run_dir / "rollouts" / f"validation-step-{step:06d}.parquet"))
    texts = [rollout.text for graded in groups for rollout in graded.group.rollouts]
    return sum("1" in text for text in texts) / len(texts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rates",
    [{}, {"raises": 0.12, "hangs": 0.004}, {"raises_per_character": 0.0125}],
    ids=["sound", "random", "by length"],
)
def test_a_flaky_grader_changes_nothing_that_is_learned(tmp_path: Path, rates: dict[str, float]) -> None:
    """15 % of failures, at random or more often on long answers: the policy gets as good as without, nothing that
    failed is trained on, and all of it is counted."""
    steps = 16
    run_file = tiny_run(
        tmp_path,
        processes=(),
        grader=put_grader(tmp_path, **rates),
        grading={"timeout_s": 0.5, "max_error_rate": 0.3},
        optimizer={"type": "policy_gradient", "learning_rate": 5e-3},
        training={"steps": steps, "batch_size": 8, "group_size": 8, "unit_size": 2},
        validation={"eval_interval": steps, "eval_samples": 4},
    )
    outcome = engine("run", run_file, "--name", "flaky", env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    run_dir = tmp_path / "runs" / "flaky"
    audit(run_dir)
    assert share_with_one(run_dir, 0) < 0.8
    assert share_with_one(run_dir, steps) > 0.9
    failed = sum(line.get(f"outcome/{kind}", 0) for line in lines_of(run_dir) for kind in ("grader_error", "timed_out"))
    values = summary(run_dir)
    assert sum(values["dropped"].get(kind, 0) for kind in ("grader_error", "timed_out")) == failed
    assert (0.05 if rates else 0.0) <= failed / values["rollouts"] <= (0.25 if rates else 0.0)


def test_half_of_the_grades_fail_until_the_grader_is_mended(tmp_path: Path) -> None:
    """The run stops with a checkpoint and a sentence; with the mended grader it is resumed to its end."""
    run_file = fast_run(tmp_path, processes=(), grader=put_grader(tmp_path, raises=0.5))
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 3, outcome.errors
    assert "of the grades of the last 3 steps failed, more than grading.max_error_rate = 20%" in outcome.errors
    assert f"then 'rft-engine resume {tmp_path / 'runs' / 'fast'}'" in outcome.errors
    run_dir = tmp_path / "runs" / "fast"
    assert (run_dir / "checkpoints" / "step-000003").is_dir()
    assert summary(run_dir)["status"] == "failed"
    put_grader(tmp_path)
    outcome = engine("resume", run_dir)
    assert outcome.code == 0, outcome.errors
    audit(run_dir)
    lines = lines_of(run_dir)
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert min(line["outcome/grader_error"] for line in lines[:3]) > 0
    assert not any("outcome/grader_error" in line for line in lines[3:])


@pytest.mark.parametrize(("rate_of_two", "code"), [(0.13, 0), (0.34, 3)])
def test_the_limit_is_for_each_grader(tmp_path: Path, rate_of_two: float, code: int) -> None:
    """Two graders that fail 13 % each lose more than a fifth of the grades, and neither is above the limit; one that
    fails a third is, and is named. Both are counted by name and kind."""
    grader = {
        "type": "multi",
        "graders": {
            "one": put_grader(tmp_path / "one", raises=0.13) | {"path": "one/grader.py:grade"},
            "two": put_grader(tmp_path / "two", raises=rate_of_two) | {"path": "two/grader.py:grade"},
        },
        "calculate_output": "(one + two) / 2",
    }
    training = {"steps": 3, "batch_size": 64, "group_size": 8, "unit_size": 8}
    outcome = engine("run", fast_run(tmp_path, processes=(), grader=grader, training=training), "--name", "fast")
    assert outcome.code == code, outcome.errors
    assert ("of the grades by 'two' of the last 3 steps failed, more than" in outcome.errors) == (code == 3)
    if code == 3:
        why = r"most often: two: .*ConnectionError: the service did not answer \(train\.jsonl:\d+\); read more with"
        assert re.search(why, outcome.errors), outcome.errors
        assert "--set training.steps=6'" in outcome.errors  # the run is at its end, so there is nothing else to resume
    lines = lines_of(tmp_path / "runs" / "fast")
    grades = sum(line["rollouts"] for line in lines)
    failed, one, two = (
        sum(line[key] for line in lines) / grades
        for key in ("outcome/grader_error", f"error/one/{KIND}", f"error/two/{KIND}")
    )
    assert max(one, two) < failed < one + two
    assert failed > 0.2 > one


def test_a_slow_grader_overlaps_with_sampling(tmp_path: Path) -> None:
    """A step takes no longer than with a free grader but for the last grades and a tenth; without overlap it would
    take 2.4 s longer, and with three groups in flight, whatever the setting, 3.2 s."""
    grade_s, best_s = 0.6, {}
    for delay_s in (0.0, grade_s):
        run_file = fast_run(
            tmp_path / str(delay_s),
            sampler={"type": "scripted", "delay_s": 0.05},
            grader={"type": "test_slow", "delay_s": delay_s},
            grading={"worker": {"concurrency": 8}},
            training={"steps": 4, "batch_size": 32, "group_size": 4, "unit_size": 1},
        )
        outcome = engine("run", run_file, "--name", "fast")
        assert outcome.code == 0, outcome.errors
        best_s[delay_s] = min(line["step_s"] for line in lines_of(tmp_path / str(delay_s) / "runs" / "fast"))
    assert best_s[grade_s] < 1.1 * best_s[0.0] + 2 * grade_s, "one grade cannot overlap; one more for a busy machine"
