"""Time and memory of `rft-engine validate` on a file of 100,000 rows.

    python benchmarks/validate.py

Writes the file to a temporary folder and runs the command as a user would, five times.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = {
    "model": {"path": "not-needed"},
    "data": {"train": {"type": "jsonl", "path": "train.jsonl"}},
    "grader": {
        "type": "string_check",
        "name": "answer",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    },
    "optimizer": {"type": "policy_gradient"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "train.jsonl").open("w") as file:
            for i in range(arguments.rows):
                text = f"Question {i}: " + "what follows from this? " * 18
                row = {"messages": [{"role": "user", "content": text}], "answer": str(i), "source": {"page": i % 97}}
                file.write(json.dumps(row) + "\n")
        (folder / "run.yaml").write_text(json.dumps(RUN))
        command = [str(Path(sys.executable).with_name("rft-engine")), "validate", str(folder / "run.yaml")]
        times, peaks = [], []
        for _ in range(arguments.repeats):
            start = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status != 0:
                raise SystemExit(f"rft-engine validate failed with wait status {status}; run it by hand to see why")
            times.append(time.monotonic() - start)
            peaks.append(usage.ru_maxrss / 1024)
        size = (folder / "train.jsonl").stat().st_size / 2**20
    print("| rows | file | seconds: median (min–max) | peak memory |")
    print("|---|---|---|---|")
    print(
        f"| {arguments.rows:,} | {size:.0f} MiB | {statistics.median(times):.1f} ({min(times):.1f}–{max(times):.1f}) "
        f"| {max(peaks):.0f} MiB |"
    )


if __name__ == "__main__":
    main()
