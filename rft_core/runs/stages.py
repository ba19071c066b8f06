"""Drives the stages of a run: each from the weights of the one before, each resumable."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft_core import failpoints
from rft_core.config.run_file import RunConfig, RunFile, apply_override, parse_run
from rft_core.errors import ConfigError, RftError, RunDirError, StopRequested
from rft_core.loop import train
from rft_core.protocols import DataSource
from rft_core.registry import Registry
from rft_core.runs import stage_cache
from rft_core.runs.assembly import (
    check_stages,
    grader_version,
    is_deterministic,
    learns_from_grades,
    model_of,
    open_sources,
    refuse_scorer,
    resolve_model,
)
from rft_core.runs.before_start import refuse_early
from rft_core.runs.run import Listener, Run, working
from rft_core.runs.starting_model import start_model
from rft_core.runs.summary import finish
from rft_core.runs.versions import versions
from rft_core.storage.files import storage, write_json
from rft_core.storage.journal import Journal
from rft_core.storage.rundir import RunDir
from rft_core.types import ModelRef

EXTENDABLE = (
    "training.steps",
    "training.epochs",
    "validation.early_stopping",
    "budget",
    "observers",
    "checkpoints",
    "result",
    "grading.max_error_rate",
    "grading.timeout_s",
    "grading.worker",
    "sampler.worker",
)
"""What `resume --set` may change: nothing that alters the bits of the steps already taken."""
NO_RUN_DIR = "or choose another runs_dir"
"""There is nothing to resume where a run did not begin."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all stages of one call share."""

    registry: Registry
    listeners: Sequence[Listener]
    stop: threading.Event
    use_cache: bool = True


def start(run_file: RunFile, setting: Setting, *, exact_name: bool = False) -> dict[str, Any]:
    """Check everything that can be checked cheaply, make the run directory, and run all stages."""
    refuse_early(run_file, setting.registry, setting.listeners)
    root = _new_run_dir(run_file, exact_name)
    failpoints.hit("run.created")
    try:
        return _run_stages(run_file, root, setting)
    finally:
        root.unlock()


def resume(path: Path, overrides: Sequence[str], setting: Setting) -> dict[str, Any]:
    """Continue a run where it stands. A finished one is returned as it is, unless `overrides` extend it."""
    root = RunDir.open(path)
    root.lock()
    try:
        config = root.read_config()
        raw = dict(config["run_file"])
        for override in overrides:
            _check_extendable(override)
            apply_override(raw, override)
        run_file = parse_run(raw, base_dir=Path(config["base_dir"]))
        check_stages(setting.registry, run_file)
        if overrides:
            _check_finished_stages(run_file, root)
            _check_length(run_file, root)
            root.summary.unlink(missing_ok=True)  # first, or a kill between the two would leave an ended run
            write_json(root.config, {**config, "run_file": raw})
        return _run_stages(run_file, root, setting)
    finally:
        root.unlock()


def stage_dir(root: RunDir, run_file: RunFile, number: int) -> Path:
    """Where stage `number` lives: the last one is the run itself, the others lie in `stages/`."""
    if number == len(run_file.stages) - 1:
        return root.path
    return root.path / "stages" / f"{number + 1}-{run_file.stages[number][0]}"


def _new_run_dir(run_file: RunFile, exact_name: bool) -> RunDir:
    main = run_file.main
    values = {
        "run_id": uuid.uuid4().hex,
        "base_dir": str(run_file.base_dir),
        "run_file": dict(run_file.raw),
        "versions": versions(),
    }
    runs_dir, number = Path(main.runs_dir), 1
    while True:
        name = main.name if number == 1 else f"{main.name}-{number}"
        RunDir(runs_dir / name).remove_unbegun()
        try:
            return RunDir.create(runs_dir / name, values, then=NO_RUN_DIR)
        except RunDirError:
            if exact_name or not (runs_dir / name).exists():
                raise
            number += 1


