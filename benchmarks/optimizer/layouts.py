"""This project's two layouts side by side: rows padded together, and rows one after the other in a stream.

    python benchmarks/optimizer/layouts.py --threads 1

The Llama of `speed.py`, 64 sequences in 8 groups, prompts of 64 tokens; completions all of 64 tokens, or of 4 to 124. Both
layouts in one process, taking turns; the ratio is the median over rounds. Prints Markdown.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ours_side import batch_of, build
from speed import CASES, prepare

UPDATES = 2
"""Per round and layout."""
PADDED, PACKED = False, True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| completions | padded s | packed s | rate: packed / padded (each round) |\n|---|---|---|---|")
    for lengths in ("64 tokens", "4 to 124 tokens"):
        with tempfile.TemporaryDirectory() as folder:
            workload = workload_of(Path(folder), options.threads, ragged=lengths != "64 tokens")
            rounds = measure(Path(folder), workload, options.rounds)
        padded, packed = (statistics.median(took[layout] for took in rounds) for layout in (PADDED, PACKED))
        ratios = [took[PADDED] / took[PACKED] for took in rounds]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {lengths} | {padded:.2f} | {packed:.2f} | **{statistics.median(ratios):.2f}** ({each}) |", flush=True)


def workload_of(folder: Path, threads: int, *, ragged: bool) -> dict[str, Any]:
    trl = {"trl_rows": None, "checkpointing": False}
    workload = prepare(folder, CASES["llama-fp32"], trl, threads, packing=True)
    if ragged:
        draw = random.Random(1)
        sizes = [draw.randint(4, 124) for _ in workload["completions"]]
        workload["completions"] = [[draw.randrange(2, 4096) for _ in range(size)] for size in sizes]
    return workload


def measure(folder: Path, workload: dict[str, Any], rounds: int) -> list[dict[bool, float]]:
    """Seconds of an update by layout, per round, after one that warms up; each is first by turns."""
    batch = batch_of(workload)
    optimizers = {
        packing: build(folder, {**workload, "ours": {**workload["ours"], "packing": packing}})
        for packing in (PADDED, PACKED)
    }
    found: list[dict[bool, float]] = []
    for turn in range(rounds + 1):
        took = {}
        for packing in (PADDED, PACKED) if turn % 2 else (PACKED, PADDED):
            began = time.perf_counter()
            for _ in range(UPDATES):
                optimizers[packing].step(batch)
            took[packing] = (time.perf_counter() - began) / UPDATES
        found.append(took)
    return found[1:]


if __name__ == "__main__":
    main()
