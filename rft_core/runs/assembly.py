"""From a checked run file to components: phase two of loading, still without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rft_core.canonical import digest
from rft_core.config.run_file import RunConfig, RunFile
from rft_core.errors import ConfigError, ModelError, RunDirError, nearest
from rft_core.model_folders import find_language_model
from rft_core.pools.pool import Pool, open_pool
from rft_core.protocols import DataSource
from rft_core.registry import Registry
from rft_core.remote.handshake import WorkerKind
from rft_core.runs.hosted import HostedSource, Sources, materialize
from rft_core.specs import BuildContext, GraderSpec, OptimizerSpec
from rft_core.storage.files import sha256_file, storage
from rft_core.storage.rundir import RunDir
from rft_core.types import ModelRef
from rft_core.weights import ADAPTER_FILE, digest_of, writes_nothing


def cache_dir() -> Path:
    """Where models made on this machine and cached stages lie: `$RFT_CACHE_DIR`, or ~/.cache/rft-engine."""
    return Path(os.environ.get("RFT_CACHE_DIR") or Path.home() / ".cache" / "rft-engine")


def check_stages(registry: Registry, run_file: RunFile) -> None:
    """`check_components` for every stage, and that each can go on from the one before."""
    for name, config in run_file.stages:
        check_components(registry, config, run_file.base_dir, where=run_file.where(name))
    for (name, config), (after, following) in pairwise(run_file.stages):
        if makes_policy(registry, following) and not makes_policy(registry, config):
            raise ConfigError(
                f"the stage '{after}' cannot go on from the model of the stage '{name}', which writes nothing; "
                f"make '{name}' the last stage, and give '{after}' a run file of its own",
                where="stages",
            )


def learns_from_grades(registry: Registry, config: RunConfig) -> bool:
    """Whether the optimizer of a stage needs rollouts with grades."""
    return _optimizer_spec(registry, config).needs == "rollouts"


def makes_policy(registry: Registry, config: RunConfig) -> bool:
    """Whether what a stage trains writes text, unlike a reward model."""
    return _optimizer_spec(registry, config).makes_policy


def _optimizer_spec(registry: Registry, config: RunConfig) -> OptimizerSpec:
    spec = registry.registered("optimizer", config.optimizer["type"]).spec
    assert isinstance(spec, OptimizerSpec)
    return spec


def check_components(registry: Registry, config: RunConfig, base_dir: Path, *, where: str = "") -> None:
    """Every component that the file names exists and accepts its settings. ConfigError otherwise."""

    def at(path: str) -> str:
        return f"{where}: {path}" if where else path

    registry.configure("model_source", config.model, where=at("model"))
    for split in ("train", "validation", "test"):
        raw = getattr(config.data, split)
        if raw is not None:
            registry.configure("data_source", raw, where=at(f"data.{split}"))
    optimizer, settings = registry.configure("optimizer", config.optimizer, where=at("optimizer"))
    registry.configure("sampler", config.sampler_component, where=at("sampler"))
    _ = config.sampler_worker
    if not makes_policy(registry, config) and (config.grader or config.data.test) is not None:
        raise ConfigError(
            f"the optimizer '{optimizer.spec.name}' trains a model that writes nothing, so there is nothing to grade; "
            "set grader and data.test to null, or leave them out",
            where=at("grader" if config.grader is not None else "data.test"),
        )
    if config.grader is not None:
        for _ in graders_in(registry, config.grader, at("grader")):
            pass
    elif learns_from_grades(registry, config):
        raise ConfigError(
            f"the optimizer '{optimizer.spec.name}' learns from graded rollouts, so the run needs a grader",
            where=at("grader"),
        )
    if config.data.test is not None and config.grader is None:
        raise ConfigError("a test split is graded, so the run needs a grader", where=at("grader"))
    _check_group_size(registry, config, optimizer.spec, settings, at("training.group_size"))
    _check_early_stopping(config, optimizer.spec, at("validation.early_stopping"))
    _check_optimizer(registry, config, base_dir, where)
    for number, raw in enumerate(config.observers):
        registry.configure("observer", raw, where=at(f"observers.{number}"))


def _check_group_size(registry: Registry, config: RunConfig, spec: Any, settings: BaseModel, where: str) -> None:
    size = config.training.group_size
    for part in registry.parts_of(spec, settings):
        if size < part.min_group_size:
            raise ConfigError(
                f"the {part.role} '{part.name}' compares the rollouts of a prompt, and {size} is too few; set "
                f"{part.min_group_size} or more, or take another {part.role}",
                where=where,
            )


def _check_early_stopping(config: RunConfig, spec: Any, where: str) -> None:
    stopping = config.validation.early_stopping
    if stopping is None:
        return
    if config.data.validation is None:
        raise ConfigError("there are no validation rows to stop by; set data.validation, or drop it", where=where)
    if stopping.metric == "loss" and not spec.measures_loss:
        raise ConfigError(f"the optimizer '{spec.name}' measures no validation loss; set metric: reward", where=where)
    if stopping.metric == "reward" and (config.grader is None or not config.validation.sampling):
        instead = "set metric: loss, or " if spec.measures_loss else ""
        raise ConfigError(
            f"this run measures no validation reward; {instead}give it a grader and validation.sampling: true",
            where=where,
        )


def other_models(registry: Registry, config: RunConfig, base_dir: Path) -> Iterator[tuple[str, Path]]:
    """Keys of the optimizer's settings that name other models, and their absolute paths."""
    registered, settings = registry.configure("optimizer", config.optimizer, where="optimizer")
    assert isinstance(registered.spec, OptimizerSpec)
    for key, path in registered.spec.models(settings).items():
        yield key, (base_dir / Path(path).expanduser()).resolve()