def _check_extendable(override: str) -> None:
    key = override.partition("=")[0].strip()
    if key.startswith("stages."):
        key = key.split(".", 2)[-1]
    if not any(key == allowed or key.startswith(allowed + ".") for allowed in EXTENDABLE):
        raise ConfigError(
            f"'{key}' cannot change in a run that has begun; these can: {', '.join(EXTENDABLE)}. "
            "For anything else start a new run with init_from"
        )


def _check_finished_stages(run_file: RunFile, root: RunDir) -> None:
    """ConfigError for another length of a stage that has ended: the stages after it began from its weights."""
    for number, (name, config) in enumerate(run_file.stages[:-1]):
        where = RunDir(stage_dir(root, run_file, number))
        if (where.read_summary() or {}).get("status") == "succeeded":
            was, now = where.read_config()["resolved"], config.model_dump(mode="json")
            if any(was[s] != now[s] for s in ("training",)) or (
                was["validation"]["early_stopping"] != now["validation"]["early_stopping"]
            ):
                raise ConfigError(
                    f"the stage '{name}' has ended, and its length cannot change any more; "
                    f"to extend the last stage alone write --set stages.{run_file.stages[-1][0]}.training.steps=…"
                )


def _check_length(run_file: RunFile, root: RunDir) -> None:
    """ConfigError for fewer steps than a stage has taken, before anything is written. A length in epochs is
    known, and checked, when the rows are open."""
    for number, (_, config) in enumerate(run_file.stages):
        where = RunDir(stage_dir(root, run_file, number))
        done = max((int(line["step"]) for line in where.read_lines(where.metrics)), default=0)
        if config.training.steps is not None and done > config.training.steps:
            raise ConfigError(
                f"{done} steps are done, so the run cannot end at {config.training.steps}", where="training.steps"
            )


def _run_stages(run_file: RunFile, root: RunDir, setting: Setting) -> dict[str, Any]:
    # Threads that wait busily collapse when trainer and workers share cores. Read when torch is imported,
    # and inherited by the workers; changes no bits.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    model: ModelRef | None = None
    summary: dict[str, Any] = {}
    ended: list[dict[str, Any]] = []
    for number, (name, config) in enumerate(run_file.stages):
        where = stage_dir(root, run_file, number)
        is_main = where == root.path
        if model is None:
            model = _first_model(config, run_file.base_dir, setting.registry)
        run_dir = root if is_main else _open_stage(where, root, name)
        stage = Stage(
            name=name,
            config=config,
            run_dir=run_dir,
            base_dir=run_file.base_dir,
            model=model,
            setting=setting,
            ended=tuple(ended),
        )
        try:
            summary = stage.run()
        finally:
            if not is_main:
                run_dir.unlock()
        if summary["status"] != "succeeded":
            break
        ended.append(_ended(name, summary))
        model = model_of(run_dir.final, model)
    return summary


