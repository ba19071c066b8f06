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
from rft_core.config.workers import WorkerConfig
from rft_core.errors import ConfigError, PluginError
from rft_core.grader_run import grade_text
from rft_core.registry import PluginStatus, Registry
from rft_core.runs import grader_check, stages
from rft_core.runs.assembly import check_stages, grader_variables, open_sources, template_variables
from rft_core.runs.checks.report import CheckReport
from rft_core.runs.checks.samples import read_run, read_samples
from rft_core.runs.completions import completions_of
from rft_core.runs.evaluate_model import evaluate_model, open_rows, read_grader, sampling_of, target_of
from rft_core.runs.grader_gate import judge
from rft_core.runs.preflight import Findings, bad_row, check_model, missing_models, try_grader
from rft_core.runs.regrade import regrade as regrade_run
from rft_core.runs.run import Listener
from rft_core.specs import CommandSpec
from rft_core.storage.rundir import RunDir
from rft_core.types import Item
from rft_core.validation import ValidationReport, check_data

__all__ = [
    "check_grader",
    "evaluate",
    "export",
    "grade",
    "plugins",
    "regrade",
    "resolve",
    "resume",
    "run",
    "runs",
    "validate",
]

SAMPLED_ROWS = 16
"""Rows for which `check_grader` lets a model write."""


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
    check_stages(registry, parsed)
    return list(parsed.stages)


def validate(run_file: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, ValidationReport]:
    """Check a run file, read all of its data, look for its model and try its grader on a few rows: one
    report per stage. Loads no model."""
    parsed = load_run_file(Path(run_file), overrides)
    registry = Registry.discover()
    reports = {}
    check_stages(registry, parsed)
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
        verdict = judge(registry, config, sources.train, parsed.base_dir) if not found[0].errors else None
        if verdict is not None and verdict.word == "bad":
            found.append(Findings(errors=[verdict.reason]))
        if not report.errors and (problem := bad_row(registry, config, sources)):
            found.append(Findings(errors=[problem]))
        found.append(Findings(errors=list(missing_models(registry, parsed, number))))
        if number == 0:  # later stages start from the weights of the one before
            found.append(check_model(registry, config, parsed.base_dir))
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


def export(
    run_dir: str | Path, out: str | Path, *, checkpoint: str | int = "last", merge: bool = False
) -> dict[str, Any]:
    """Write a checkpoint of a run (`last`, `best` or a step) to the new folder `out`, as transformers, peft and vLLM
    load it; `merge` adds a LoRA adapter to its base model.

    Returns `out`, the `checkpoint`, the `kind` of what was written (`model` or `adapter`), and the largest
    `difference` in logits that merging made. Done by the plugin that has the command `export`: UnknownNameError
    without one.
    """
    found = Registry.discover().registered("command", "export")
    if not isinstance(found.spec, CommandSpec) or found.spec.function is None:
        raise PluginError(f"the command 'export' of {found.owner} cannot be called from Python; use rft-engine export")
    done: dict[str, Any] = found.spec.function(Path(run_dir), Path(out), checkpoint=str(checkpoint), merge=merge)
    return done


def check_grader(
    grader: str | Path | Mapping[str, Any],
    data: str | Path | None = None,
    *,
    samples: str | Path | None = None,
    model: str | Path | None = None,
    target: str | None = None,
    run_dir: str | Path | None = None,
    second: str | Path | Mapping[str, Any] | None = None,
    rows: int = 32,
    prompts_per_step: int = 32,
    group_size: int = 8,
    steps: int = 100,
    base_pass_rate: float | None = None,
    budget_s: float = 60.0,
    timeout_s: float = 20.0,
    in_process: bool = False,
) -> CheckReport:
    """Try a grader on right, wrong and adversarial answers to rows of a JSONL file, or of a run, and say what is
    wrong with it. `report.sound` is False if anything found is an error.

    A grader is a JSON or YAML file, or its values. `samples` are completions to try too, and `model`, a model
    or a run directory, writes some: `group_size` for each of up to 16 rows; `target` says how a right
    answer is written, such as `Answer: {{item.answer}}`; `run_dir` brings rows and completions that a run stored. Raises RftError for settings and files that do not do.
    """
    registry = Registry.discover()
    options = grader_check.Options(
        rows=rows,
        prompts_per_step=prompts_per_step,
        group_size=group_size,
        steps=steps,
        base_pass_rate=base_pass_rate,
        budget_s=budget_s,
        target=target,
        timeout_s=timeout_s,
        worker=WorkerConfig(in_process=in_process),
    )
    items, texts = _rows_to_check(data, samples, run_dir, rows, registry)
    values, base_dir = _grader_values(grader)
    if model is not None:
        texts = _completions(str(model), values, items, texts, group_size, registry)
    other, other_dir = _grader_values(second) if second is not None else (None, None)
    return grader_check.check(
        registry, values, items, base_dir=base_dir, samples=texts, second=other, second_dir=other_dir, options=options
    )


