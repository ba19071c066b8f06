"""Where the time of a step goes, and how much of it is the engine's own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from rft_core.types import Busy


class StepClock:
    """Collects the stretches in which components computed during one step."""

    def __init__(self) -> None:
        self.start_s = time.monotonic()
        self.end_s = self.start_s
        self._busy: list[Busy] = []

    def add(self, busy: Iterable[Busy]) -> None:
        self._busy.extend(busy)

    @contextlib.contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Count a stretch of this process as a component's work."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._busy.append(Busy(kind=kind, start_s=start, end_s=time.monotonic()))

    def finish(self) -> None:
        self.end_s = time.monotonic()

    @property
    def wall_s(self) -> float:
        return self.end_s - self.start_s

    def component_s(self, kind: str | None = None) -> float:
        """Seconds of the step in which any component (of `kind`) computed; overlaps count once."""
        spans = sorted(
            (max(b.start_s, self.start_s), min(b.end_s, self.end_s))
            for b in self._busy
            if kind is None or b.kind == kind
        )
        total, reached = 0.0, self.start_s
        for start, end in spans:
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total

    @property
    def engine_share(self) -> float:
        """1 − (time in which any component computes) ÷ (wall time): waits count as the engine's."""
        return max(0.0, 1.0 - self.component_s() / self.wall_s) if self.wall_s > 0 else 0.0
