"""`rft-engine regrade`: a stored run under another grader, and under its own."""

import json
from pathlib import Path

import pytest

from rft_core.stats import rank_correlation
from rft_test_plugin.harness import engine, fast_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "grader.py").write_text("def grade(sample, item): return len(sample['output_text']) / 100\n")
    (folder / "inverted.py").write_text("def grade(sample, item): return 1 - len(sample['output_text']) / 100\n")
    (folder / "failing.py").write_text(
        "def grade(sample, item):\n    if item['answer'] == '3': raise ValueError('three')\n    return 0.5\n"
    )
    outcome = engine(
        "run",
        fast_run(folder, processes=(), grader={"type": "python_file", "path": "grader.py:grade"}),
        "--name",
        "a",
    )
    assert outcome.code == 0, outcome.errors
    for name in ("grader", "inverted", "failing"):
        (folder / f"{name}.json").write_text(json.dumps({"type": "python_file", "path": f"{name}.py:grade"}))
    return folder / "runs" / "a"


def test_the_same_grader_changes_nothing(run_dir: Path) -> None:
    """Every reward comes out again, with any number of workers."""
    grader = run_dir.parents[1] / "grader.json"
    outcome = engine("regrade", run_dir, "--grader", grader, "--workers", "2", "--json")
    assert outcome.code == 0, outcome.errors
    result = json.loads(outcome.output)
    assert (result["rollouts"], result["compared"], result["changed"]) == (192, 192, 0.0)
    assert (result["flipped_pairs"], result["groups_that_lose_their_spread"]) == (0.0, 0)
    assert result["rank_correlation"] == pytest.approx(1.0)
    assert [line["step"] for line in result["per_step"]] == list(range(1, 13))
    assert all(line["was"] == line["is"] for line in result["per_step"])


def test_an_inverted_grader_turns_every_pair_round(run_dir: Path) -> None:
    """Rank correlation −1, all pairs flipped, on some steps alone; the run is not touched."""
    before = sorted(p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.is_file())
    grader = run_dir.parents[1] / "inverted.json"
    result = json.loads(engine("regrade", run_dir, "--grader", grader, "--steps", "2-3", "--json").output)
    assert result["rollouts"] == 32
    assert result["flipped_pairs"] == 1.0
    assert result["rank_correlation"] == pytest.approx(-1.0)
    assert sorted(p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.is_file()) == before


def test_a_grader_that_fails_is_counted(run_dir: Path) -> None:
    """Failed grades are outcomes, not zeros; a constant one leaves groups without spread."""
    grader = run_dir.parents[1] / "failing.json"
    result = json.loads(engine("regrade", run_dir, "--grader", grader, "--json").output)
    assert result["outcomes"]["grader_error"] > 0
    assert result["outcomes"]["grader_error"] + result["outcomes"]["score"] == 192
    assert result["rank_correlation"] is None
    assert result["groups_that_lose_their_spread"] > 0
    assert "turned round" in engine("regrade", run_dir, "--grader", grader).output


def test_what_cannot_be_regraded(run_dir: Path, tmp_path: Path) -> None:
    """A folder that is no run, steps that are not stored, a range that is none: a sentence each."""
    grader = run_dir.parents[1] / "grader.json"
    for arguments, sentence in (
        ([tmp_path, "--grader", grader], "not a run directory"),
        ([run_dir, "--grader", grader, "--steps", "99"], "no train rollouts of step 99"),
        ([run_dir, "--grader", grader, "--steps", "5-x"], "takes a step or a range"),
        ([run_dir, "--grader", tmp_path / "none.json"], "cannot be read"),
    ):
        outcome = engine("regrade", *arguments)
        assert outcome.code == 2
        assert sentence in outcome.errors
        assert "Traceback" not in outcome.errors


def test_rank_correlation_equals_the_formula() -> None:
    """Ties share their mean rank: of ranks (1, 2.5, 2.5, 4) and (4, 1.5, 3, 1.5) it is −3.75 / 4.5."""
    assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) == 1.0
    assert rank_correlation([1, 2, 2, 3], [3, 1, 2, 1]) == pytest.approx(-3.75 / 4.5, abs=1e-12)
    assert rank_correlation([1, 1], [1, 2]) is None
    assert rank_correlation([1], [1]) is None