def grade(
    grader: str | Path | Mapping[str, Any],
    sample: str,
    item: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = 120.0,
) -> dict[str, Any]:
    """The grade of one completion, as OpenAI's `graders/run` answers: `reward`, `sub_rewards`, `metadata` with the
    errors by kind; and our `outcome` and `details`.

    A grader is a JSON or YAML file, or its values; `item` is the row. ConfigError for its settings; what the grader
    fails at is in the answer.
    """
    values, base_dir = _grader_values(grader)
    return grade_text(values, sample, item, registry=Registry.discover(), base_dir=base_dir, timeout_s=timeout_s)


def regrade(
    run_dir: str | Path,
    grader: str | Path | Mapping[str, Any],
    *,
    split: str = "train",
    steps: Sequence[int] | None = None,
    workers: int = 1,
    timeout_s: float = 60.0,
    phase: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Grade the rollouts of a run again with another grader, and say what would have changed: mean reward, rank
    correlation, rewards that differ, pairs that turn round, per step too. The run is only read.

    `split` is `train`, `validation` or `test`; `timeout_s` is for each group. RunDirError if nothing was stored.
    """
    values, base_dir = _grader_values(grader)
    return regrade_run(
        RunDir.open(Path(run_dir)),
        values,
        base_dir=base_dir,
        registry=Registry.discover(),
        split=split,
        steps=steps,
        workers=workers,
        timeout_s=timeout_s,
        phase=phase or (lambda waits_for: None),
    )


def plugins() -> list[PluginStatus]:
    """Every installed plugin with its status and what it registered."""
    return Registry.discover().plugins


def runs(runs_dir: str | Path = "runs") -> list[RunDir]:
    """The run directories in a folder, the newest first."""
    folder = Path(runs_dir)
    found = [RunDir(path) for path in folder.iterdir() if (path / "config.json").exists()] if folder.is_dir() else []
    return sorted(found, key=lambda r: r.config.stat().st_mtime, reverse=True)


def _grader_values(grader: str | Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], Path]:
    """A grader's settings, and the folder where its relative paths start."""
    if isinstance(grader, str | Path):
        return read_grader(Path(grader)), Path(grader).resolve().parent
    return grader, Path.cwd()


def _rows_to_check(
    data: str | Path | None, samples: str | Path | None, run_dir: str | Path | None, rows: int, registry: Registry
) -> tuple[list[Item], dict[int, list[str]]]:
    """Rows spread evenly over the data, those with samples first, and the samples by position."""
    if run_dir is not None:
        items, texts = read_run(Path(run_dir), rows)
    if data is None:
        if run_dir is None:
            raise ConfigError("give rows: a data file, or a run directory")
        return items, texts
    source = open_rows(Path(data), registry)
    if len(source) == 0:
        raise ConfigError("the data holds no rows")
    if run_dir is not None:
        by_key = {item.key: n for n, item in enumerate(items)}
        found = [source.item(i) for i in grader_check.spread_over(len(source), rows)]
        return found, {n: texts[by_key[item.key]] for n, item in enumerate(found) if item.key in by_key}
    if samples is None:
        return [source.item(i) for i in grader_check.spread_over(len(source), rows)], {}
    given = read_samples(Path(samples), [source.item(i) for i in range(len(source))])
    picked = [*given, *(i for i in grader_check.spread_over(len(source), rows) if i not in given)][:rows]
    return [source.item(i) for i in picked], {n: given[i] for n, i in enumerate(picked) if i in given}


def _completions(
    model: str,
    grader: Mapping[str, Any],
    items: Sequence[Item],
    given: Mapping[int, list[str]],
    count: int,
    registry: Registry,
) -> dict[int, list[str]]:
    """The texts that are given, and `count` of the model for each of the first `SAMPLED_ROWS` rows."""
    found = target_of(model, registry, checkpoint_name="last", grader=grader)
    sampling = sampling_of(found.config, temperature=found.config.sampling.temperature)
    rows = items[:SAMPLED_ROWS]
    texts = completions_of(found, rows, registry=registry, samples=count, sampling=sampling)
    return {**given, **{n: [*given.get(n, []), *some] for n, some in enumerate(texts)}}


def _setting(listeners: Sequence[Listener], stop: threading.Event | None, use_cache: bool) -> stages.Setting:
    return stages.Setting(
        registry=Registry.discover(), listeners=listeners, stop=stop or threading.Event(), use_cache=use_cache
    )
