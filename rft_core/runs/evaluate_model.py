"""Evaluates a trained policy, or any model, on a data file, with the workers and the numbers of a run.

Every row is drawn with seeds of its own position, so that two policies evaluated on one file differ by
their weights alone, and can be compared row by row.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from rft_core.clock import StepClock
from rft_core.config.errors import config_error
from rft_core.config.run_file import RunConfig, parse_yaml
from rft_core.errors import ConfigError, ModelError, RunDirError
from rft_core.pools.pool import Pool
from rft_core.protocols import DataSource
from rft_core.registry import Registry
from rft_core.runs.assembly import pool_of, refuse_to_sample, resolve_model, run_model
from rft_core.runs.collect import Crew, Drawing, sample_and_grade
from rft_core.runs.evaluation import Evaluation, compare, report_of, summarise
from rft_core.runs.planning import draws_of_split, items_of
from rft_core.runs.run import weight_ref
from rft_core.specs import BuildContext
from rft_core.storage import checkpoint
from rft_core.storage.rundir import RunDir
from rft_core.types import Item, ModelRef, SamplingParams, WeightRef

KINDS: tuple[Literal["sampler", "grader"], ...] = ("sampler", "grader")
SPLIT = "evaluation"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is evaluated, and how its run would do it."""

    config: RunConfig
    base_dir: Path
    grader_dir: Path
    """Where the grader's relative paths start."""
    model: ModelRef
    """The model that the samplers are built with."""
    policy: Path
    """Folder of the weights to evaluate."""
    version: int
    """Policy version of these weights: the step of a run, 1 for a plain model."""
    base: Path | None
    """Folder of the weights that the run started from; None for a plain model."""


def evaluate_model(
    target: Target,
    source: DataSource,
    *,
    registry: Registry,
    samples: int | None = None,
    sampling: SamplingParams,
    limit: int | None = None,
    compare_with_base: bool = False,
    phase: Callable[[str], None] = lambda waits_for: None,
) -> dict[str, Any]:
    """Sample and grade every row, and report means with 95 % intervals; with the base, the paired gain too.

    ConfigError without rows, grader or base. Errors of workers and components pass."""
    rows = min(len(source), limit) if limit is not None else len(source)
    if rows == 0:
        raise ConfigError("the data holds no rows")
    if compare_with_base and target.base is None:
        raise ConfigError(
            "there is no base to compare with: name a run directory instead of a model, or leave out --compare"
        )
    draws = draws_of_split(rows)
    items = items_of(draws, source)
    count = samples or target.config.validation.eval_samples
    seed = target.config.seed

    with _crew(target, registry, phase) as crew:

        def evaluate(folder: Path, number: int) -> Evaluation:
            policy = weight_ref(folder, run_id=crew.run_id, lineage=SPLIT, number=number)
            phase("loading weights")
            crew.samplers.load_policy(policy)
            return _evaluate(crew, target.config, draws, items, policy, sampling, count)

        before = evaluate(target.base, 0) if compare_with_base and target.base is not None else None
        after = evaluate(target.policy, target.version)
    result: dict[str, Any] = {"rows": rows, "samples": count, "result": _report(after, seed)}
    if before is not None:
        result |= {"base": _report(before, seed), "gain": compare(before, after, seed=seed)}
    return result


def _evaluate(
    crew: Crew,
    config: RunConfig,
    draws: Sequence[Any],
    items: Sequence[Item],
    policy: WeightRef,
    sampling: SamplingParams,
    samples: int,
) -> Evaluation:
    section = config.validation
    drawing = Drawing(
        draws=draws,
        items=items,
        purpose="test",
        policy=policy,
        sampling=sampling,
        samples=samples,
        unit_size=section.unit_size,
    )
    groups = sample_and_grade(crew, drawing, StepClock())
    return summarise(groups, step=policy.number, split=SPLIT, cluster_by=section.cluster_by)


def _report(evaluation: Evaluation, seed: int) -> dict[str, Any]:
    report = report_of(evaluation, seed=seed)
    del report["step"]
    return report


@contextmanager
def _crew(target: Target, registry: Registry, phase: Callable[[str], None]) -> Iterator[Crew]:
    """Start both pools at the same time; close them at the end."""
    config, run_id = target.config, f"eval-{uuid.uuid4().hex}"
    phase("starting workers")
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rft-eval-")))
        pools: list[Pool] = []
        for kind in KINDS:
            pool = pool_of(
                kind,
                config,
                run_id=run_id,
                base_dir=target.base_dir if kind == "sampler" else target.grader_dir,
                model=target.model,
                log_dir=logs,
                registry=registry,
            )
            stack.callback(pool.close)
            pools.append(pool)
        with ThreadPoolExecutor(len(pools), thread_name_prefix="start") as executor:
            for started in [executor.submit(pool.start) for pool in pools]:
                started.result()
        yield Crew(
            samplers=pools[0],
            graders=pools[1],
            run_id=run_id,
            seed=config.seed,
            grade_timeout_s=config.grading.timeout_s,
            phase=phase,
        )


