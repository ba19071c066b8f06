"""The pool of `in_process: true`: the component lives in the engine's own process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from rft_core.config.workers import WorkerConfig
from rft_core.errors import WorkerError
from rft_core.grading import without_tokens
from rft_core.hosting import AnyGraderHost, SamplerHost, facts_of, host_grader, same_policy
from rft_core.registry import Registry
from rft_core.remote.handshake import WorkerKind
from rft_core.specs import BuildContext
from rft_core.types import Busy, GradeUnit, ModelRef, SamplerInfo, SampleUnit, WeightRef


class InProcessPool:
    """Same interface as `WorkerPool`, without processes: one thread for a sampler, some for a grader."""

    def __init__(
        self,
        kind: WorkerKind,
        raw_component: Mapping[str, Any],
        worker: WorkerConfig,
        *,
        registry: Registry,
        base_dir: Path,
        model: ModelRef | None,
        seed: int,
        emit: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._kind, self._raw, self._worker, self._registry, self._emit = kind, raw_component, worker, registry, emit
        self._context = BuildContext(base_dir=base_dir, seed=seed, model=model)
        self._needs_tokens = kind == "sampler" or registry.needs_tokens(raw_component)
        self._lock = threading.Lock()
        self._closed = False
        self._host: SamplerHost | AnyGraderHost | None = None
        # A unit may be one group, and one more waits.
        threads = 1 if kind == "sampler" else worker.concurrency + 1
        self._threads = ThreadPoolExecutor(threads, f"{kind}-in-process")

    def start(self) -> None:
        self._host = self._threads.submit(self._build).result()
        self._emit("worker_started", {"worker": f"{self._kind} in process", "pid": None, **self._facts})

    def _build(self) -> SamplerHost | AnyGraderHost:
        component = self._registry.build(self._kind, self._raw, self._context)
        self._facts = facts_of(component)
        if self._kind == "grader":
            return host_grader(component, self._worker.concurrency, instant=self._registry.instant(self._raw))
        host = SamplerHost(component)
        host.info()
        return host

    @property
    def info(self) -> SamplerInfo:
        return self._sampler().info()

    def load_policy(self, ref: WeightRef) -> tuple[Busy, ...]:
        return self._threads.submit(self._sampler().load_policy, ref).result()

    def submit(self, unit: SampleUnit | GradeUnit) -> Future[Any]:
        with self._lock:
            if self._closed:
                raise WorkerError(f"the {self._kind} pool is closed")
            return self._threads.submit(self._run, unit)

    def _run(self, unit: SampleUnit | GradeUnit) -> Any:
        if isinstance(unit, GradeUnit):
            if not isinstance(self._host, AnyGraderHost):
                raise WorkerError("the grader pool was not started")
            return self._host.grade(unit if self._needs_tokens else without_tokens(unit))
        sampler = self._sampler()
        if sampler.policy is None or not same_policy(sampler.policy, unit.policy):
            sampler.load_policy(unit.policy)
        return sampler.sample(unit)

    def _sampler(self) -> SamplerHost:
        if not isinstance(self._host, SamplerHost):
            raise WorkerError(f"the {self._kind} pool holds no started sampler")
        return self._host

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._host is not None:
            self._host.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