def other_model_digests(registry: Registry, config: RunConfig, base_dir: Path) -> dict[str, list[str]]:
    """By key, digests of other models: the base, and an adapter over it. ModelError if one is gone."""
    return {
        key: [text for folder in find_language_model(path) if folder is not None for text in model_digest(folder)]
        for key, path in other_models(registry, config, base_dir)
    }


def model_digest(folder: Path) -> list[str]:
    """Of the weights, and of the settings by which they are scaled."""
    settings = (folder / name for name in ("config.json", "adapter_config.json"))
    return [digest_of(folder), *(sha256_file(file) for file in settings if file.is_file())]


def _check_optimizer(registry: Registry, config: RunConfig, base_dir: Path, where: str) -> None:
    context = BuildContext(base_dir=base_dir, seed=config.seed, sampling=config.sampling)
    try:
        registry.check_optimizer(config.optimizer, context)
    except ConfigError as error:
        raise error.below(where) from None


def graders_in(
    registry: Registry, raw: Mapping[str, Any], where: str = "grader"
) -> Iterator[tuple[GraderSpec, BaseModel]]:
    """A grader and all graders inside it, with their checked settings. ConfigError for a wrong one."""
    found, settings = registry.configure("grader", raw, where=where)
    spec = found.spec
    assert isinstance(spec, GraderSpec)
    yield spec, settings
    for key, nested in spec.nested(settings).items():
        yield from graders_in(registry, nested, f"{where}.graders.{key}")


def is_deterministic(registry: Registry, raw: Mapping[str, Any]) -> bool:
    """Whether a grader gives the same rollout the same grade each time."""
    return all(spec.deterministic(settings) for spec, settings in graders_in(registry, raw))


def is_costly(registry: Registry, raw: Mapping[str, Any]) -> bool:
    """Whether its grades are worth keeping: one grader inside that is, is enough."""
    return any(spec.costly(settings) for spec, settings in graders_in(registry, raw))


def sees_groups(registry: Registry, raw: Mapping[str, Any]) -> bool:
    """Whether a grade depends on the other rollouts of its group."""
    return any(spec.whole_groups(settings) for spec, settings in graders_in(registry, raw))


def grader_version(registry: Registry, raw: Mapping[str, Any], base_dir: Path) -> str:
    """Digest of all that decides a grade: settings, providers, and the content of the graders' files."""
    files: dict[str, Any] = {}
    for spec, settings in graders_in(registry, raw):
        for name in spec.files(settings):
            path = base_dir / Path(name).expanduser()
            if "*" not in path.name:
                files[name] = sha256_file(path) if path.is_file() else None
                continue
            matching = [match for match in sorted(path.parent.glob(path.name)) if match.is_file()]
            files[name] = [[match.name, sha256_file(match)] for match in matching]
    owners = sorted({str(registry.describe("grader", spec.name)) for spec, _ in graders_in(registry, raw)})
    return digest([registry.digest_of("grader", raw), owners, files])


def template_variables(registry: Registry, config: RunConfig) -> tuple[str, ...]:
    """All `item.…` variables that the grader and the optimizer refer to, sorted."""
    registered, settings = registry.configure("optimizer", config.optimizer, where="optimizer")
    found = registered.spec.variables(settings)  # type: ignore[union-attr]
    return tuple(sorted({*grader_variables(registry, config), *(v for v in found if v.startswith("item."))}))


