"""How much longer a step takes with a slow grader than with one that takes no time.

    python benchmarks/graders/overlap.py

Steps of 512 rollouts (64 prompts, 8 each), 3 s a grade, 64 grades in flight. The sampler is scripted: a unit of
sampling takes a fixed time, so that a step with a free grader takes as long as its sampling. Runs with the free and
with the slow grader take turns, through the whole engine: two workers, store, journal.

The bound is the least that any order of grading can add. Grades become possible when their unit of sampling
arrives, 64 can run at once, each takes 3 s; as all take the same time, first come, first served ends first. What
that schedule needs after the last unit arrived cannot overlap with sampling.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rft_core.api as rft

PROMPTS, GROUP_SIZE, IN_FLIGHT = 64, 8, 64
GRADER = "import time\ndef one(sample, item):\n    time.sleep({s})\n    return 1.0\n" + (
    "def all(samples, item):\n    time.sleep({s})\n    return [1.0] * len(samples)\n"
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """How the same 64 grades are kept in flight, and how fast their rollouts come."""

    name: str
    grader: dict[str, Any]
    worker: dict[str, Any]
    unit_size: int
    sample_s: float
    """Sampling time of the whole step."""


GROUPS = {"scope": "group", "path": "grader.py:all"}
"""Asks about all rollouts of a group at once, as judges do."""
CALLS = {"scope": "rollout", "path": "grader.py:one", "concurrency": IN_FLIGHT}
ONE_BY_ONE = {"scope": "rollout", "path": "grader.py:one"}
AT_ONCE = {"concurrency": IN_FLIGHT // GROUP_SIZE}
CASES = [
    Case(name="whole groups, 8 at once", grader=GROUPS, worker=AT_ONCE, unit_size=1, sample_s=38.4),
    Case(name="… in 2 workers", grader=GROUPS, worker={"count": 2, "concurrency": 4}, unit_size=1, sample_s=38.4),
    Case(name="… sampled faster than graded", grader=GROUPS, worker=AT_ONCE, unit_size=1, sample_s=6.4),
    Case(name="… in units of 32 prompts", grader=GROUPS, worker=AT_ONCE, unit_size=32, sample_s=38.4),
    Case(name="64 calls at once", grader=CALLS, worker={"concurrency": 64}, unit_size=1, sample_s=38.4),
    Case(name="64 groups, call by call", grader=ONE_BY_ONE, worker={"concurrency": 64}, unit_size=1, sample_s=38.4),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grade-s", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=1, help="steps with each grader, in turn")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="which, from 0")
    options = parser.parse_args()
    print("| grader | free | bound | slow | slow ÷ bound |\n|---|---|---|---|---|")
    for number in options.cases:
        case = CASES[number]
        free, slow = measure(case, options.grade_s, options.repeats)
        bound = free + cannot_overlap(case, free, options.grade_s)
        print(f"| {case.name} | {free:.1f} s | {bound:.1f} s | {slow:.1f} s | {slow / bound:.2f} |", flush=True)


def cannot_overlap(case: Case, sample_s: float, grade_s: float) -> float:
    """Seconds that grading needs at least after the last unit of sampling arrived."""
    units = PROMPTS // case.unit_size
    free_at = [0.0] * IN_FLIGHT
    for unit in range(1, units + 1):
        for _ in range(case.unit_size * GROUP_SIZE):
            start = max(heapq.heappop(free_at), sample_s * unit / units)
            heapq.heappush(free_at, start + grade_s)
    return max(free_at) - sample_s


def measure(case: Case, grade_s: float, repeats: int) -> tuple[float, float]:
    """Seconds of a step with the free and with the slow grader, medians over steps that take turns."""
    took: dict[float, list[float]] = {0.0: [], grade_s: []}
    for _ in range(repeats):
        for seconds, steps in took.items():
            steps.append(step_s(case, seconds))
    return statistics.median(took[0.0]), statistics.median(took[grade_s])


def step_s(case: Case, grade_s: float) -> float:
    """Seconds of one step of a run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [{"messages": [{"role": "user", "content": f"row {i}"}]} for i in range(PROMPTS)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "grader.py").write_text(GRADER.format(s=grade_s))
        delay_s = case.sample_s * case.unit_size / PROMPTS
        values = {
            "model": {"type": "test_numbers"},
            "runs_dir": "runs",
            "data": {"train": {"type": "jsonl", "path": "rows.jsonl"}},
            "sampler": {"type": "scripted", "delay_s": delay_s},
            "grader": {"type": "python_file", **case.grader},
            "grading": {"worker": case.worker},
            "optimizer": {"type": "test_momentum"},
            "training": {"steps": 1, "batch_size": PROMPTS, "group_size": GROUP_SIZE, "unit_size": case.unit_size},
        }
        (folder / "run.yaml").write_text(json.dumps(values))
        rft.run(folder / "run.yaml", overrides=[f"runs_dir={folder / 'runs'}"], name="step")
        return float(json.loads((folder / "runs" / "step" / "metrics.jsonl").read_text())["step_s"])


if __name__ == "__main__":
    main()
