"""Runs the example with several seeds and prints the table of its README.

    python examples/rare_disease/table.py --data /path/to/rare_disease --seeds 3

For each seed: the warm start on 1,100 labels, RFT from it on the other 3,629 cases, and supervised
fine-tuning on all 4,729 labels. Nothing is taken from a cache. Intervals are 95 % bootstraps over
publications, paired where they are of a gain.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import rft_core.api as rft

HERE = Path(__file__).parent
GRADERS = ("top1", "top5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="folder with train.jsonl and validation.jsonl")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 1")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override keys of run.yaml")
    arguments = parser.parse_args()
    print("| seed | | warm start | after RFT | gain, 95 % interval | warm-up and RFT | sft on all labels |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, arguments.seeds + 1):
            common = [f"vars.data={arguments.data.resolve()}", f"vars.seed={seed}", f"runs_dir={folder}"]
            start = time.monotonic()
            tuned = run("run.yaml", f"rft-{seed}", [*common, *arguments.set])
            seconds = time.monotonic() - start
            labelled = run("sft_all.yaml", f"sft-{seed}", common)
            before, after, gain = (tuned["validation"][k] for k in ("before", "after", "gain"))
            for number, name in enumerate(GRADERS):
                reached = labelled["validation"]["best"]["graders"][name]
                print(
                    f"| {seed if number == 0 else ''} | {name} | {shown(before['graders'][name])} "
                    f"| {shown(after['graders'][name])} | {shown(gain['graders'][name], '+')} "
                    f"| {f'{seconds:.0f} s' if number == 0 else ''} | {shown(reached)} |",
                    flush=True,
                )
    print("\n" + json.dumps({k: tuned["versions"][k] for k in ("rft-engine", "torch", "transformers", "python")}))


def run(file: str, name: str, overrides: list[str]) -> dict[str, Any]:
    return rft.run(HERE / file, overrides=overrides, name=name, use_cache=False)


def shown(values: dict[str, Any], sign: str = "") -> str:
    low, high = values["ci95"]
    return f"{values['mean']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


if __name__ == "__main__":
    main()
