"""Every preset on the arithmetic example, several seeds each: what it reaches, how soon, and in what time.

    python benchmarks/learning/algorithms.py --seeds 5

For each seed one warm start, shared by all: the example's, twice as long. From it each algorithm trains for the same
number of steps, on the same rows, with the same settings but for those that stand in `WAYS`. Accuracy is greedy and
on 512 test rows that nothing else looks at; `steps to 0.8` is the first validation (256 other rows, every two steps)
at which it is reached. `random rewards` is GRPO with a grader that draws lots: what it gains is chance. The teacher
of `distillation` is the result of `grpo` with the same seed. Runs go side by side, as many as `--jobs`, one thread
each, and the seconds are those of the RFT stage with as many others beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft_core.storage import store
from rft_core.storage.rundir import RunDir

HERE = Path(__file__).parent
RUN_FILE = HERE.parent.parent / "examples" / "arithmetic" / "run.yaml"
STEPS = 24
SETTINGS = (
    "sampler.worker={in_process: true, threads: 1}",
    "grading.worker={in_process: true}",
    "grading.check=false",
    "stages.warm-up.training.steps=480",
    f"stages.rft.training={{steps: {STEPS}, batch_size: 32, group_size: 16, unit_size: 32}}",
    "stages.rft.validation={eval_interval: 2, temperature: 0.0}",
    "checkpoints.interval=1000",
)
REACHED = 0.8
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t for so many seeds, two-sided 95 %."""

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
    "distillation": {"optimizer.kl": {"reference": "teacher"}},
    "random rewards": {"grader": {"type": "python_file", "path": "lots.py:grade"}},
}
"""What is set beside `algorithm`."""
LOTS = """import hashlib

def grade(sample, item):
    return hashlib.sha256((sample["output_text"] + str(item)).encode()).digest()[0] / 255
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    before: float
    after: float
    steps_to: int | None
    seconds: float


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
        (folder / "lots.py").write_text(LOTS)
        with ThreadPoolExecutor(options.jobs) as pool:
            # the warm start of a seed is made by its first run, which the others wait for
            first = dict(zip(seeds, pool.map(lambda seed: run(folder, "grpo", seed), seeds), strict=True))
            pairs = [(way, seed) for way in ways if way != "grpo" for seed in seeds]
            done = dict(zip(pairs, pool.map(lambda pair: run(folder, *pair), pairs), strict=True))
    done |= {("grpo", seed): result for seed, result in first.items()}
    print_table(ways, seeds, done)


def run(folder: Path, way: str, seed: int) -> Result:
    """One run, in a process of its own."""
    name = f"{way.replace(' ', '-')}-{seed}"
    settings = {key: value for key, value in WAYS[way].items()}
    if way == "distillation":
        settings["optimizer.kl"] = {"reference": str(folder / f"grpo-{seed}")}
    if way == "random rewards":
        settings["grader"] = {**settings["grader"], "path": f"{folder / 'lots.py'}:grade"}
    algorithm = "grpo" if way == "random rewards" else way
    overrides = [*SETTINGS, f"vars.seed={seed}", f"runs_dir={folder}", f"stages.rft.optimizer.algorithm={algorithm}"]
    overrides += [f"stages.rft.{key}={json.dumps(value)}" for key, value in settings.items()]
    command = [str(Path(sys.executable).with_name("rft-engine")), "run", str(RUN_FILE), "--name", name]
    for override in overrides:
        command += ["--set", override]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RFT_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{name} ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    summary = json.loads(done.stdout.splitlines()[-1])
    run_dir = folder / name
    validated = range(0, STEPS + 1, 2)
    return Result(
        before=accuracy(run_dir, "test", 0),
        after=accuracy(run_dir, "test", STEPS),
        steps_to=next((step for step in validated if accuracy(run_dir, "validation", step) >= REACHED), None),
        seconds=next(stage["wall_s"] for stage in summary["stages"] if stage["stage"] == "rft"),
    )


def accuracy(run_dir: Path, split: str, step: int) -> float:
    """Share of right answers among the stored ones, whatever the run's grader said of them."""
    right = [
        rollout.text.endswith(f"#{graded.group.item.row['answer']}")
        for graded in store.from_table(store.read_table(RunDir(run_dir).rollout_file(split, step)))
        for rollout in graded.group.rollouts
    ]
    return sum(right) / len(right)


def print_table(ways: Sequence[str], seeds: Sequence[int], done: dict[tuple[str, int], Result]) -> None:
    before = [done["grpo", seed].before for seed in seeds]
    print(f"Warm start: {interval(before)}; {len(before)} seeds, {STEPS} steps.\n")
    print(f"| algorithm | accuracy | gain | steps to {REACHED} | seconds |\n|---|---|---|---|---|")
    for way in ways:
        results = [done[way, seed] for seed in seeds]
        gains = [result.after - result.before for result in results]
        steps = [result.steps_to for result in results]
        told = ", ".join("never" if step is None else str(step) for step in steps)
        seconds = statistics.median(result.seconds for result in results)
        after = interval([result.after for result in results])
        print(f"| `{way}` | {after} | {interval(gains, sign=True)} | {told} | {seconds:.0f} |")


def interval(values: Sequence[float], *, sign: bool = False) -> str:
    """Mean and 95 % interval over seeds, by Student's t for so few."""
    form = "+.3f" if sign else ".3f"
    mean = statistics.mean(values)
    if len(values) not in T_975:
        return f"{mean:{form}}"
    half = T_975[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:{form}} [{mean - half:{form}}, {mean + half:{form}}]"


if __name__ == "__main__":
    main()
