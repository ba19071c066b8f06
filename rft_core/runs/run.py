"""Everything one stage of a run holds while it works: files, components, workers, and the stop flag."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import structlog

from rft_core import failpoints
from rft_core.clock import StepClock
from rft_core.config.run_file import RunConfig
from rft_core.errors import StopRequested
from rft_core.pools.pool import Pool
from rft_core.protocols import DataSource, Observer
from rft_core.registry import Registry
from rft_core.runs.assembly import is_costly, pool_of, sees_groups
from rft_core.runs.hosted import HostedOptimizer, Sources
from rft_core.runs.paid_grades import PaidGrades
from rft_core.runs.planning import Draw, draws_of_step
from rft_core.specs import BuildContext
from rft_core.storage.files import storage
from rft_core.storage.journal import Journal
from rft_core.storage.ledger import Ledger
from rft_core.storage.rundir import RunDir
from rft_core.types import ModelRef, SamplingParams, WeightRef
from rft_core.weights import ADAPTER_FILE, digest_of

log = structlog.get_logger(__name__)

Listener = Callable[[str, Mapping[str, Any]], None]
START_POLL_S = 0.25
LIFECYCLE = {"run_started", "step_finished", "evaluation_finished", "checkpoint_saved", "run_finished", "run_failed"}


@dataclass(kw_only=True)
class Run:
    """One stage in work. Made by `Stage.run`, used by the loop."""

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
    grader_version: str | None = None
    """Digest of all that decides a grade, code included."""
    listeners: list[Listener] = field(default_factory=list)
    observers: list[tuple[str, Observer]] = field(default_factory=list)
    optimizer: HostedOptimizer = field(init=False)
    paid_grades: PaidGrades | None = None
    ledger: Ledger | None = None
    """What graders were paid for; None where grades cost nothing."""
    samplers: Pool | None = None
    graders: Pool | None = None
    policy: WeightRef | None = None
    """The version that the samplers serve; None after an update, until it is published."""
    policy_number: int = 0
    """The version that the optimizer holds."""
    started_s: float = field(default_factory=time.monotonic)
    earlier_s: float = 0.0
    """Wall time of this stage before it was resumed."""
    ended: Sequence[Mapping[str, Any]] = ()
    """The stages before this one: name, steps, wall time, whether the cache had them."""
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
    def wall_s(self) -> float:
        """Time of all stages so far, while the engine ran."""
        return sum(float(stage["wall_s"]) for stage in self.ended) + self.elapsed_s

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
        if budget.max_cost is not None and self.ledger is not None:
            cost = self.ledger.spend().cost_usd
            if cost >= budget.max_cost:
                raise StopRequested(f"grading has cost ${cost:.2f}, and the budget is ${budget.max_cost:.2f}")

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

    def alarm(self, step: int, message: str) -> None:
        """Something looks wrong, and the run goes on: in events.jsonl, and told to whoever watches live."""
        self.run_dir.log_event("alarm", step=step, message=message)
        self.emit("alarm", step=step, message=message)

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
            with storage("publish weights", folder), clock.measure("publish") if clock else contextlib.nullcontext():
                folder.mkdir(parents=True)
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

    @contextlib.contextmanager
    def serving(self, weights: WeightRef) -> Iterator[None]:
        """Have every sampler serve a version for the moment, which need not be the optimizer's."""
        if weights == self.policy:
            yield
            return
        self.serve(weights)
        try:
            yield
        finally:
            self.policy = None  # published anew before the samplers are asked again

    def policy_at(self, step: int) -> int:
        """Number of the version after `step`."""
        update = self.journal.last("update", step)
        return int(update.data["policy"]) if update is not None else 0

    def kept_policy(self, step: int) -> WeightRef | None:
        """The version after `step` as it lies on disk, in a checkpoint; None if it is not kept. The one before
        the first update always is, and the journal gives its digest."""
        folder, digest = self.run_dir.checkpoint(step) / "optimizer" / "policy", None
        if step == 0:
            record = self.journal.last("run")
            folder = self.run_dir.weights / "v000000"
            digest = record.aside.get("initial_policy") if record is not None else None
        if not folder.is_dir():
            return None
        return weight_ref(folder, run_id=self.run_id, lineage=self.lineage, number=self.policy_at(step), digest=digest)

    def policy_changed(self, number: int) -> None:
        """Called after each update: what the samplers serve is old now."""
        self.policy_number = number
        self.policy = None

    def _forget_weights(self, keep: int) -> None:
        for folder in self.run_dir.weights.iterdir():
            if folder.name not in ("v000000", f"v{keep:06d}"):
                shutil.rmtree(folder, ignore_errors=True)


