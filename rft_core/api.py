"""rft-engine from Python: the same as the commands, with values instead of printed text.

import rft_core.api as rft

summary = rft.run("examples/arithmetic/run.yaml", overrides=["training.steps=20"])
print(summary["validation"]["gain"])
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rft_core.config.run_file import RunConfig, load_run_file
from rft_core.registry import PluginStatus, Registry
from rft_core.runs import stages
from rft_core.runs.assembly import check_components, grader_variables, open_sources, template_variables
from rft_core.runs.evaluate_model import evaluate_model, open_rows, read_grader, sampling_of, target_of
from rft_core.runs.preflight import check_model, try_grader
from rft_core.runs.run import Listener
from rft_core.storage.rundir import RunDir
from rft_core.validation import ValidationReport, check_data

__all__ = ["evaluate", "plugins", "resolve", "resume", "run", "runs", "validate"]


def run(
    run_file: str | Path,
    *,
    overrides: Sequence[str] = (),
    name: str | None = None,
    use_cache: bool = True,
    listeners: Sequence[Listener] = (),
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run a run file to its end and return the summary.

    `overrides` are `key=value` strings as for `--set`. With `name` the run directory has exactly this
    name; RunDirError if it is taken. `listeners` are called with (kind, values) for everything that
    happens. Setting `stop` ends the run politely: a checkpoint is written and the summary's `status`
    is `stopped`. Raises RftError for everything that goes wrong.
    """
    parsed = load_run_file(Path(run_file), overrides, name=name)
    return stages.start(parsed, _setting(listeners, stop, use_cache), exact_name=name is not None)


def resume(
    run_dir: str | Path,
    *,
    overrides: Sequence[str] = (),
    use_cache: bool = True,
    listeners: Sequence[Listener] = (),
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Continue a run exactly where it stands. `overrides` extend it, such as `training.steps=200`."""
    return stages.resume(Path(run_dir), overrides, _setting(listeners, stop, use_cache))


def resolve(run_file: str | Path, *, overrides: Sequence[str] = ()) -> list[tuple[str, RunConfig]]:
    """The stages of a run file with every default filled in, all components checked. Starts nothing."""
    parsed = load_run_file(Path(run_file), overrides)
    registry = Registry.discover()
    for name, config in parsed.stages:
        check_components(registry, config, where="" if len(parsed.stages) == 1 else f"stage {name}")
    return list(parsed.stages)


def validate(run_file: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, ValidationReport]:
    """Check a run file, read all of its data, look for its model and try its grader on a few rows: one
    report per stage. Loads no model."""
    parsed = load_run_file(Path(run_file), overrides)
    registry = Registry.discover()
    reports = {}
    for name, config in parsed.stages:
        check_components(registry, config, where="" if len(parsed.stages) == 1 else f"stage {name}")
    for number, (name, config) in enumerate(parsed.stages):
        sources = open_sources(registry, config, parsed.base_dir)
        report = check_data(
            sources.train,
            sources.validation,
            sources.test,
            variables=template_variables(registry, config),
            test_variables=grader_variables(registry, config),
        )
        found = [try_grader(registry, config, sources.train, parsed.base_dir)]
        if number == 0:  # later stages start from the weights of the one before
            found.append(check_model(config, parsed.base_dir))
        reports[name] = replace(
            report,
            errors=report.errors + tuple(text for f in found for text in f.errors),
            warnings=report.warnings + tuple(text for f in found for text in f.warnings),
        )
    return reports


def evaluate(
    target: str | Path,
    data: str | Path,
    *,
    grader: str | Path | Mapping[str, Any] | None = None,
    checkpoint: str = "last",
    compare: bool = False,
    samples: int | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    limit: int | None = None,
    phase: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a run's result, or a model, on a JSONL file: mean reward with a 95 % interval, per grader too.

    `target` is a run directory (`checkpoint`: `last`, `best` or a step), a model folder or a hub id. The
    grader is the run's own, or a JSON or YAML file, or its values. `compare` evaluates what the run
    started from as well and adds the paired `gain`. `phase` is told what is waited for.
    """
    registry = Registry.discover()
    values = read_grader(Path(grader)) if isinstance(grader, str | Path) else grader
    found = target_of(str(target), registry, checkpoint_name=checkpoint, grader=values)
    if isinstance(grader, str | Path):
        found = replace(found, grader_dir=Path(grader).resolve().parent)
    registry.configure("grader", found.config.grader or {}, where="grader")
    result = evaluate_model(
        found,
        open_rows(Path(data), registry),
        registry=registry,
        samples=samples,
        sampling=sampling_of(found.config, temperature=temperature, max_tokens=max_tokens),
        limit=limit,
        compare_with_base=compare,
        phase=phase or (lambda waits_for: None),
    )
    return {"target": str(target), "weights": str(found.policy), "data": str(data), **result}


def plugins() -> list[PluginStatus]:
    """Every installed plugin with its status and what it registered."""
    return Registry.discover().plugins


def runs(runs_dir: str | Path = "runs") -> list[RunDir]:
    """The run directories in a folder, the newest first."""
    folder = Path(runs_dir)
    found = [RunDir(path) for path in folder.iterdir() if (path / "config.json").exists()] if folder.is_dir() else []
    return sorted(found, key=lambda r: r.config.stat().st_mtime, reverse=True)


def _setting(listeners: Sequence[Listener], stop: threading.Event | None, use_cache: bool) -> stages.Setting:
    return stages.Setting(
        registry=Registry.discover(), listeners=listeners, stop=stop or threading.Event(), use_cache=use_cache
    )