def sampling_of(config: RunConfig, **changed: float | None) -> SamplingParams:
    """How the run draws its validation completions, but for what is `changed`. ConfigError for bad values."""
    own = {"temperature": config.validation.temperature, "max_tokens": config.validation.max_tokens}
    values = {k: v for k, v in (*own.items(), *changed.items()) if v is not None}
    try:
        return SamplingParams.model_validate({**config.sampling.model_dump(), **values})
    except ValidationError as error:
        raise config_error(error, SamplingParams, "") from None


def target_of(path: str, registry: Registry, *, checkpoint_name: str, grader: Mapping[str, Any] | None) -> Target:
    """What `path` means: a run directory, a model folder, or a model of the hub. ModelError for one that writes
    nothing, such as a reward model."""
    folder = Path(path)
    if (folder / "journal").is_dir() or ((folder / "config.json").exists() and _is_run_config(folder)):
        target = _target_of_run(RunDir.open(folder), checkpoint_name)
    else:
        target = _target_of_model(path, registry)
    refuse_to_sample(target.policy)
    if grader is not None:
        return replace(target, config=target.config.model_copy(update={"grader": dict(grader)}))
    if target.config.grader is None:
        raise ConfigError(f"{path} names no grader; give one with --grader, a JSON or YAML file with a 'type'")
    return target


def _is_run_config(folder: Path) -> bool:
    """Both run directories and model folders hold a config.json."""
    return "run_file" in RunDir(folder).read_config()


def _target_of_run(run_dir: RunDir, checkpoint_name: str) -> Target:
    values = run_dir.read_config()
    model = run_model(run_dir)
    policy, version = _policy_of_run(run_dir, checkpoint_name)
    initial = run_dir.weights / "v000000"
    # A run that published no version 0 (nothing was sampled) started from its model as it is.
    base = initial if any(initial.glob("*.safetensors")) else model.adapter or model.path
    return Target(
        config=RunConfig.model_validate(values["resolved"]),
        base_dir=Path(values["base_dir"]),
        grader_dir=Path(values["base_dir"]),
        model=model,
        policy=policy,
        version=version,
        base=base,
    )


def _policy_of_run(run_dir: RunDir, name: str) -> tuple[Path, int]:
    """Weights of a run and their step: `last` is its result, `best` its best by validation, a number that checkpoint."""
    steps = checkpoint.steps(run_dir)
    choices = f"it has {', '.join(map(str, steps))}" if steps else "it has none yet"
    summary = run_dir.read_summary() or {}
    if name == "last":
        if run_dir.final.is_dir():
            return run_dir.final, int(summary.get("result_step", steps[-1] if steps else 1))
        if steps:
            return run_dir.checkpoint(steps[-1]) / "optimizer" / "policy", steps[-1]
        raise RunDirError(
            f"{run_dir.path} has neither a result nor a checkpoint; 'rft-engine resume {run_dir.path}' goes on"
        )
    if name == "best":
        step = summary.get("best_step")
        if step is None:
            raise RunDirError(
                f"{run_dir.path} names no best checkpoint, because it has not ended or measures nothing; {choices}"
            )
    elif name.isdigit():
        step = int(name)
    else:
        raise ConfigError(f"a checkpoint is last, best or the number of a step, not '{name}'")
    if step not in steps:
        raise RunDirError(f"{run_dir.path} keeps no checkpoint of step {step}; {choices}")
    checkpoint.verify(run_dir, step)
    return run_dir.checkpoint(step) / "optimizer" / "policy", step


def _target_of_model(path: str, registry: Registry) -> Target:
    folder = Path(path)
    name = str(folder.resolve()) if folder.is_dir() else path
    if not folder.is_dir() and (path.startswith((".", "/", "~")) or path.count("/") > 1):
        raise ModelError(f"there is no run directory or model folder {path}; 'rft-engine runs' lists the runs")
    config = RunConfig.model_validate(
        {
            "model": {"path": name},
            "data": {"train": {"type": "jsonl", "path": "unused"}},
            "optimizer": {"type": "none"},
        }
    )
    model = resolve_model(registry, config, Path.cwd())
    return Target(
        config=config, base_dir=Path.cwd(), grader_dir=Path.cwd(), model=model, policy=model.path, version=1, base=None
    )


def read_grader(file: Path) -> dict[str, Any]:
    """Grader JSON, or YAML, alone or under the key `grader` as in a run file."""
    try:
        values = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the grader file {file} cannot be read: {error}") from None
    if isinstance(values, dict) and "type" not in values and isinstance(values.get("grader"), dict):
        values = values["grader"]
    if not isinstance(values, dict) or "type" not in values:
        raise ConfigError(f"{file} holds no grader; it should be a mapping with a 'type', such as string_check")
    return values


def open_rows(file: Path, registry: Registry) -> DataSource:
    """The rows of a JSONL file."""
    raw = {"type": "jsonl", "path": str(file.resolve())}
    source: DataSource = registry.build("data_source", raw, BuildContext(base_dir=Path.cwd()), where="--data")
    return source
