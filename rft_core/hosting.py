"""Hosts one component: error boundary, time-outs, checks of its answers, and what time it took.

The same hosts serve a component in the engine's process and in a worker, so that the loop cannot
tell the difference.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rft_core import weights
from rft_core.boundary import component_error, error_grade
from rft_core.errors import BadReplyError, ComponentError, PolicyNotLoadedError
from rft_core.protocols import Grader, Sampler
from rft_core.replies import check_sampled, settle_grades
from rft_core.types import Busy, Grade, GradedUnit, GradeUnit, Group, SampledUnit, SamplerInfo, SampleUnit, WeightRef

QUICK_S = 0.001
"""A unit graded in less never needs a second thread."""


class SamplerHost:
    """Serves a sampler. Calls must not overlap: one thread owns the sampler."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._info: SamplerInfo | None = None
        self.policy: WeightRef | None = None
        """What the sampler serves; None before the first `load_policy`, and after one that failed."""

    def info(self) -> SamplerInfo:
        """What the sampler says about itself, asked once."""
        if self._info is None:
            try:
                self._info = self._sampler.info()
            except Exception as error:
                raise component_error(error, "the sampler") from error
        return self._info

    def load_policy(self, ref: WeightRef) -> tuple[Busy, ...]:
        """Verify the files against the reference's digest, then serve it; says when the sampler was at work.
        IntegrityError, ModelError, ComponentError."""
        if self.policy is not None and same_policy(self.policy, ref):
            return ()
        weights.verify(Path(ref.path), ref.digest)
        self.policy = None
        start_s = time.monotonic()
        try:
            self._sampler.load_policy(ref)
        except Exception as error:
            raise component_error(error, f"the sampler, on loading policy {ref.number} from {ref.path},") from error
        self.policy = ref
        return (Busy(kind="load", start_s=start_s, end_s=time.monotonic()),)

    def sample(self, unit: SampleUnit) -> SampledUnit:
        """The sampler's checked answer. PolicyNotLoadedError, ComponentError or BadReplyError."""
        if self.policy is None or not same_policy(self.policy, unit.policy):
            served = f"policy {self.policy.number} ({self.policy.digest})" if self.policy else "no policy"
            raise PolicyNotLoadedError(
                f"unit {unit.request_id} asks for policy {unit.policy.number} ({unit.policy.digest}), the sampler serves {served}"
            )
        vocab_size = self.info().vocab_size
        start_s = time.monotonic()
        try:
            reply = self._sampler.sample(unit)
        except Exception as error:
            raise component_error(error, f"the sampler, on unit {unit.request_id},") from error
        end_s = time.monotonic()
        reply = check_sampled(unit, reply, vocab_size=vocab_size)
        return replace(reply, busy=(Busy(kind="sample", start_s=start_s, end_s=end_s),))

    def close(self) -> None:
        self._sampler.close()


def facts_of(component: object) -> dict[str, str]:
    """What a component says about how it works on this machine, by its optional method `facts()`: a record
    of the run, in events.jsonl."""
    facts = getattr(component, "facts", None)
    return {str(name): str(value) for name, value in facts().items()} if callable(facts) else {}


def same_policy(one: WeightRef, other: WeightRef) -> bool:
    """Whether two references name the same version; where the files lie does not matter."""
    return (one.digest, one.number, one.lineage, one.run_id) == (
        other.digest,
        other.number,
        other.lineage,
        other.run_id,
    )


class GraderHost:
    """Serves a grader with `concurrency` threads. `submit` and `grade` may be called from any thread.

    A Python thread cannot be stopped: a call that exceeds its time is left behind and another thread
    takes its place. With `max_hung` calls left behind the host is `exhausted` and its process should
    be replaced.
    """

    def __init__(self, grader: Grader, concurrency: int = 4) -> None:
        self._grader = grader
        self.concurrency = concurrency
        self.max_hung = max(4, concurrency)
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._hung = 0
        self._watch = _Watch(self._replace_lane)
        for _ in range(concurrency):
            self._add_lane()

    @property
    def exhausted(self) -> bool:
        """Too many calls hang; `submit` refuses further work."""
        return self._hung >= self.max_hung

    def submit(self, unit: GradeUnit) -> Future[GradedUnit]:
        """One grade per rollout, whatever the grader does. ComponentError when the host is exhausted.

        Blocks for at most `QUICK_S`: a grader that compares texts is done by then, and its future too, which
        spares it the threads beside the first."""
        if self.exhausted:
            raise ComponentError(
                f"{self._hung} calls of the grader exceeded their time and still hang; run it in a worker process, which is replaced then"
            )
        batch = _Batch(unit)
        self._watch.add(batch)
        self._batches.put(batch)
        with suppress(TimeoutError):
            batch.future.result(QUICK_S)
        if not batch.future.done():
            for _ in range(min(self.concurrency, len(unit.groups)) - 1):
                self._batches.put(batch)
        return batch.future

    def grade(self, unit: GradeUnit) -> GradedUnit:
        """The same, waited for."""
        return self.submit(unit).result()

    def close(self) -> None:
        for _ in range(self.concurrency):
            self._batches.put(None)
        self._watch.close()
        self._grader.close()

    def _add_lane(self) -> None:
        threading.Thread(target=self._lane, name="grader-lane", daemon=True).start()

    def _replace_lane(self, batch: _Batch) -> None:
        with self._lock:
            self._hung += 1
        self._add_lane()
        self._batches.put(batch)

    def _lane(self) -> None:
        while (batch := self._batches.get()) is not None:
            while (index := batch.take()) is not None:
                if not batch.finish(index, grade_group(self._grader, batch.groups[index])):
                    with self._lock:
                        self._hung -= 1
                    return