def _ended(name: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A stage that has ended, as the summaries of those after it list it. From the cache it took no time."""
    cached = bool(summary.get("cached"))
    wall_s = 0.0 if cached else summary["stages"][-1]["wall_s"]
    return {"stage": name, "steps": summary["steps"], "wall_s": wall_s, "cached": cached}


def _first_model(config: RunConfig, base_dir: Path, registry: Registry) -> ModelRef:
    model = resolve_model(registry, config, base_dir)
    failpoints.hit("model.ready")
    if config.init_from is not None:
        model = start_model(config.init_from, base_dir, model)
    refuse_scorer(registry, config, model)
    return model


def _open_stage(path: Path, root: RunDir, name: str) -> RunDir:
    values = {**root.read_config(), "stage": name}
    if (path / "config.json").exists():
        run_dir = RunDir.open(path)
        run_dir.lock()
        return run_dir
    return RunDir.create(path, values)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage with everything it needs to run or to go on."""

    name: str
    config: RunConfig
    run_dir: RunDir
    base_dir: Path
    model: ModelRef
    setting: Setting
    ended: tuple[Mapping[str, Any], ...] = ()
    """The stages before it."""

    def run(self) -> dict[str, Any]:
        """Finish the stage and return its summary; at once if it is finished or cached."""
        done = self.run_dir.read_summary()
        if done is not None and done.get("status") == "succeeded":
            return done
        self.run_dir.remove_leftovers()
        self._write_resolved()
        registry, config = self.setting.registry, self.config
        for listener in self.setting.listeners:
            listener("stage_started", {"stage": self.name, "run_dir": str(self.run_dir.path)})
        sources = open_sources(registry, config, self.base_dir)
        key = None
        if config.cache and self.setting.use_cache:
            key = stage_cache.key_of(config, sources, self.model, registry, self.base_dir)
            if (cached := stage_cache.take(key, self.run_dir)) is not None:
                for listener in self.setting.listeners:
                    listener("stage_cached", {"stage": self.name, "steps": cached["steps"]})
                return cached
        lines = list(self.run_dir.read_lines(self.run_dir.metrics))
        run = Run(
            run_id=f"{self.run_dir.read_config()['run_id']}-{self.name}",
            lineage=self.name,
            config=config,
            base_dir=self.base_dir,
            run_dir=self.run_dir,
            registry=registry,
            sources=sources,
            model=self.model,
            journal=Journal(self.run_dir.journal),
            stop=self.setting.stop,
            grades_repeat=config.grader is None or is_deterministic(registry, config.grader),
            grader_version=None if config.grader is None else grader_version(registry, config.grader, self.base_dir),
            listeners=list(self.setting.listeners),
            ended=self.ended,
            earlier_s=lines[-1]["elapsed_s"] if lines else 0.0,
        )
        if (done_steps := run.journal.steps_done) > run.total_steps:
            run.journal.close()
            raise ConfigError(
                f"{done_steps} steps are done, so the run cannot end at {run.total_steps}", where="training.steps"
            )
        summary = _work(run)
        if key is not None:
            stage_cache.keep(key, self.run_dir)
        return summary

    def _write_resolved(self) -> None:
        values = self.run_dir.read_config()
        model = {
            "path": str(self.model.path),
            "device": self.model.device,
            "dtype": self.model.dtype,
            "adapter": None if self.model.adapter is None else str(self.model.adapter),
        }
        resolved = {"resolved": self.config.model_dump(mode="json"), "resolved_model": model}
        if any(values.get(k) != v for k, v in resolved.items()):
            write_json(self.run_dir.config, {**values, **resolved})
        failpoints.hit("run.config_written")
        with storage("make folders", self.run_dir.path):
            for folder in (self.run_dir.logs, self.run_dir.rollouts, self.run_dir.weights, self.run_dir.checkpoints):
                folder.mkdir(exist_ok=True)


def _sampled(run: Run) -> tuple[DataSource, ...]:
    """The rows that completions are sampled for; none without a grader."""
    config, sources = run.config, run.sources
    if config.grader is None:
        return ()
    learns, measures = learns_from_grades(run.registry, config), config.validation.sampling
    wanted = (
        sources.train if learns else None,
        sources.validation if measures else None,
        sources.test if learns or measures else None,
    )
    return tuple(source for source in wanted if source is not None)


def _work(run: Run) -> dict[str, Any]:
    """Train and finish; whatever happens, the summary says how it ended."""
    sampled = _sampled(run)
    try:
        with working(run, sampled=sampled):
            if sampled and run.journal.steps_done == 0:
                run.current_policy()
            return finish(run, train(run))
    except StopRequested as stop:
        return _stopped(run, "stopped", str(stop))
    except (Exception, KeyboardInterrupt) as error:
        _stopped(run, "failed", str(error) if isinstance(error, RftError) else f"{type(error).__name__}: {error}")
        run.emit("run_failed", error=str(error), run_dir=str(run.run_dir.path))
        raise
    finally:
        run.journal.close()


def _stopped(run: Run, status: str, reason: str) -> dict[str, Any]:
    summary = {
        "status": status,
        "reason": reason,
        "run_id": run.run_id,
        "steps": run.journal.steps_done,
        "wall_s": run.wall_s,
        "versions": versions(),
    }
    run.run_dir.write_summary(summary)
    if status == "stopped":
        run.emit("run_finished", **summary)
    return summary
