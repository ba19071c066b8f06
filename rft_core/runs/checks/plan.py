"""How much is tried: all of it on a quick grader, a little on one that takes seconds or is paid by the call."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rft_core.rows import prompt_text
from rft_core.runs.checks import adversarial
from rft_core.runs.checks.answers import Answer, listings, near_misses
from rft_core.runs.checks.bench import Batch, Bench
from rft_core.runs.checks.clues import Clues
from rft_core.runs.checks.discover import Found, Way
from rft_core.runs.checks.references import as_text, leaves
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
FIRST = frozenset({"reference", "other", "empty", "prose", "idk", "injection", "control", "prompt", "repeated", "listing", "config", "embedded", "number_off", "format_only"})  # fmt: skip
"""What a slow grader is asked first."""


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
    allowed = max(24, int(budget_s * per_s))
    return _size(min(allowed, MOST_PAID) if paid else allowed, rows, len(items), tuple(taken), per_s)


def _warm(items: Sequence[Item], number: int, texts: list[str]) -> Batch:
    position = number % len(items)
    return Batch(row=position, item=items[position], answers=[Answer(kind="prose", text=t) for t in texts])


def _size(allowed: int, rows: int, there: int, taken: tuple[float, ...], per_s: float) -> Size:
    plenty, some = allowed >= 20_000, allowed >= 2_000
    look_rows = min(there, 8 if plenty else 4 if allowed >= 100 else 2)
    ways = min(400, max(2, allowed // 3 // look_rows // (3 if plenty else 2)))
    rows = min(rows, there, 64 if plenty else 16 if some else 6 if allowed >= 100 else 3)
    return Size(
        rows=rows,
        look_rows=look_rows,
        ways=ways,
        others=2 if plenty else 1,
        answers=200 if plenty else max(6, allowed // 3 // rows),
        repeat_rows=min(there, 8 if plenty else 2 if allowed >= 100 else 1),
        swap=some,
        odd=some,
        latency_s=taken,
        per_s=per_s,
    )


def answers_for(items: Sequence[Item], position: int, found: Found, clues: Clues, most: int) -> list[Answer]:
    """What is tried on a row in one group, each text once; the right answer first, then the most telling."""
    made = list(_all(items, position, found.way, clues))
    seen: dict[str, Answer] = {}
    ordered = made if len(made) <= most else sorted(_by_turns(made), key=lambda a: a.kind != "reference")
    for answer in ordered:
        seen.setdefault(answer.text, answer)
    return list(seen.values())[:most]


def _by_turns(made: list[Answer]) -> list[Answer]:
    """One of each kind, the telling kinds first, then second ones."""
    rank: dict[str, int] = {}
    keyed = []
    for answer in made:
        turn = rank[answer.kind] = rank.get(answer.kind, -1) + 1
        keyed.append((turn, answer.kind not in FIRST, answer))
    return [a for _, _, a in sorted(keyed, key=lambda entry: entry[:2])]


def _all(items: Sequence[Item], position: int, way: Way | None, clues: Clues) -> Iterator[Answer]:
    item = items[position]
    if way is not None and (own := way.text(item.row)) is not None:
        yield from _of_way(items, position, way, own)
    else:
        for _, value in leaves(item.row):
            yield Answer(kind="row_value", text=as_text(value))
    yield from adversarial.plain_junk(prompt_text(item.row), clues.source)
    yield from adversarial.ladder()


def _of_way(items: Sequence[Item], position: int, way: Way, own: str) -> Iterator[Answer]:
    item = items[position]
    value = way.value(item.row)
    yield Answer(kind="reference", text=own)
    texts = []
    for step in range(1, len(items)):
        other = items[(position + step) % len(items)]
        text = way.text(other.row)
        if text is not None and not same(text, own):
            texts.append(as_text(way.value(other.row)))
            if len(texts) <= 6:
                yield Answer(kind="other", text=text, note=f"of {other.key}")
    yield from near_misses(value, way.write)
    if texts:
        yield from listings(as_text(value), texts, way.write)
        if way.form != "plain":
            yield from listings(as_text(value), texts, as_text)
    yield from adversarial.formatted_junk(way.write)


def same(one: str, other: str) -> bool:
    """Whether two answers differ in case and white space at most."""
    return "".join(one.split()).casefold() == "".join(other.split()).casefold()
