"""Everything one stage of a run holds while it works: files, components, workers, and the stop flag."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import structlog

from rft_core import failpoints
from rft_core.clock import StepClock
from rft_core.config.run_file import RunConfig
from rft_core.errors import StopRequested
from rft_core.pools.pool import Pool, open_pool
from rft_core.protocols import DataSource, Observer, Optimizer
from rft_core.registry import Registry
from rft_core.runs.planning import Draw, draws_of_step
from rft_core.specs import BuildContext
from rft_core.storage.journal import Journal
from rft_core.storage.rundir import RunDir
from rft_core.types import ModelRef, SamplingParams, WeightRef
from rft_core.weights import digest_of

log = structlog.get_logger(__name__)

Listener = Callable[[str, Mapping[str, Any]], None]
LIFECYCLE = {"run_started", "step_finished", "evaluation_finished", "checkpoint_saved", "run_finished", "run_failed"}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The data of a run."""

    train: DataSource
    validation: DataSource | None = None
    test: DataSource | None = None

    def of(self, split: str) -> DataSource | None:
        source: DataSource | None = getattr(self, split)
        return source


@dataclass(kw_only=True)
class Run:
    """One stage in work. Made by `open_run`, used by the loop."""

    run_id: str
    lineage: str
    """Name of the stage: policy versions count along it."""
    config: RunConfig
    base_dir: Path
    run_dir: RunDir
    registry: Registry
    sources: Sources
    model: ModelRef
    journal: Journal
    stop: threading.Event
    grades_repeat: bool = True
    """Whether the grader gives the same rollout the same grade each time."""
    listeners: list[Listener] = field(default_factory=list)
    observers: list[tuple[str, Observer]] = field(default_factory=list)
    optimizer: Optimizer = field(init=False)
    samplers: Pool | None = None
    graders: Pool | None = None
    policy: WeightRef | None = None
    """The version that the samplers serve; None after an update, until it is published."""
    policy_number: int = 0
    """The version that the optimizer holds."""
    started_s: float = field(default_factory=time.monotonic)
    earlier_s: float = 0.0
    """Wall time of this run before it was resumed."""
    sampled_tokens: int = 0
    """In steps and validations, what `budget.max_tokens` bounds; the test rows at the end are not in it."""
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="store"))
    _storing: Future[None] | None = None

    @property
    def total_steps(self) -> int:
        return self.config.training.total_steps(len(self.sources.train))

    @property
    def elapsed_s(self) -> float:
        return self.earlier_s + time.monotonic() - self.started_s

    @property
    def resamples_bitwise(self) -> bool:
        """Whether sampling and grading a step again must give what it gave before, to the bit."""
        assert self.samplers is not None
        return self.optimizer.bitwise and self.samplers.info.bitwise and self.grades_repeat

    @property
    def samples_validation(self) -> bool:
        return self.samplers is not None and self.config.validation.sampling

    def draws(self, step: int) -> tuple[Draw, ...]:
        return draws_of_step(step, self.config.training.batch_size, len(self.sources.train), self.config.seed)

    def validation_sampling(self) -> SamplingParams:
        """How validation and test completions are drawn."""
        section = self.config.validation
        changed = {"temperature": section.temperature, "max_tokens": section.max_tokens}
        return self.config.sampling.model_copy(update={k: v for k, v in changed.items() if v is not None})

    def check_stop(self) -> None:
        """StopRequested after a signal, or when a budget is used up."""
        self.check_signal()
        budget = self.config.budget
        if budget.max_time_s is not None and self.elapsed_s >= budget.max_time_s:
            raise StopRequested(f"the time budget of {budget.max_time_s:g} s is used up")
        if budget.max_tokens is not None and self.sampled_tokens >= budget.max_tokens:
            raise StopRequested(f"the budget of {budget.max_tokens} sampled tokens is used up")

    def check_signal(self) -> None:
        """StopRequested when somebody asked for a polite stop."""
        if self.stop.is_set():
            raise StopRequested("stopped by request")

    def emit(self, kind: str, **values: Any) -> None:
        """Tell everyone who watches. Lifecycle events also reach observers, plugins and events.jsonl."""
        for listener in self.listeners:
            listener(kind, values)
        if kind not in LIFECYCLE:
            return
        self.run_dir.log_event(kind, **values)
        for entry in list(self.observers):
            name, observer = entry
            try:
                observer.on_event(kind, values)
            except Exception as error:  # noqa: BLE001 the boundary: an observer never stops a run
                log.warning("observer_failed", observer=name, error=f"{type(error).__name__}: {error}")
                self.observers.remove(entry)
        self.registry.notify(f"rft_{kind}", values)

    def phase(self, waits_for: str) -> None:
        """What the run waits for: shown live."""
        self.emit("phase", waits_for=waits_for)

    def store_in_background(self, function: Callable[..., None], *arguments: Any) -> None:
        """Do a write beside the optimizer's work. One at a time: `finish_storing` before the next."""
        self.finish_storing()
        self._storing = self._writer.submit(function, *arguments)

    def finish_storing(self) -> None:
        """Wait for the write in the background; raises what kept it from happening."""
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.result()

    def current_policy(self, clock: StepClock | None = None) -> WeightRef:
        """Publish the optimizer's weights and have every sampler serve them, unless they do."""
        assert self.samplers is not None
        if self.policy is None:
            number = self.policy_number
            folder = self.run_dir.weights / f"v{number:06d}"
            failpoints.hit("publish.before")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with clock.measure("publish") if clock is not None else contextlib.nullcontext():
                published = self.optimizer.publish(folder, run_id=self.run_id, lineage=self.lineage)
            failpoints.hit("publish.written")
            self.serve(published, clock)
            self._forget_weights(keep=number)
        assert self.policy is not None
        return self.policy

    def serve(self, weights: WeightRef, clock: StepClock | None = None) -> None:
        """Have every sampler serve a version that is on disk."""
        assert self.samplers is not None
        busy = self.samplers.load_policy(weights)
        if clock is not None:
            clock.add(busy)
        self.policy = weights
        failpoints.hit("publish.loaded")

    def initial_policy(self) -> WeightRef:
        """The version before the first update, which stays on disk for comparison."""
        folder = self.run_dir.weights / "v000000"
        kind: Literal["full", "adapter"] = "adapter" if (folder / "adapter_model.safetensors").exists() else "full"
        return WeightRef(
            run_id=self.run_id, lineage=self.lineage, number=0, digest=digest_of(folder), kind=kind, path=str(folder)
        )

    def policy_changed(self, number: int) -> None:
        """Called after each update: what the samplers serve is old now."""
        self.policy_number = number
        self.policy = None

    def _forget_weights(self, keep: int) -> None:
        for folder in self.run_dir.weights.iterdir():
            if folder.name not in ("v000000", f"v{keep:06d}"):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def working(run: Run, *, needs_sampler: bool) -> Iterator[Run]:
    """Build the optimizer while the workers start; close everything at the end."""
    context = BuildContext(
        base_dir=run.base_dir,
        seed=run.config.seed,
        model=run.model,
        run_dir=run.run_dir.path,
        sampling=run.config.sampling,
        settings={"total_steps": run.total_steps},
    )
    with contextlib.ExitStack() as stack:
        stack.callback(run._writer.shutdown)
        for number, raw in enumerate(run.config.observers):
            observer = run.registry.build("observer", raw, context, where=f"observers.{number}")
            run.observers.append((str(raw["type"]), observer))
            stack.callback(observer.close)
        starting = []
        executor = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="start"))
        if needs_sampler:
            run.samplers, run.graders = _pool(run, "sampler"), _pool(run, "grader")
            for pool in (run.samplers, run.graders):
                stack.callback(pool.close)
            starting = [executor.submit(run.samplers.start), executor.submit(run.graders.start)]
        run.optimizer = run.registry.build("optimizer", run.config.optimizer, context, where="optimizer")
        stack.callback(run.optimizer.close)
        for future in starting:
            future.result()
        failpoints.hit("pools.started")
        yield run


def _pool(run: Run, kind: Literal["sampler", "grader"]) -> Pool:
    config = run.config
    return open_pool(
        kind,
        config.sampler_component if kind == "sampler" else config.grader or {},
        config.sampler_worker if kind == "sampler" else config.grading.worker,
        run_id=run.run_id,
        base_dir=run.base_dir,
        model=run.model if kind == "sampler" else None,
        seed=config.seed,
        log_dir=run.run_dir.logs,
        on_event=lambda event, values: run.run_dir.log_event(event, **values),
        registry=run.registry,
    )
