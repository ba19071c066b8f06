"""The control: GRPO on rewards that are drawn by lot, which must teach nothing.

    python benchmarks/learning/random_rewards.py --seeds 10

Rows, settings and warm starts are those of `algorithms.py`. `by lot` gives each rollout a reward from 0 to 1 that
depends on nothing; `right` is the example's grader, beside it to show what the test can see. Accuracy is that of
answers to 512 test rows, sampled at temperature 1, eight for each. The warm start works some of the rows out and guesses
at the others, so that a drift to either habit shows. Greedily it guesses at most rows, so that greedy answers show a
drift towards working out alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from algorithms import RIGHT
from runs import STEPS, accuracy, interval, train, warm_up

import rft_core.api as rft
from rft_tiny_llama.arithmetic import Arithmetic, ArithmeticConfig

LOTS = """import random

def grade(samples, item):
    lots = random.Random(SEED + str(item))
    return [lots.random() for _ in samples]
"""
WAYS = ("by lot", "right")
SAMPLES, TEST_ROWS = 8, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, from 1")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(name)
        write_test(folder / "test.jsonl")
        list(pool.map(lambda seed: warm_up(folder, seed), seeds))
        cases = [(way, seed) for way in WAYS for seed in seeds]
        done = dict(zip(cases, pool.map(lambda case: run(folder, *case), cases), strict=True))
    print(
        f"{len(seeds)} seeds, {STEPS} steps.\n\n| rewards | before | after | gain | gain, greedy |\n|---|---|---|---|---|"
    )
    for way in WAYS:
        before, after, greedy = zip(*(done[way, seed] for seed in seeds), strict=True)
        gain = interval([b - a for a, b in zip(before, after, strict=True)], sign=True)
        print(f"| {way} | {interval(before)} | {interval(after)} | {gain} | {interval(greedy, sign=True)} |")


def write_test(file: Path) -> None:
    """The rows of the example's test, as a file."""
    source = Arithmetic(ArithmeticConfig(digits=2, count=TEST_ROWS, split="test"))
    file.write_text("".join(json.dumps(source.item(i).row) + "\n" for i in range(TEST_ROWS)))


def run(folder: Path, way: str, seed: int) -> tuple[float, float, float]:
    """Accuracy of samples before and after one training, and what the greedy one gained."""
    run_dir = folder / f"{way.replace(' ', '-')}-{seed}"
    settings: dict[str, Any] = {}
    if way == "by lot":
        lots = folder / f"lots_{seed}.py"
        lots.write_text(f"SEED = '{seed}: '\n{LOTS}")
        settings["grader"] = {"type": "python_file", "path": f"{lots}:grade", "scope": "group"}
    train(folder, run_dir.name, seed, settings)
    sampled = rft.evaluate(run_dir, folder / "test.jsonl", grader=RIGHT, compare=True, samples=SAMPLES, temperature=1.0)
    greedy = accuracy(run_dir, "test", STEPS) - accuracy(run_dir, "test", 0)
    return sampled["base"]["reward_mean"], sampled["result"]["reward_mean"], greedy


if __name__ == "__main__":
    main()