def weight_ref(folder: Path, *, run_id: str, lineage: str, number: int, digest: str | None = None) -> WeightRef:
    """The policy version whose files lie in `folder`; whoever loads it checks them against `digest`."""
    return WeightRef(
        run_id=run_id,
        lineage=lineage,
        number=number,
        digest=digest or digest_of(folder),
        kind="adapter" if (folder / ADAPTER_FILE).exists() else "full",
        path=str(folder.resolve()),
    )


@contextlib.contextmanager
def working(run: Run, *, sampled: Sequence[DataSource]) -> Iterator[Run]:
    """Build the optimizer while the workers start; close everything at the end. Without rows to sample completions for
    there are no workers."""
    context = BuildContext(
        base_dir=run.base_dir,
        seed=run.config.seed,
        model=run.model,
        run_dir=run.run_dir.path,
        sampling=run.config.sampling,
        train=run.sources.train,
        sampled=sampled,
        settings={"total_steps": run.total_steps},
    )
    with contextlib.ExitStack() as stack:
        stack.callback(run._writer.shutdown)
        _start(run, stack, context)
        failpoints.hit("pools.started")
        yield run


def _start(run: Run, stack: contextlib.ExitStack, context: BuildContext) -> None:
    for number, raw in enumerate(run.config.observers):
        observer = run.registry.build("observer", raw, context, where=f"observers.{number}")
        run.observers.append((str(raw["type"]), observer))
        stack.callback(_close_observer, str(raw["type"]), observer)
    starting = []
    executor = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="start"))
    if context.sampled:
        run.samplers, run.graders = _pool(run, "sampler"), _pool(run, "grader")
        for pool in (run.samplers, run.graders):
            stack.callback(pool.close)
        starting = [executor.submit(run.samplers.start), executor.submit(run.graders.start)]
        _open_ledger(run, stack)
    with _stopped_by_signals(run):
        optimizer = run.registry.build("optimizer", run.config.optimizer, context, where="optimizer")
    run.optimizer = HostedOptimizer(optimizer, str(run.config.optimizer["type"]))
    stack.callback(run.optimizer.close)
    for future in starting:
        while not future.done():
            run.check_signal()
            wait([future], timeout=START_POLL_S)
        future.result()


def _open_ledger(run: Run, stack: contextlib.ExitStack) -> None:
    """For graders whose grades are worth keeping, or where the run file asks for it."""
    raw, wanted = run.config.grader, run.config.grading.ledger
    if raw is None or run.grader_version is None:
        return
    if wanted is None:
        wanted = run.config.budget.max_cost is not None or is_costly(run.registry, raw)
    if wanted:
        run.ledger = Ledger(run.run_dir.ledger)
        stack.callback(run.ledger.close)
        run.paid_grades = PaidGrades(
            run.ledger,
            run.grader_version,
            deterministic=run.grades_repeat,
            whole_groups=sees_groups(run.registry, raw),
        )


class _StopNow(BaseException):
    """No Exception, because a library that tries an import and takes any Exception for its absence would swallow it."""


@contextlib.contextmanager
def _stopped_by_signals(run: Run) -> Iterator[None]:
    """Nothing is lost before the first step, so a polite stop need not wait until a model is loaded: the
    signal handlers that are installed are told, then StopRequested is raised where the main thread is. Only
    around what may take long and can be left anywhere: raised between two lines of our own, it could leave
    workers that nobody ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        before[signal.Signals(number)](number, frame)
        if run.stop.is_set():
            raise _StopNow

    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: earlier for number, earlier in found.items() if callable(earlier)}
    try:
        for number in before:
            signal.signal(number, handler)
        try:
            run.check_signal()
            yield
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)
    except _StopNow:
        run.check_signal()


def _close_observer(name: str, observer: Observer) -> None:
    try:
        observer.close()
    except Exception as error:  # noqa: BLE001 the boundary: an observer never stops a run
        log.warning("observer_failed", observer=name, error=f"{type(error).__name__}: {error}")


def _pool(run: Run, kind: Literal["sampler", "grader"]) -> Pool:
    return pool_of(
        kind,
        run.config,
        run_id=run.run_id,
        base_dir=run.base_dir,
        model=run.model,
        log_dir=run.run_dir.logs,
        on_event=lambda event, values: run.run_dir.log_event(event, **values),
        registry=run.registry,
    )
