"""Runs the example with several seeds and prints what came of each, as a Markdown table.

    python examples/arithmetic/seeds.py --seeds 5

Every run makes its own model and trains its own warm start: nothing is taken from a cache. The accuracy
is greedy, on the test rows, which neither stopping nor the choice of a checkpoint looked at.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import rft_core.api as rft

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 1")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override keys of the run file")
    arguments = parser.parse_args()
    print("| seed | warm start | after RFT | gain, 95 % interval | steps | warm-up and RFT | engine share |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, arguments.seeds + 1):
            start = time.monotonic()
            overrides = [f"vars.seed={seed}", f"runs_dir={folder}", *arguments.set]
            summary = rft.run(HERE / "run.yaml", overrides=overrides, name=f"seed-{seed}", use_cache=False)
            test = summary["test"]
            low, high = test["gain"]["ci95"]
            print(
                f"| {seed} | {test['before']['reward_mean']:.3f} | {test['after']['reward_mean']:.3f} "
                f"| {test['gain']['mean']:+.3f} [{low:+.3f}, {high:+.3f}] | {summary['steps']} "
                f"| {time.monotonic() - start:.0f} s | {summary['engine_share']:.1%} |",
                flush=True,
            )
            versions = summary["versions"]
    print("\n" + json.dumps({k: versions[k] for k in ("rft-engine", "torch", "transformers", "python")}))


if __name__ == "__main__":
    main()
