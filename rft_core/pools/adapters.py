"""Makes a pool look like one component, so that what is written against a protocol runs on workers too."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rft_core.types import Grade, GradedUnit, GradeUnit, Group, SampledUnit, SamplerInfo, SampleUnit, WeightRef

if TYPE_CHECKING:
    from rft_core.pools.pool import Pool


class PooledSampler:
    """`rft_core.Sampler` over a started pool of samplers. Raises what the pool raises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def info(self) -> SamplerInfo:
        return self._pool.info

    def load_policy(self, weights: WeightRef) -> None:
        self._pool.load_policy(weights)

    def sample(self, unit: SampleUnit) -> SampledUnit:
        reply: SampledUnit = self._pool.submit(unit).result()
        return reply

    def close(self) -> None:
        self._pool.close()


class PooledGrader:
    """`rft_core.Grader` over a started pool of graders. Each call grades anew, none returns a kept result."""

    def __init__(self, pool: Pool, *, run_id: str, timeout_s: float = 60.0) -> None:
        self._pool, self._run_id, self._timeout_s = pool, run_id, timeout_s
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count()

    def grade(self, group: Group) -> Sequence[Grade]:
        unit = GradeUnit(
            request_id=f"{self._prefix}-{next(self._numbers)}",
            run_id=self._run_id,
            groups=(group,),
            timeout_s=self._timeout_s,
        )
        reply: GradedUnit = self._pool.submit(unit).result()
        return reply.grades[0]

    def close(self) -> None:
        self._pool.close()
