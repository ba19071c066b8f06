"""How much is tried: all of it on a quick grader, a little on one that takes seconds or is paid by the call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rft_core.runs.checks.answers import Answer
from rft_core.runs.checks.bench import Batch, Bench
from rft_core.types import Item

WARM_UP = 4
GROUP = 8
"""Answers of a group when the rate is measured."""
LANES = 4
"""Groups at a time in a worker, with its default settings."""
CALLS_AT_ONCE = 32
"""Of a judge, which is asked about all answers of a group at once."""
SLOW_S = 0.25
"""A grade that takes longer is not measured in groups: the rate is projected from it."""
MOST_PAID = 400
"""Grades asked of a grader that says it is not deterministic: a judge, paid by the call."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much there is time for."""

    rows: int
    look_rows: int
    ways: int
    others: int
    answers: int
    """Most answers for each row."""
    repeat_rows: int
    swap: bool
    plenty: bool
    """There is time for everything."""
    odd: bool
    """Whether odd texts are tried too."""
    latency_s: tuple[float, ...]
    """Of single grades, one after the other."""
    per_s: float
    """Grades a second with the concurrency of a run."""


def measure(bench: Bench, items: Sequence[Item], *, rows: int, budget_s: float, paid: bool) -> Size:
    """Grade a few answers one by one, then some groups at once, and plan by their rate and by `budget_s`."""
    texts = ["This is my answer to the question.", "", "I think that it is 7.", "Yes."]
    taken: list[float] = []
    for number in range(WARM_UP):
        batch = _warm(items, number, [texts[number]])
        start_s = time.monotonic()
        bench.grade([batch], alone=True)
        taken.append(time.monotonic() - start_s)
        if sum(taken) > budget_s / 6:
            break
    one_s = max(sorted(taken)[len(taken) // 2], 1e-6)
    per_s = (CALLS_AT_ONCE if paid else LANES) / one_s
    if one_s < SLOW_S and not paid:
        start_s = time.monotonic()
        answers = [f"{text} {n}" for n in range(GROUP // len(texts)) for text in texts]
        bench.grade([_warm(items, number, answers) for number in range(LANES)], silent=True)
        per_s = LANES * GROUP / (time.monotonic() - start_s)
    if not paid:
        bench.max_group = max(1, int(bench.timeout_s / 2 / one_s))
    allowed = max(24, int(budget_s * per_s))
    return _size(min(allowed, MOST_PAID) if paid else allowed, rows, len(items), tuple(taken), per_s)


def _warm(items: Sequence[Item], number: int, texts: list[str]) -> Batch:
    position = number % len(items)
    return Batch(row=position, item=items[position], answers=[Answer(kind="prose", text=t) for t in texts])


def _size(allowed: int, rows: int, there: int, taken: tuple[float, ...], per_s: float) -> Size:
    plenty, some = allowed >= 20_000, allowed >= 2_000
    look_rows = min(there, 8 if plenty else 4 if allowed >= 100 else 2)
    ways = min(400, max(2, allowed // 4 // look_rows // (3 if plenty else 2)))
    rows = min(rows, there, 64 if plenty else 16 if some else 6 if allowed >= 100 else 3)
    return Size(
        rows=rows,
        look_rows=look_rows,
        ways=ways,
        others=2 if plenty else 1,
        answers=200 if plenty else max(6, allowed // 4 // rows),
        repeat_rows=min(there, 8 if plenty else 2 if allowed >= 100 else 1),
        swap=some,
        plenty=plenty,
        odd=some,
        latency_s=taken,
        per_s=per_s,
    )
