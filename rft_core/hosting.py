"""Hosts one component: error boundary, time-outs, checks of its answers, and what time it took.

The same hosts serve a component in the engine's process and in a worker, so that the loop cannot
tell the difference.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rft_core import weights
from rft_core.boundary import component_error, error_grade
from rft_core.errors import BadReplyError, ComponentError, PolicyNotLoadedError
from rft_core.protocols import Grader, Sampler
from rft_core.replies import check_sampled, settle_grades
from rft_core.types import Busy, Grade, GradedUnit, GradeUnit, Group, SampledUnit, SamplerInfo, SampleUnit, WeightRef


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
    """Serves a grader with `concurrency` threads. `grade` may be called from several threads at once.

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
        for _ in range(concurrency):
            self._add_lane()

    @property
    def exhausted(self) -> bool:
        """Too many calls hang; `grade` refuses further work."""
        return self._hung >= self.max_hung

    def grade(self, unit: GradeUnit) -> GradedUnit:
        """One grade per rollout, whatever the grader does. ComponentError when the host is exhausted."""
        if self.exhausted:
            raise ComponentError(
                f"{self._hung} calls of the grader exceeded their time and still hang; run it in a worker process, which is replaced then"
            )
        batch = _Batch(unit.groups)
        start_s = time.monotonic()
        if unit.groups:
            for _ in range(min(self.concurrency, len(unit.groups))):
                self._batches.put(batch)
            while not batch.done.wait(batch.next_deadline_s(unit.timeout_s)):
                for _ in range(batch.expire(unit.timeout_s)):
                    self._replace_lane(batch)
        busy = Busy(kind="grade", start_s=min(batch.started_s.values(), default=start_s), end_s=time.monotonic())
        grades = tuple(batch.grades[index] for index in range(len(unit.groups)))
        return GradedUnit(request_id=unit.request_id, grades=grades, busy=(busy,))

    def close(self) -> None:
        for _ in range(self.concurrency):
            self._batches.put(None)
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


def grade_group(grader: Grader, group: Group) -> tuple[Grade, ...]:
    """The grader's answer for one group; whatever it raises, `sys.exit` included, becomes error grades."""
    try:
        return settle_grades(grader.grade(group), len(group.rollouts))
    except BadReplyError as error:
        return (Grade.error("other_error", str(error)),) * len(group.rollouts)
    except BaseException as error:  # noqa: BLE001 the boundary; above it is only the end of the thread
        return (error_grade(error),) * len(group.rollouts)


class _Batch:
    """The groups of one unit, shared by the lanes that grade it and the thread that waits for them."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.grades: dict[int, tuple[Grade, ...]] = {}
        self.started_s: dict[int, float] = {}
        self.done = threading.Event()
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """The next group to grade, None when all are taken."""
        with self._lock:
            index = len(self.started_s)
            if index == len(self.groups):
                return None
            self.started_s[index] = time.monotonic()
            return index

    def finish(self, index: int, grades: tuple[Grade, ...]) -> bool:
        """Store an answer; False if the group's time was over before."""
        with self._lock:
            if index in self.grades:
                return False
            self.grades[index] = grades
            if len(self.grades) == len(self.groups):
                self.done.set()
            return True

    def next_deadline_s(self, timeout_s: float) -> float:
        """Seconds until the first running group exceeds its time."""
        with self._lock:
            running = [start for index, start in self.started_s.items() if index not in self.grades]
        return max(0.0, min(running) + timeout_s - time.monotonic()) if running else timeout_s

    def expire(self, timeout_s: float) -> int:
        """Grade the running groups whose time is over as timed out, and say how many they were."""
        now = time.monotonic()
        with self._lock:
            late = [i for i, start in self.started_s.items() if i not in self.grades and now - start >= timeout_s]
            for index in late:
                grade = Grade.timed_out(f"the grader did not answer within {timeout_s:g} s")
                self.grades[index] = (grade,) * len(self.groups[index].rollouts)
            if len(self.grades) == len(self.groups):
                self.done.set()
        return len(late)
