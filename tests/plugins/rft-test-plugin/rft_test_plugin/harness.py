"""Drives whole runs in processes of their own: start, kill, resume, compare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml

from rft_test_plugin.forked import ForkedEngine, limit_files

ENGINE = str(Path(sys.executable).with_name("rft-engine"))
TIMEOUT_S = 180
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
HOSTED = ("sampler", "grader")
"""What worker processes host."""
Engine = subprocess.Popen[str] | ForkedEngine
COUNTS = ("steps", "best_step", "result_step", "rollouts", "sampled_tokens", "trained_tokens", "dropped")
TIMES = frozenset(
    {
        "cost_usd_total",
        "step_s",
        "sample_s",
        "grade_s",
        "train_s",
        "component_s",
        "engine_share",
        "elapsed_s",
        "sampled_tokens_per_s",
    }
)
"""Keys of a metrics line that differ between equal runs, and are missing from one made again after a crash."""


def fast_run(folder: Path, *, processes: Collection[str] = HOSTED, **changes: Any) -> Path:
    """A run file whose components compute next to nothing, with every part of a real run: two sampler
    workers, a grader worker, validation, test rows, checkpoints. Returns its path.

    What `processes` does not name stays in the engine's process, for tests of what the engine alone does: the run
    ends with the same bits, and without any workers costs a third, as most of it is the start of processes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 20), ("validation", 6), ("test", 4)):
        rows = [{"messages": [{"role": "user", "content": f"{name} {i}"}], "answer": str(i)} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values: dict[str, Any] = {
        "name": "fast",
        "seed": 3,
        "runs_dir": str(folder / "runs"),
        "model": {"type": "test_numbers"},
        "data": {split: {"type": "jsonl", "path": f"{split}.jsonl"} for split in ("train", "validation", "test")},
        "sampling": {"max_tokens": 8},
        "sampler": {"type": "scripted", "worker": {"count": 2, "threads": 1}},
        "grader": {"type": "test_text_length"},
        "optimizer": {"type": "test_momentum", "work_s": 0.02},
        "training": {"steps": 12, "batch_size": 4, "group_size": 4, "unit_size": 1},
        "validation": {"eval_interval": 4, "unit_size": 3},
    }
    return _write(folder, {**values, **changes}, processes)


def tiny_run(folder: Path, *, processes: Collection[str] = HOSTED, **changes: Any) -> Path:
    """A run file with the real parts: one-digit addition by a Llama of some ten thousand weights, the
    transformers sampler, GRPO; `processes` as above. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = "0123456789+=;#"
    values: dict[str, Any] = {
        "name": "tiny",
        "seed": 1,
        "runs_dir": str(folder / "runs"),
        "model": {
            "type": "tiny_llama",
            "hidden_size": 32,
            "layers": 2,
            "heads": 2,
            "max_context": 64,
            "tokenizer": {"type": "characters", "alphabet": alphabet},
        },
        "data": {
            "train": {"type": "arithmetic", "digits": 1, "count": 64, "split": "train"},
            "validation": {"type": "arithmetic", "digits": 1, "count": 12, "split": "validation"},
            "test": {"type": "arithmetic", "digits": 1, "count": 8, "split": "test"},
        },
        "sampling": {"max_tokens": 12},
        "sampler": {"type": "transformers", "worker": {"count": 1, "threads": 1}},
        "grader": {
            "type": "string_check",
            "name": "has one",
            "input": "{{sample.output_text}}",
            "reference": "1",
            "operation": "like",
        },
        "optimizer": {"type": "policy_gradient", "learning_rate": 2e-3},
        "training": {"steps": 8, "batch_size": 8, "group_size": 4, "unit_size": 2},
        "validation": {"eval_interval": 3, "temperature": 0.0},
        "observers": [{"type": "tensorboard"}],
    }
    return _write(folder, {**values, **changes}, processes)


def _write(folder: Path, values: dict[str, Any], processes: Collection[str]) -> Path:
    values["grading"] = {"check": False, **values.get("grading", {})}  # their graders know no right answer
    if "sampler" not in processes:
        values["sampler"] = {**values["sampler"], "worker": {"in_process": True}}
    if "grader" not in processes:
        values["grading"]["worker"] = {"in_process": True}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@dataclass(frozen=True)
class Outcome:
    """How a call of rft-engine ended."""

    code: int
    output: str
    errors: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]


def engine(
    *arguments: str | Path,
    env: dict[str, str] | None = None,
    file_bytes: int | None = None,
    fresh: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Outcome:
    """Run rft-engine to its end; `env`, `file_bytes` and `fresh` as in `launch`."""
    process = launch(*arguments, env=env, file_bytes=file_bytes, fresh=fresh)
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"rft-engine hung: {arguments}\n{output[-2000:]}\n{errors[-2000:]}") from None
    assert process.returncode is not None
    return Outcome(process.returncode, output, errors)


def launch(
    *arguments: str | Path, env: dict[str, str] | None = None, file_bytes: int | None = None, fresh: bool = False
) -> Engine:
    """Start rft-engine and return at once: in a fork that need not import it, unless `fresh` or a variable that
    Python reads when it starts asks for a new interpreter. `env`: variables besides those of the tests.
    `file_bytes`: no file may grow beyond this, as on a full disk."""
    command = [str(argument) for argument in arguments]
    environment = {**os.environ, **(env or {})}
    if not fresh and not any(name.startswith("PYTHON") for name in env or ()):
        return ForkedEngine(command, environment, file_bytes)
    return subprocess.Popen(
        [ENGINE, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=partial(limit_files, file_bytes),
    )


def workers_of(process: Engine, kind: str) -> list[psutil.Process]:
    """The worker processes of a running engine."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [c for c in children if {"rft_workers", kind} <= set(c.cmdline())]
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: Engine, target: str) -> bool:
    """SIGKILL the engine, or one of its samplers or graders. False if there is none."""
    if target == "engine":
        process.kill()
        process.communicate()
        return True
    victims = workers_of(process, target)
    for victim in victims[:1]:
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return False
    return bool(victims)


