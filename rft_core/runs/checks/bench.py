"""Grades what a check tries, in the pools that a run uses, and keeps what came of it."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from rft_core.config.workers import WorkerConfig
from rft_core.grader_run import group_of
from rft_core.pools.pool import Pool, open_pool
from rft_core.registry import Registry
from rft_core.runs.checks.answers import Answer
from rft_core.types import Grade, GradedUnit, GradeUnit, Item

GROUPS_IN_UNIT = 4
PATIENCE_S = 10.0
"""Beyond the time-out of a group, until its process counts as stuck."""
MAX_STUCK = 2
"""After so many stuck processes nothing more is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """An answer to a row, and its grade."""

    row: int
    answer: Answer
    grade: Grade

    @property
    def reward(self) -> float | None:
        return self.grade.reward

    @property
    def failed(self) -> bool:
        return self.grade.failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Answers to one row that are graded as one group."""

    row: int
    item: Item
    answers: Sequence[Answer]
    changed: Mapping[str, Any] | None = None
    """The row to grade with, if it is not the item's own."""


@dataclass
class Bench:
    """A grader in a pool. Close it, or use it in a `with`."""

    registry: Registry
    raw: Mapping[str, Any]
    base_dir: Path
    log_dir: Path
    timeout_s: float
    worker: WorkerConfig
    max_group: int = 10_000
    """Most answers in a group, so that a slow grader does not run out of time over one."""
    grades: int = 0
    stuck: int = 0
    """How often a process that no longer answered was given up."""
    seen: list[Tried] = field(default_factory=list)
    """All grades of this bench but those of `silent` calls."""
    _pool: Pool | None = None

    def __enter__(self) -> Self:
        self._numbers, self._prefix = itertools.count(), secrets.token_hex(6)
        self._open()
        return self

    def _open(self) -> None:
        worker = self.worker if find_spec("rft_workers") is not None else WorkerConfig(in_process=True)
        self._pool = open_pool(
            "grader",
            self.raw,
            worker,
            run_id=f"check-{self._prefix}",
            base_dir=self.base_dir,
            log_dir=self.log_dir,
            registry=self.registry,
        )
        self._pool.start()

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def grade(self, batches: Sequence[Batch], *, silent: bool = False, alone: bool = False) -> list[list[Tried]]:
        """The grades of each batch, in order. `alone` grades one group at a time. RftError if the pool gives up."""
        whole, batches = batches, [part for batch in batches for part in self._parts(batch)]
        units = [batches[i : i + GROUPS_IN_UNIT] for i in range(0, len(batches), GROUPS_IN_UNIT)]
        if alone:
            units = [[batch] for batch in batches]
        grades = [group for part in ([[u] for u in units] if alone else [units]) for group in self._graded(part)]
        found = [
            [Tried(row=b.row, answer=a, grade=g) for a, g in zip(b.answers, group, strict=True)]
            for b, group in zip(batches, grades, strict=True)
        ]
        self.grades += sum(map(len, found))
        parts = iter(found)
        found = [[t for _ in self._parts(batch) for t in next(parts)] for batch in whole]
        if not silent:
            self.seen += [tried for group in found for tried in group]
        return found

    def _parts(self, batch: Batch) -> list[Batch]:
        starts = range(0, max(len(batch.answers), 1), self.max_group)
        return [replace(batch, answers=batch.answers[i : i + self.max_group]) for i in starts]

    def _graded(self, units: Sequence[Sequence[Batch]]) -> list[tuple[Grade, ...]]:
        """Grades of the groups of some units. A process that no longer answers is given up, and so are its groups:
        code that never lets another thread run cannot be timed out from inside."""
        if self.stuck >= MAX_STUCK:
            return [_gave_up(batch) for unit in units for batch in unit]
        futures = [self._submit(unit) for unit in units]
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, self.timeout_s + PATIENCE_S, FIRST_COMPLETED)
            if not done:
                self.stuck += 1
                assert self._pool is not None
                self._pool.close()
                self._open()
                break
        return [
            group
            for unit, future in zip(units, futures, strict=True)
            for group in (future.result().grades if future not in waiting else map(_gave_up, unit))
        ]

    def _submit(self, batches: Sequence[Batch]) -> Future[GradedUnit]:
        assert self._pool is not None
        groups = tuple(
            group_of(
                [a.text for a in batch.answers],
                batch.item.row if batch.changed is None else batch.changed,
                key=batch.item.key,
                ordinal=batch.item.index,
            )
            for batch in batches
        )
        unit = GradeUnit(
            request_id=f"{self._prefix}-{next(self._numbers)}",
            run_id=f"check-{self._prefix}",
            groups=groups,
            timeout_s=self.timeout_s,
        )
        return self._pool.submit(unit)


def _gave_up(batch: Batch) -> tuple[Grade, ...]:
    message = f"the grader's process no longer answered over this group of {len(batch.answers)} answers"
    return (Grade.timed_out(message),) * len(batch.answers)
