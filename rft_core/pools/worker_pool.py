"""All workers of one kind of a run: a shared queue, lanes that feed the workers, and retries.

A unit is computed by one worker. When its call fails it goes back to the front of the queue for
whichever worker is free next, so that which worker computes it, or how often, does not matter. One that
takes much longer than others is issued to an idle worker too (hedged), and the first valid answer counts.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from rft_core.config.workers import WorkerConfig
from rft_core.errors import (
    BadReplyError,
    ConfigError,
    NotConfiguredError,
    PolicyNotLoadedError,
    RftError,
    StopRequested,
    WorkerBusyError,
    WorkerError,
    WorkerRefusedError,
)
from rft_core.pools.pool_jobs import Job, Running, died_over, same_answer, split
from rft_core.pools.worker_slot import LEAST_UNITS, Reach, WorkerSlot
from rft_core.remote.client import Recipe, WorkerClient
from rft_core.replies import check_graded, check_sampled
from rft_core.types import Busy, GradedUnit, GradeUnit, SampledUnit, SamplerInfo, SampleUnit, WeightRef

MAX_ATTEMPTS = 4
MAX_FAULTS = 2
"""Errors of a component, or workers whose answers do not fit, after which a unit fails."""
SUSPECT_ATTEMPTS = 2
"""A unit over which this many worker processes ended may be what ends them: its groups are tried alone."""
UNREACHABLE_S = 60.0
"""How long a pool waits with no reachable worker at all before it gives up."""
HEDGE_POLL_S = 1.0
GRADE_SLACK_S = 10.0
"""Time for what is not grading: travel, conversion, a busy machine."""

Unit = SampleUnit | GradeUnit
Reply = SampledUnit | GradedUnit


class WorkerPool:
    """Worker processes on this machine, or workers at addresses. See `rft_core.pools.pool.Pool`."""

    def __init__(
        self,
        recipe: Recipe,
        config: WorkerConfig,
        reaches: list[Reach | None],
        *,
        log_dir: Path,
        emit: Callable[[str, dict[str, Any]], None],
        hedge: bool,
    ) -> None:
        self._recipe, self._config, self._emit = recipe, config, emit
        self._hedge = hedge and len(reaches) > 1
        self._policy: WeightRef | None = None
        self._queue: deque[Job] = deque()
        self._running = Running()
        lock = threading.RLock()
        self._condition = threading.Condition(lock)
        """Lanes that could take a unit wait here, and nobody else: one wake-up per unit must not go astray."""
        self._quiet = threading.Condition(lock)
        """Lanes wait here while a suspect unit has their worker for itself, or is about to."""
        self._ended = threading.Event()
        self._closed = False
        self._fatal: RftError | None = None
        self._down_since_s: float | None = None
        self._loads = ThreadPoolExecutor(len(reaches), "load-policy")
        self._slots = [
            WorkerSlot(
                index,
                recipe,
                config,
                log_dir=log_dir,
                reach=reach,
                emit=emit,
                changed=self._changed,
                wanted_policy=lambda: self._policy,
                lock=lock,
            )
            for index, reach in enumerate(reaches, 1)
        ]

    def start(self) -> None:
        with self._condition:
            if self._closed:  # before it began, and nobody would end the workers
                raise StopRequested("the run is ending; its workers were not started")
            for slot in self._slots:
                slot.start()
        for slot in self._slots:
            slot.started.wait()
        try:
            for slot in self._slots:
                if slot.lost and slot.error is not None:  # one that came up and died since is brought back
                    raise slot.error
            self._check_agreement()
        except RftError:
            self.close()
            raise
        lanes = [(number, slot) for slot in self._slots for number in range(slot.lanes)]
        for number, slot in sorted(lanes, key=itemgetter(0)):  # in turn, so that the first units go to all workers
            threading.Thread(target=self._lane, args=(slot,), name=f"{slot.name}-lane-{number}", daemon=True).start()
        if self._config.addresses:
            threading.Thread(target=self._watch_reachability, name="reachability", daemon=True).start()

    def _check_agreement(self) -> None:
        first = self._slots[0]
        for slot in self._slots[1:]:
            if slot.info != first.info:
                raise ConfigError(
                    f"the workers {first.name} and {slot.name} are not the same sampler ({first.info} and {slot.info}), "
                    "so results would depend on who computes them; use equal machines and installations",
                    where="sampler.worker",
                )

    @property
    def info(self) -> SamplerInfo:
        info = self._slots[0].info
        if info is None:
            raise WorkerError(f"the {self._recipe.kind} pool holds no started sampler")
        return info

    def load_policy(self, ref: WeightRef) -> tuple[Busy, ...]:
        self._policy = ref
        loads = [self._loads.submit(self._load_into, slot, ref) for slot in self._slots]
        wait(loads)
        return tuple(busy for load in loads for busy in load.result())

    def _load_into(self, slot: WorkerSlot, ref: WeightRef) -> tuple[Busy, ...]:
        """A worker that is down, or dies over it, loads the policy when it is back. One that is busy, with another
        run or with a unit that somebody else answered meanwhile, loads it for its next unit."""
        client = slot.client
        with self._condition:
            late = self._running.is_late(slot.name)
        if client is None or not slot.ready.is_set() or late:
            return ()
        try:
            return slot.load_policy(client, ref)
        except (WorkerBusyError, NotConfiguredError):
            return ()
        except WorkerRefusedError:
            raise
        except WorkerError:
            slot.report(client)
            return ()

    def submit(self, unit: Unit) -> Future[Any]:
        job = Job(unit)
        with self._condition:
            if self._fatal is not None:
                raise self._fatal
            if self._closed:
                raise WorkerError(f"the {self._recipe.kind} pool is closed")
            self._queue.append(job)
            self._condition.notify()
        return job.future

    def _lane(self, slot: WorkerSlot) -> None:
        while not slot.lost and not self._over:
            slot.ready.wait(1.0)
            taken = self._take(slot)
            if taken is None:
                continue
            client, job, hedged = taken
            try:
                self._run(slot, client, job, hedged)
            except Exception as error:  # noqa: BLE001 a bug of ours, or of whoever listens to events: told to the caller
                if not job.future.done():
                    job.future.set_exception(error)
            finally:
                self._leave(slot, job)

    def _take(self, slot: WorkerSlot) -> tuple[WorkerClient, Job, bool] | None:
        """Wait for a unit that `slot` may compute, and say whether another worker has it too. None when the
        pool is over or the worker in trouble."""
        with self._condition:
            job = self._next(slot)
            while job is None and slot.ready.is_set() and not self._over:
                if slot.solo or slot.full:
                    self._condition.notify()  # pass on what this lane may have been woken for
                    (self._quiet if slot.solo else slot.room).wait()
                else:
                    self._condition.wait(HEDGE_POLL_S if self._hedge else None)
                job = self._next(slot)
            client = slot.client
            if self._over or client is None or not slot.ready.is_set() or job is None:
                self._condition.notify()  # the wake-up may have been meant for a lane that can work
                return None
            hedged = bool(job.runners)
            if not hedged:
                self._queue.popleft()
                if job.solo and not self._clear(slot, client):
                    self._queue.appendleft(job)
                    self._condition.notify()
                    return None
            self._running.begin(job, slot.name)
            slot.in_flight += 1
            slot.groups += job.groups
            if not slot.full:
                slot.room.notify()
            return client, job, hedged

    def _next(self, slot: WorkerSlot) -> Job | None:
        """The first unit that waits, or else one that takes too long elsewhere while `slot` is idle."""
        if slot.solo or slot.full:
            return None
        if self._queue:
            return self._queue[0]
        return self._running.straggler(slot.name) if self._hedge and not slot.in_flight else None

    def _clear(self, slot: WorkerSlot, client: WorkerClient) -> bool:
        """Wait until `slot` computes nothing else, so that its end can be blamed on one unit. False if it is
        in trouble before that. Called with the lock held."""
        slot.solo = True
        while slot.in_flight and slot.client is client and slot.ready.is_set() and not self._over:
            self._quiet.wait()
        if slot.client is not client or not slot.ready.is_set() or self._over:
            slot.solo = False
            self._quiet.notify_all()
        return slot.solo

    def _leave(self, slot: WorkerSlot, job: Job) -> None:
        with self._condition:
            slot.in_flight -= 1
            slot.groups -= job.groups
            if slot.solo:
                slot.solo = not job.solo
                self._quiet.notify_all()

    @property
    def _over(self) -> bool:
        return self._closed or self._fatal is not None

    def _run(self, slot: WorkerSlot, client: WorkerClient, job: Job, hedged: bool) -> None:
        began_s = time.monotonic()
        reply: Reply | None = None
        error: RftError | None = None
        try:
            if hedged:
                self._emit("unit_hedged", {"request_id": job.unit.request_id, "worker": slot.name})
            if hedged or job.begin():
                reply = self._checked(job.unit, slot.run(client, job.unit, self._deadline_s(slot, job.unit)))
        except RftError as caught:
            error = caught
        finally:
            with self._condition:
                earlier, alone = self._running.part(job, slot.name, reply, time.monotonic() - began_s)
        if reply is not None:
            slot.succeeded()
            if earlier is None:
                job.settle_result(reply)
            elif isinstance(reply, SampledUnit) and self.info.bitwise and not same_answer(earlier, reply):
                self._emit("late_answer_differs", {"request_id": job.unit.request_id, "worker": slot.name})
        elif error is not None:
            self._went_wrong(slot, client, job, error, unfinished=alone and earlier is None)

    def _went_wrong(
        self, slot: WorkerSlot, client: WorkerClient, job: Job, error: RftError, *, unfinished: bool
    ) -> None:
        """A call failed: what that says of the worker, and what becomes of the unit if it is `unfinished`, that
        is, neither answered nor computed elsewhere."""
        lost = isinstance(error, WorkerError) and not isinstance(error, WorkerBusyError | WorkerRefusedError)
        if lost:
            slot.report(client)
        if isinstance(error, BadReplyError):
            job.bad_replies.add(slot.name)
            slot.bad_reply(error)
        if not unfinished:
            return
        if isinstance(error, WorkerBusyError):
            time.sleep(min(5.0, error.retry_after_s))
            self._requeue(job)
        elif isinstance(error, NotConfiguredError | PolicyNotLoadedError):
            job.attempts += 1  # runs that share a worker displace each other's component
            self._retry(job, slot, error, final=job.attempts >= MAX_ATTEMPTS)
        elif isinstance(error, WorkerRefusedError):
            job.settle(error)
        elif isinstance(error, WorkerError):
            job.attempts += 1
            if isinstance(job.unit, GradeUnit) and slot.reach is None and job.attempts >= SUSPECT_ATTEMPTS:
                self._suspect(job, job.unit, slot, error)
            else:
                self._retry(job, slot, error, final=job.attempts >= MAX_ATTEMPTS)
        elif isinstance(error, BadReplyError):
            self._retry(job, slot, error, final=len(job.bad_replies) >= MAX_FAULTS)
        else:
            job.faults += 1
            self._retry(job, slot, error, final=job.faults >= MAX_FAULTS)

    def _checked(self, unit: Unit, reply: Reply) -> Reply:
        if isinstance(unit, GradeUnit):
            assert isinstance(reply, GradedUnit)
            return check_graded(unit, reply)
        assert isinstance(reply, SampledUnit)
        return check_sampled(unit, reply, vocab_size=self.info.vocab_size)

    def _deadline_s(self, slot: WorkerSlot, unit: Unit) -> float:
        """For sampling the configured time; for grading what the groups' own time-outs allow at most, with as
        many groups at once as this worker grades and as many units before it as may be in flight."""
        if isinstance(unit, SampleUnit):
            return self._config.call_timeout_s
        rounds = math.ceil(len(unit.groups) / slot.at_once)
        return LEAST_UNITS * rounds * unit.timeout_s + GRADE_SLACK_S

    def _suspect(self, job: Job, unit: GradeUnit, slot: WorkerSlot, error: WorkerError) -> None:
        """Grader processes ended over this unit again and again: find the group that does it, and grade
        that one as an error. Groups are tried alone, so that none is blamed for another."""
        if job.solo:
            slot.succeeded()
            job.settle_result(died_over(unit, job.attempts, str(error)))
            return
        parts = split(job, unit)
        self._emit("unit_split", {"request_id": unit.request_id, "worker": slot.name, "error": str(error)})
        for part in reversed(parts):
            self._requeue(part)

    def _retry(self, job: Job, slot: WorkerSlot, error: RftError, *, final: bool) -> None:
        if final:
            if isinstance(error, WorkerError):
                error = WorkerError(
                    f"unit {job.unit.request_id} failed on {job.attempts} attempts, the last at {slot.name}: {error}"
                )
            job.settle(error)
            return
        self._requeue(job)
        if not self._over:
            self._emit("unit_retried", {"request_id": job.unit.request_id, "worker": slot.name, "error": str(error)})

    def _requeue(self, job: Job) -> None:
        with self._condition:
            if not self._over:
                self._queue.appendleft(job)
                self._condition.notify()
                return
        job.settle(self._fatal or StopRequested("the run is ending; the unit was given up"))

    def _changed(self) -> None:
        """A worker became ready, troubled or lost: wake the lanes; with none left, fail what waits."""
        slots = self._slots
        with self._condition:
            if self._closed:
                return
            lost = [slot for slot in slots if slot.lost]
            broken = [slot for slot in lost if slot.broken]
            if broken or len(lost) == len(slots):
                self._fail((broken or lost)[-1].error or WorkerError("no worker is left"))
            self._down_since_s = (
                None if any(slot.ready.is_set() for slot in slots) else self._down_since_s or time.monotonic()
            )
            self._wake_all()

    def _fail(self, error: RftError) -> None:
        """No worker will compute anything any more. Called with the condition held."""
        self._fatal = error
        self._ended.set()
        for job in self._queue:
            job.settle(error)
        self._queue.clear()
        self._wake_all()

    def _wake_all(self) -> None:
        for waiting in (self._condition, self._quiet, *(slot.room for slot in self._slots)):
            waiting.notify_all()

    def _watch_reachability(self) -> None:
        """Give up when no worker at any address could be reached for a while."""
        while not self._ended.wait(1.0):
            down_s = self._down_since_s
            if down_s is not None and time.monotonic() - down_s > UNREACHABLE_S:
                addresses = ", ".join(self._config.addresses)
                with self._condition:
                    last = next((str(slot.error) for slot in self._slots if slot.error is not None), "")
                    self._fail(
                        WorkerError(
                            f"none of the workers at {addresses} could be used for {UNREACHABLE_S:g} s ({last}); "
                            "start them, then resume the run"
                        )
                    )

    def close(self) -> None:
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._ended.set()
            waiting = list(self._queue)
            self._queue.clear()
            self._wake_all()
        for job in waiting:
            if not job.future.cancel():
                job.settle(StopRequested("the run is ending; the unit was given up"))
        for slot in self._slots:
            slot.begin_close()
        for slot in self._slots:
            slot.finish_close()
        self._loads.shutdown(wait=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