class InstantGraderHost:
    """Serves a grader whose grades take microseconds, in the thread that asks: no thread of its own, no time-out.
    `submit` and `grade` may be called from any thread."""

    exhausted = False

    def __init__(self, grader: Grader) -> None:
        self._grader = grader

    def submit(self, unit: GradeUnit) -> Future[GradedUnit]:
        """One grade per rollout, whatever the grader does; the future is done."""
        future: Future[GradedUnit] = Future()
        future.set_result(self.grade(unit))
        return future

    def grade(self, unit: GradeUnit) -> GradedUnit:
        start_s = time.monotonic()
        grades = tuple(grade_group(self._grader, group) for group in unit.groups)
        busy = Busy(kind="grade", start_s=start_s, end_s=time.monotonic())
        return GradedUnit(request_id=unit.request_id, grades=grades, busy=(busy,))

    def close(self) -> None:
        self._grader.close()


AnyGraderHost = GraderHost | InstantGraderHost


def host_grader(grader: Grader, concurrency: int, *, instant: bool) -> AnyGraderHost:
    """The host for a grader that is `instant` by its spec, or may take its time."""
    return InstantGraderHost(grader) if instant else GraderHost(grader, concurrency)


def grade_group(grader: Grader, group: Group) -> tuple[Grade, ...]:
    """The grader's answer for one group; whatever it raises, `sys.exit` included, becomes error grades."""
    try:
        return settle_grades(grader.grade(group), len(group.rollouts))
    except BadReplyError as error:
        return (Grade.error("other_error", str(error)),) * len(group.rollouts)
    except BaseException as error:  # noqa: BLE001 the boundary; above it is only the end of the thread
        return (error_grade(error),) * len(group.rollouts)


class _Batch:
    """The groups of one unit, shared by the lanes that grade it; when all have grades, `future` has the answer."""

    def __init__(self, unit: GradeUnit) -> None:
        self.groups = unit.groups
        self.future: Future[GradedUnit] = Future()
        self.future.set_running_or_notify_cancel()  # whoever waits may go away, the lanes do not
        self._unit = unit
        self._grades: dict[int, tuple[Grade, ...]] = {}
        self._submitted_s = time.monotonic()
        self._started_s: dict[int, float] = {}
        self._lock = threading.Lock()
        if not unit.groups:
            self._settle()

    def take(self) -> int | None:
        """The next group to grade, None when all are taken."""
        with self._lock:
            index = len(self._started_s)
            if index == len(self.groups):
                return None
            self._started_s[index] = time.monotonic()
            return index

    def finish(self, index: int, grades: tuple[Grade, ...]) -> bool:
        """Store an answer; False if the group's time was over before."""
        with self._lock:
            if index in self._grades:
                return False
            self._grades[index] = grades
            complete = len(self._grades) == len(self.groups)
        if complete:
            self._settle()
        return True

    def next_deadline_s(self) -> float:
        """When the first running group exceeds its time, by the monotonic clock; no later group can before that."""
        with self._lock:
            running = [start for index, start in self._started_s.items() if index not in self._grades]
        return min(running, default=time.monotonic()) + self._unit.timeout_s

    def expire(self, on_late: Callable[[_Batch], None]) -> None:
        """Grade the running groups whose time is over as timed out, and tell of each before the answer is there."""
        timeout_s, now = self._unit.timeout_s, time.monotonic()
        with self._lock:
            late = [i for i, start in self._started_s.items() if i not in self._grades and now - start >= timeout_s]
            for index in late:
                grade = Grade.timed_out(f"the grader did not answer within {timeout_s:g} s")
                self._grades[index] = (grade,) * len(self.groups[index].rollouts)
            complete = len(self._grades) == len(self.groups)
        for _ in late:
            on_late(self)
        if late and complete:
            self._settle()

    def _settle(self) -> None:
        """Called once, without the lock: whoever waits for the answer may take locks of its own."""
        start_s = min(self._started_s.values(), default=self._submitted_s)
        self.future.set_result(
            GradedUnit(
                request_id=self._unit.request_id,
                grades=tuple(self._grades[index] for index in range(len(self.groups))),
                busy=(Busy(kind="grade", start_s=start_s, end_s=time.monotonic()),),
            )
        )


class _Watch:
    """A thread that times out the groups of open batches, and tells `on_late` the batch of each."""

    def __init__(self, on_late: Callable[[_Batch], None]) -> None:
        self._on_late = on_late
        self._open: set[_Batch] = set()
        self._closed = False
        self._looks_s = math.inf
        """When it looks next, by the monotonic clock."""
        self._condition = threading.Condition()
        threading.Thread(target=self._run, name="grader-watch", daemon=True).start()

    def add(self, batch: _Batch) -> None:
        with self._condition:
            self._open.add(batch)
            if batch.next_deadline_s() < self._looks_s:
                self._condition.notify()
        batch.future.add_done_callback(lambda _: self._remove(batch))

    def close(self) -> None:
        """End when no batch is open any more."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _remove(self, batch: _Batch) -> None:
        with self._condition:
            self._open.discard(batch)
            if self._closed:
                self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._closed and not self._open:
                    return
                self._looks_s = min((batch.next_deadline_s() for batch in self._open), default=math.inf)
                wait_s = max(0.0, self._looks_s - time.monotonic())
                self._condition.wait(None if wait_s == math.inf else min(wait_s, threading.TIMEOUT_MAX))
                batches = list(self._open)
            for batch in batches:
                batch.expire(self._on_late)
