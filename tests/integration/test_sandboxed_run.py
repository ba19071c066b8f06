"""A run whose grader is Python code in the sandbox: the tier in force is on record, and `doctor` tells it."""

import json
from pathlib import Path
from typing import Any

import rft_core.api as rft
from rft_test_plugin.harness import audit, engine, fast_run, summary

EXAMPLE = Path(__file__).parents[2] / "examples" / "rare_disease"
PYTHON: dict[str, Any] = {
    "type": "python",
    "name": "length",
    "source": "def grade(sample, item):\n    return len(sample['output_text']) / 100\n",
}


def test_the_tier_in_force_is_recorded(tmp_path: Path) -> None:
    """In events.jsonl, from the worker that has it, also for a grader inside another one."""
    grader = {"type": "multi", "graders": {"mine": PYTHON}, "calculate_output": "mine"}
    outcome = engine("run", fast_run(tmp_path, grader=grader), "--name", "fast")
    assert outcome.code == 0, outcome.errors
    run_dir = tmp_path / "runs" / "fast"
    audit(run_dir)
    assert summary(run_dir)["spend"]["grades"] == 12 * 16 + 4 * 6 + 2 * 4
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    (started,) = [e for e in events if e["event"] == "worker_started" and e["worker"].startswith("grader")]
    (told,) = [check for check in json.loads(engine("doctor", "--json").output) if check["name"] == "sandbox"]
    assert started["mine.sandbox"] in ("bubblewrap", "namespaces", "landlock")
    assert f"in the tier {started['mine.sandbox']}" in told["message"]
    said = engine("doctor")
    assert (said.code, said.output.split()[0]) == (0, told["status"])


def test_the_grader_of_the_example_may_be_sandboxed() -> None:
    """`sandboxed.json` of the rare-disease example holds the code of its grader.py, and grades as that does."""
    function = {"type": "python_file", "path": str(EXAMPLE / "grader.py:grade")}
    assert json.loads((EXAMPLE / "sandboxed.json").read_text())["source"] == (EXAMPLE / "grader.py").read_text()
    for text, reward in (("A, B", 1.0), ("B, A", 0.5), ("B, B, B, B, A", 0.2), ("B", 0.0), ("B, C, D, E, F, A", 0.0)):
        grades = [rft.grade(grader, text, {"gene": "A"}) for grader in (EXAMPLE / "sandboxed.json", function)]
        assert [grade["reward"] for grade in grades] == [reward, reward]
