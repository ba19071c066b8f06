"""Every preset on the arithmetic example, several seeds each: what it reaches, how soon, and in what time.

    python benchmarks/learning/algorithms.py --seeds 5

For each seed one warm start, shared by all: the example's, twice as long. From it each algorithm trains for the same
number of steps, on the same rows, with the same settings but for those that stand in `WAYS`. Accuracy is greedy and
on 512 test rows that nothing else looks at; `steps to 0.8` is the first validation (256 other rows, every two steps)
at which it is reached. The teacher of `distillation` is the result of `grpo` with the same seed. `CPU` is the processor time of a whole run but for its
warm start, in seconds: runs go side by side, as many as `--jobs`, one thread each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import STEPS, accuracy, interval, train, warm_up

REACHED = 0.8

RIGHT = {
    "type": "string_check",
    "name": "right",
    "input": "{{sample.output_text}}$",
    "reference": "#{{item.answer}}$",
    "operation": "like",
}
SHORT = {"type": "length", "name": "short", "unit": "characters", "max": 24, "falloff": 8}
TWO_GRADERS = {
    "type": "multi",
    "name": "two",
    "graders": {"right": RIGHT, "short": SHORT},
    "calculate_output": "0.8 * right + 0.2 * short",
}
WAYS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dr_grpo": {},
    "bnpo": {},
    "dapo": {},
    "gspo": {},
    "cispo": {},
    "sapo": {},
    "rloo": {},
    "reinforce": {},
    "reinforce_pp": {},
    "reinforce_pp_baseline": {},
    "ppo": {"optimizer.critic": {"learning_rate": 1e-3, "threads": 1}},
    "maxrl": {},
    "gdpo": {"grader": TWO_GRADERS, "optimizer.advantage": {"weights": {"right": 1.0, "short": 0.25}}},
    "best_of_n": {},
    "distillation": {},
}
"""What is set beside `algorithm`."""


@dataclass(frozen=True, kw_only=True)
class Result:
    before: float
    after: float
    steps_to: int | None
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 1")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--only", action="append", choices=list(WAYS), help="only this algorithm; may be repeated")
    options = parser.parse_args()
    ways = options.only or list(WAYS)
    seeds = range(1, options.seeds + 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda seed: warm_up(folder, seed), seeds))
            pairs = [("grpo", seed) for seed in seeds]  # first: they are the teachers
            pairs += [(way, seed) for way in ways if way != "grpo" for seed in seeds]
            done = dict(zip(pairs, pool.map(lambda pair: run(folder, *pair), pairs), strict=True))
    print_table(ways, seeds, done)


def run(folder: Path, way: str, seed: int) -> Result:
    """One run, in a process of its own."""
    settings = {"optimizer.algorithm": way, **WAYS[way]}
    if way == "distillation":
        settings["optimizer.kl"] = {"reference": str(folder / f"grpo-{seed}")}
    run_dir = folder / f"{way}-{seed}"
    cpu_s = train(folder, run_dir.name, seed, settings)
    validated = range(0, STEPS + 1, 2)
    return Result(
        before=accuracy(run_dir, "test", 0),
        after=accuracy(run_dir, "test", STEPS),
        steps_to=next((step for step in validated if accuracy(run_dir, "validation", step) >= REACHED), None),
        cpu_s=cpu_s,
    )


def print_table(ways: Sequence[str], seeds: Sequence[int], done: Mapping[tuple[str, int], Result]) -> None:
    before = [done["grpo", seed].before for seed in seeds]
    print(f"Warm start: {interval(before)}; {len(before)} seeds, {STEPS} steps.\n")
    print(f"| algorithm | accuracy | gain | steps to {REACHED} | CPU |\n|---|---|---|---|---|")
    for way in ways:
        results = [done[way, seed] for seed in seeds]
        gains = [result.after - result.before for result in results]
        steps = [result.steps_to for result in results]
        told = ", ".join("never" if step is None else str(step) for step in steps)
        seconds = statistics.median(result.cpu_s for result in results)
        after = interval([result.after for result in results])
        print(f"| `{way}` | {after} | {interval(gains, sign=True)} | {told} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