def grader_variables(registry: Registry, config: RunConfig) -> tuple[str, ...]:
    """All `item.…` variables that the grader refers to, sorted."""
    found: set[str] = set()
    if config.grader is not None:
        for spec, settings in graders_in(registry, config.grader):
            found.update(spec.variables(settings))
    return tuple(sorted(v for v in found if v.startswith("item.")))


def open_sources(registry: Registry, config: RunConfig, base_dir: Path) -> Sources:
    """Open the data of a run. DataError names file, line and column of a bad row."""
    train, validation, test = (open_source(registry, config, s, base_dir) for s in ("train", "validation", "test"))
    assert train is not None
    sources = Sources(train=train, validation=validation, test=test)
    for source in (sources.validation, sources.test):
        if source is not None and config.validation.cluster_by is not None:
            _check_clusters(source, config.validation.cluster_by)
    return sources


def open_source(registry: Registry, config: RunConfig, split: str, base_dir: Path) -> DataSource | None:
    """Open one split; None if the run has none."""
    raw = getattr(config.data, split)
    if raw is None:
        return None
    context = BuildContext(base_dir=base_dir, seed=config.seed)
    source = HostedSource(registry.build("data_source", raw, context, where=f"data.{split}"), str(raw["type"]))
    if len(source) == 0:
        raise ConfigError("this data source has no rows", where=f"data.{split}")
    return source


def _check_clusters(source: DataSource, key: str) -> None:
    """ConfigError unless every row says which cluster it is of: alone in a cluster it would count too much."""
    for index in range(len(source)):
        item = source.item(index)
        if key not in item.row:
            raise ConfigError(
                f"the row {item.key} has no '{key}'{nearest(key, item.row)}", where="validation.cluster_by"
            )


def resolve_model(registry: Registry, config: RunConfig, base_dir: Path) -> ModelRef:
    """Make sure that the starting model lies on this machine."""
    source = registry.build(
        "model_source", config.model, BuildContext(base_dir=base_dir, seed=config.seed), where="model"
    )
    folder = cache_dir() / "models"
    with storage("make a folder for models", folder):
        folder.mkdir(parents=True, exist_ok=True)
    return materialize(source, str(config.model["type"]), folder)


def pool_of(
    kind: WorkerKind,
    config: RunConfig,
    *,
    run_id: str,
    base_dir: Path,
    model: ModelRef,
    log_dir: Path,
    registry: Registry,
    on_event: Callable[[str, dict[str, Any]], None] | None = None,
) -> Pool:
    """The pool of samplers or graders that a config asks for, not yet started."""
    is_sampler = kind == "sampler"
    return open_pool(
        kind,
        config.sampler_component if is_sampler else config.grader or {},
        config.sampler_worker if is_sampler else config.grading.worker,
        run_id=run_id,
        base_dir=base_dir,
        model=model if is_sampler else None,
        seed=config.seed,
        log_dir=log_dir,
        on_event=on_event,
        registry=registry,
    )


def refuse_scorer(registry: Registry, config: RunConfig, model: ModelRef) -> None:
    """ModelError if a stage that trains a policy would start from a model that writes nothing."""
    if makes_policy(registry, config):
        for folder in (model.path, model.adapter):
            if folder is not None:
                refuse_to_sample(folder)


def refuse_to_sample(folder: Path) -> None:
    """ModelError for a model that writes nothing."""
    if writes_nothing(folder):
        raise ModelError(
            f"the model in {folder} says how good a text is and writes none, so it is no policy; "
            "use it as grader: {type: reward_model, path: …}"
        )


def model_of(policy: Path, base: ModelRef) -> ModelRef:
    """A policy folder as the model of a later stage or run: whole, or an adapter over `base`."""
    if (policy / ADAPTER_FILE).exists():
        return replace(base, adapter=policy)
    return replace(base, path=policy, adapter=None)


def run_model(run_dir: RunDir) -> ModelRef:
    """The model that a run's stage began from, as config.json recorded it."""
    values = run_dir.read_config().get("resolved_model")
    if values is None:
        raise RunDirError(f"the run in {run_dir.path} has not begun; 'rft-engine resume {run_dir.path}' starts it")
    adapter = values.get("adapter")
    return ModelRef(
        path=Path(values["path"]),
        device=values["device"],
        dtype=values["dtype"],
        adapter=None if adapter is None else Path(adapter),
    )