def summary(run_dir: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return values


def fingerprint(run_dir: Path) -> dict[str, Any]:
    """What must be equal between an unbroken run and one that was killed: final weights, optimizer
    state, canonical journal, what the summary counts and says of validation and test, and every line of
    metrics.jsonl but for the times."""
    from rft_core.storage import checkpoint
    from rft_core.storage.files import sha256_file
    from rft_core.storage.rundir import RunDir

    values = summary(run_dir)
    assert values["status"] == "succeeded", values
    kept = checkpoint.steps(RunDir(run_dir))
    last = run_dir / "checkpoints" / f"step-{values['steps']:06d}" / "optimizer"
    return {
        "weights": values["final_weights_sha256"],
        "journal": values["journal_sha256"],
        "state": {p.name: sha256_file(p) for p in sorted(last.iterdir()) if p.is_file()},
        "checkpoints": kept,
        "validation": values["validation"],
        "test": values["test"],
        "counts": {key: values[key] for key in COUNTS},
        "metrics": [
            {key: value for key, value in line.items() if key not in TIMES}
            for line in map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
        ],
    }


def audit(run_dir: Path, *, resampled: bool = False) -> None:
    """Prove from the journal that each rollout (visit of a row, sample) was trained on once, and that the files it
    refers to are what it says. `resampled`: a step may have had to be sampled again."""
    from rft_core.storage import store
    from rft_core.storage.journal import Journal
    from rft_core.storage.rundir import RunDir

    journal = Journal(run_dir / "journal")
    journal.close()
    files = RunDir(run_dir)
    seen: set[tuple[int, int]] = set()
    updates = [r.step for r in journal.records if r.kind == "update"]
    if resampled:  # where a replay gave another update, the journal holds that one too
        updates = list(dict.fromkeys(updates))
    assert updates == list(range(1, len(updates) + 1)), "every step has one update, in order"
    for kind in ("plan", "rollouts"):
        steps = [r.step for r in journal.records if r.kind == kind]
        assert (sorted(set(steps)) if resampled else steps) == updates
    for step, line in zip(updates, files.read_lines(files.metrics), strict=True):
        update = journal.last("update", step)
        assert update is not None
        assert {name: line[name] for name in update.data["metrics"]} == update.data["metrics"], "metrics of that update"
        record = journal.last("rollouts", step)
        assert record is not None
        groups = store.read(files.rollout_file("train", step), record.data["content_sha256"])
        plan = journal.last("plan", step)
        assert plan is not None
        indices = list(plan.data["indices"])
        for place, index, _ in record.data.get("replaced", ()):
            indices[place] = index
        assert [g.group.item.index for g in groups] == indices
        for graded in groups:
            for rollout in graded.group.rollouts:
                address = (rollout.ordinal, rollout.sample)  # an ordinal names one visit of one row in the whole run
                assert address not in seen, f"trained twice: {address}, again in step {step}"
                seen.add(address)
