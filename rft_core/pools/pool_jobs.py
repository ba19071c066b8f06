"""Units on their way through a pool, and what becomes of one that ends its workers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from rft_core.boundary import clean_text
from rft_core.errors import RftError
from rft_core.types import Grade, GradedUnit, GradeUnit, SampleUnit


@dataclass(slots=True)
class Job:
    """One unit and the future that its caller holds."""

    unit: SampleUnit | GradeUnit
    future: Future[Any] = field(default_factory=Future)
    solo: bool = False
    """It must have its worker for itself."""
    attempts: int = 0
    bad_replies: int = 0

    def begin(self) -> bool:
        """Mark it as running; False if its caller cancelled it before."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def settle(self, error: RftError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def settle_result(self, reply: Any) -> None:
        if not self.future.done():
            self.future.set_result(reply)


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
