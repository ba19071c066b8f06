"""What the comparisons of learning share: runs of the arithmetic example in processes of their own, and intervals."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rft_core.storage import store
from rft_core.storage.rundir import RunDir

RUN_FILE = Path(__file__).parent.parent.parent / "examples" / "arithmetic" / "run.yaml"
STEPS = 24
SETTINGS = (
    "sampler.worker={in_process: true, threads: 1}",
    "grading={check: false, worker: {in_process: true}}",
    "stages.warm-up.training.steps=480",
    f"stages.rft.training={{steps: {STEPS}, batch_size: 32, group_size: 16, unit_size: 32}}",
    "stages.rft.validation={eval_interval: 2, temperature: 0.0}",
    "checkpoints.interval=1000",
)
"""Of every run: one thread, a warm start twice as long as the example's, and a shorter RFT stage."""
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t for so many seeds, two-sided 95 %."""


def warm_up(folder: Path, seed: int) -> None:
    """Make the warm start of a seed, which later runs find in the cache."""
    train(folder, f"warm-{seed}", seed, {"training.steps": 1, "validation.eval_interval": 1})


def train(folder: Path, name: str, seed: int, rft: Mapping[str, Any]) -> float:
    """Run the example into `folder / name` with these keys of its RFT stage; the processor seconds it took."""
    command = [str(Path(sys.executable).with_name("rft-engine")), "run", str(RUN_FILE), "--name", name]
    overrides = [*SETTINGS, f"vars.seed={seed}", f"runs_dir={folder}"]
    overrides += [f"stages.rft.{key}={json.dumps(value)}" for key, value in rft.items()]
    for override in overrides:
        command += ["--set", override]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RFT_CACHE_DIR": str(folder / "cache")}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"the run {name} ended with exit code {process.returncode}: {said.read()[-2000:]}")
    return used.ru_utime + used.ru_stime


def accuracy(run_dir: Path, split: str, step: int) -> float:
    """Share of right answers among the stored ones, whatever the run's grader said of them."""
    right = [
        rollout.text.endswith(f"#{graded.group.item.row['answer']}")
        for graded in store.from_table(store.read_table(RunDir(run_dir).rollout_file(split, step)))
        for rollout in graded.group.rollouts
    ]
    return sum(right) / len(right)


def interval(values: Sequence[float], *, sign: bool = False) -> str:
    """Mean and 95 % interval over seeds, by Student's t for so few."""
    form = "+.3f" if sign else ".3f"
    mean = statistics.mean(values)
    if len(values) not in T_975:
        return f"{mean:{form}}"
    half = T_975[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:{form}} [{mean - half:{form}}, {mean + half:{form}}]"
