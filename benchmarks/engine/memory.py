"""Resident memory of the engine over a million grades.

    python benchmarks/engine/memory.py --grades 1000000

A whole run through the command line, in a process of its own: a scripted sampler and a trivial grader, each in a
worker, an optimizer that moves 64 numbers, validation and checkpoints as in any run. Only the engine's process is
measured, after every step: what workers hold is theirs. The first tenth of the run is its warm-up. Growth is the
slope of a straight line through the rest, so that a single measurement decides nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import yaml

BATCH_SIZE, GROUP_SIZE = 32, 16
ROLLOUTS = BATCH_SIZE * GROUP_SIZE
WARM_UP = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grades", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(run_file(Path(folder), steps=max(20, options.grades // ROLLOUTS)))
    print(table(measured))


def run_file(folder: Path, steps: int) -> Path:
    """A run of `steps` steps of 512 rollouts, whose components take no time of their own."""
    for name, count in (("train", 1024), ("validation", 64)):
        rows = [{"messages": [{"role": "user", "content": f"{name} {i}"}], "answer": str(i)} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "name": "memory",
        "runs_dir": "runs",
        "model": {"type": "test_numbers"},
        "data": {split: {"type": "jsonl", "path": f"{split}.jsonl"} for split in ("train", "validation")},
        "sampling": {"max_tokens": 8},
        "sampler": {"type": "scripted"},
        "grader": {"type": "test_text_length"},
        "optimizer": {"type": "test_momentum"},
        "training": {"steps": steps, "batch_size": BATCH_SIZE, "group_size": GROUP_SIZE},
        "validation": {"eval_interval": max(1, steps // 20)},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def measure(path: Path) -> list[tuple[int, float]]:
    """Run it; grades so far and MiB of the engine's process, after each step."""
    engine = subprocess.Popen(
        [str(Path(sys.executable).with_name("rft-engine")), "run", str(path)],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    process, measured = psutil.Process(engine.pid), []
    assert engine.stdout is not None
    for line in engine.stdout:  # a JSON object an event, where the output is no terminal
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "step_finished":
            measured.append((event["step"] * ROLLOUTS, process.memory_info().rss / 2**20))
    if engine.wait() != 0:
        raise SystemExit(f"the run ended with {engine.returncode}")
    return measured


def growth(measured: list[tuple[int, float]]) -> float:
    """Bytes a grade after the warm-up."""
    grades, mib = np.array(measured[int(WARM_UP * len(measured)) :]).T
    return float(np.polyfit(grades, mib, 1)[0]) * 2**20


def table(measured: list[tuple[int, float]]) -> str:
    """Memory at some points of the run, and how fast it grew."""
    points = [measured[max(0, round(share * len(measured)) - 1)] for share in (WARM_UP, 0.25, 0.5, 0.75, 1.0)]
    rows = [
        "| " + " | ".join(["grades", *(f"{grades:,}" for grades, _ in points)]) + " |",
        "|" + "---|" * (1 + len(points)),
        "| " + " | ".join(["MiB", *(f"{mib:.1f}" for _, mib in points)]) + " |",
    ]
    return "\n".join([*rows, f"\n{growth(measured):+.1f} bytes a grade after the warm-up"])


if __name__ == "__main__":
    main()
