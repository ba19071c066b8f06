"""Computes units of sampling and grading: in worker processes, at addresses, or in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, Self

from rft_core.config.workers import WorkerConfig
from rft_core.pools.inprocess_pool import InProcessPool
from rft_core.pools.worker_pool import WorkerPool
from rft_core.pools.worker_slot import Reach
from rft_core.registry import Registry
from rft_core.remote.client import Recipe, credentials
from rft_core.remote.convert import json_to_text, recipe_digest
from rft_core.remote.handshake import WorkerKind
from rft_core.types import Busy, GradeUnit, ModelRef, SamplerInfo, SampleUnit, WeightRef


class Pool(Protocol):
    """Computes units, in workers or in this process; the caller cannot tell."""

    def start(self) -> None:
        """Bring all workers up, with their component. Raises what keeps them from it."""
        ...

    @property
    def info(self) -> SamplerInfo:
        """What the samplers say about themselves, all the same."""
        ...

    def load_policy(self, ref: WeightRef) -> tuple[Busy, ...]:
        """Make every worker serve `ref`, and say when they were at work. A unit of another version still
        gets its own."""
        ...

    def submit(self, unit: SampleUnit | GradeUnit) -> Future[Any]:
        """Queue a unit; the future gives its SampledUnit or GradedUnit, or raises an RftError."""
        ...

    def close(self) -> None:
        """Give up what is queued or running and end all workers. May be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_pool(
    kind: WorkerKind,
    raw_component: Mapping[str, Any],
    worker: WorkerConfig,
    *,
    run_id: str,
    base_dir: Path,
    model: ModelRef | None = None,
    seed: int = 0,
    log_dir: Path,
    on_event: Callable[[str, dict[str, Any]], None] | None = None,
    registry: Registry | None = None,
) -> Pool:
    """The pool that `worker` asks for, not yet started. `on_event(kind, event)` is called from several
    threads, one at a time. ConfigError for settings, tokens or certificates that do not do."""
    registry = registry or Registry.discover()
    emit = _serialised(on_event)
    if worker.in_process:
        return InProcessPool(
            kind, raw_component, worker, registry=registry, base_dir=base_dir, model=model, seed=seed, emit=emit
        )
    recipe = Recipe(
        kind=kind,
        run_id=run_id,
        config_json=json_to_text(dict(raw_component)),
        digest=recipe_digest(registry.digest_of(kind, raw_component), model, seed),
        base_dir=base_dir,
        model=model,
        seed=seed,
        needs_tokens=kind == "sampler" or registry.needs_tokens(raw_component),
    )
    reaches: list[Reach | None] = [None] * worker.count
    if worker.addresses:
        token, tls = worker.token(base_dir), credentials(worker, base_dir)
        reaches = [Reach(address=address, token=token, tls=tls) for address in worker.addresses]
    hedge = kind == "sampler" if worker.hedge is None else worker.hedge
    return WorkerPool(recipe, worker, reaches, log_dir=log_dir, emit=emit, hedge=hedge)


def _serialised(on_event: Callable[[str, dict[str, Any]], None] | None) -> Callable[[str, dict[str, Any]], None]:
    lock = threading.Lock()

    def emit(kind: str, event: dict[str, Any]) -> None:
        if on_event is not None:
            with lock:
                on_event(kind, event)

    return emit
