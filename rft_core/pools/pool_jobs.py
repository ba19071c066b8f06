"""Units on their way through a pool, when one takes too long, and what becomes of one that ends its workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from rft_core.boundary import clean_text
from rft_core.errors import RftError
from rft_core.types import Grade, GradedUnit, GradeUnit, SampleUnit

HEDGE_AFTER_S = 5.0
"""A unit is never issued a second time before this."""
HEDGE_FACTOR = 4.0
"""It is when it has taken this many times the median."""


@dataclass(slots=True, eq=False)
class Job:
    """One unit and the future that its caller holds."""

    unit: SampleUnit | GradeUnit
    future: Future[Any] = field(default_factory=Future)
    solo: bool = False
    """It must have its worker for itself."""
    attempts: int = 0
    """Calls that failed because a worker was lost."""
    faults: int = 0
    """Calls that failed because of what the component did."""
    bad_replies: set[str] = field(default_factory=set)
    """Workers whose answer did not fit."""
    runners: set[str] = field(default_factory=set)
    """Workers that compute it now: two when it was hedged."""
    began_s: float = 0.0
    """When the first of them began."""
    reply: Any = None
    """The first valid answer."""

    @property
    def groups(self) -> int:
        """Groups to grade; 0 for a unit of sampling."""
        return len(self.unit.groups) if isinstance(self.unit, GradeUnit) else 0

    def begin(self) -> bool:
        """Mark it as running; False if its caller cancelled it before."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def settle(self, error: RftError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def settle_result(self, reply: Any) -> None:
        if not self.future.done():
            self.future.set_result(reply)


class Running:
    """The units that workers compute now, by whom, and which takes too long. Used under the pool's lock."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._took_s: deque[float] = deque(maxlen=64)

    def begin(self, job: Job, worker: str) -> None:
        if not job.runners:
            job.began_s = time.monotonic()
            self._jobs.append(job)
        job.runners.add(worker)

    def part(self, job: Job, worker: str, reply: Any, took_s: float) -> tuple[Any, bool]:
        """`worker` has ended its work, with a valid `reply` or None: the answer that was there before, and
        whether nobody else works on the unit."""
        job.runners.discard(worker)
        if not job.runners:
            self._jobs.remove(job)
        earlier = job.reply
        if reply is not None and earlier is None:
            job.reply = reply
            self._took_s.append(took_s)
        return earlier, not job.runners

    def straggler(self, worker: str) -> Job | None:
        """A unit that has been with one other worker alone for too long. Without a finished unit to compare
        with, none has."""
        if not self._took_s:
            return None
        too_long_s = max(HEDGE_AFTER_S, HEDGE_FACTOR * median(self._took_s))
        began_before_s = time.monotonic() - too_long_s
        for job in self._jobs:
            late = job.began_s < began_before_s and job.reply is None
            if late and not job.solo and len(job.runners) == 1 and worker not in job.runners:
                return job
        return None

    def is_late(self, worker: str) -> bool:
        """Whether it computes a unit that another worker has answered."""
        return any(job.reply is not None and worker in job.runners for job in self._jobs)


def same_answer(one: Any, other: Any) -> bool:
    """Whether two replies to a unit are the same to the bit; when their workers computed does not matter."""
    return bool(replace(one, busy=()) == replace(other, busy=()))


def split(job: Job, unit: GradeUnit) -> list[Job]:
    """One solo job per group; when all are done, `job` gets their grades in order, or the first error."""
    parts = [
        Job(replace(unit, request_id=f"{unit.request_id}/{index}", groups=(group,)), solo=True)
        for index, group in enumerate(unit.groups)
    ]

    def gather(_: Future[Any]) -> None:
        if all(part.future.done() for part in parts):
            _join(job, unit, [part.future for part in parts])

    for part in parts:
        part.future.add_done_callback(gather)
    return parts


def _join(job: Job, unit: GradeUnit, futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or error is not None:
            job.settle(error if isinstance(error, RftError) else RftError(f"unit {unit.request_id} was given up"))
            return
    replies: list[GradedUnit] = [future.result() for future in futures]
    job.settle_result(
        GradedUnit(
            request_id=unit.request_id,
            grades=tuple(grades for reply in replies for grades in reply.grades),
            busy=tuple(busy for reply in replies for busy in reply.busy),
        )
    )


def died_over(unit: GradeUnit, deaths: int, why: str) -> GradedUnit:
    """Error grades for groups that ended their process each time they were tried alone."""
    grade = Grade.error("other_error", clean_text(f"the grader's process ended {deaths} times over this group: {why}"))
    return GradedUnit(request_id=unit.request_id, grades=tuple((grade,) * len(group.rollouts) for group in unit.groups))
