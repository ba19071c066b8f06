"""Searches for a way to answer that needs no knowledge of the row and is paid in every row.

A *tactic* writes an answer to any row: another row's right answer, the form with a word in it, a number of the
prompt, and edits of these, such as all numbers set to 0. From the best ones of a round the next round makes
longer ones; what raises the mean gain over the rows is kept. A tactic's text that is the row's right answer, or
holds it, is not counted there, so an answer that happens to be right in many rows is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import Any

from rft_core.rows import prompt_text
from rft_core.runs.checks.adversarial import neutral
from rft_core.runs.checks.answers import Answer
from rft_core.runs.checks.bench import Batch, Bench, Tried
from rft_core.runs.checks.clues import Clues
from rft_core.runs.checks.discover import Way
from rft_core.runs.checks.references import as_text, leaves
from rft_core.types import Item, Json

ROUNDS = 3
BEAM = 3
STEP = 0.05
"""Of the right answer's gain: a longer tactic must be better by as much."""
ENOUGH = 0.95
WORTH_A_LOOK = 0.3
LEAST_ROWS = 3
MAX_TEXTS = 24
"""Of the grader's own texts that are tried as words of an answer."""
MAX_FIELDS = 6
FILLINGS = ("", "0", "1", "-1", "100", "1000000", "none", "N/A", "[]", "{}", "null", "yes", "A", "*", "x")
NUMBERS = ("0", "1", "-1", "50", "100", "1000000")
FIELD_VALUES: Mapping[str, Json] = {"empty": "", "null": None, "0": 0, "1": 1, "an empty list": [], "true": True}
PIECES = {
    "the last line": re.compile(r"[^\n]+"),
    "the last paragraph": re.compile(r"(?:[^\n]+\n?)+"),
    "what stands behind the last colon": re.compile(r":\s([^:]+)\Z"),
    "what stands behind the name of the last line": re.compile(r"\n\w[^:\n]{0,30}:\s([^\n]+)\Z"),
    "the last quoted text": re.compile(r"[\"“«„`]([^\"”»“`\n]+)[\"”»“`]"),
}
"""Parts of a prompt, each the last match."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_LAST_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?=\D*\Z)")


@dataclass(frozen=True, kw_only=True)
class Tactic:
    name: str
    write: Callable[[int], str | None]
    """The answer to the row at a position; None where the tactic has none."""
    gain: float = 0.0
    """Mean over rows of (reward − wrong) / (right − wrong)."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    name: str
    change: Callable[[str], str | None]


def search(bench: Bench, items: Sequence[Item], rows: Sequence[int], way: Way, clues: Clues) -> list[Tactic]:
    """The tactics that gain most over the rows at these positions, the best first; at most `BEAM`."""
    field = _Field(bench, items, rows, way)
    if len(field.rows) < LEAST_ROWS:
        return []
    found = field.graded(list(_starts(items, way, clues)))
    edits = list(_edits(clues))
    parents = [t for t in found if t.name.startswith("another")][:1] + found[:BEAM]
    for _ in range(ROUNDS - 1):
        if found and found[0].gain >= ENOUGH:
            break
        longer = [_edited(parent, edit) for parent in {p.name: p for p in parents}.values() for edit in edits]
        floor = found[0].gain if found else 0.0
        found = sorted([*field.graded(longer), *found], key=lambda t: -t.gain)
        if not found or found[0].gain < floor + STEP:
            break
        parents = found[:BEAM]
    return [t for t in found[:BEAM] if t.gain >= WORTH_A_LOOK]


class _Field:
    """Rows with the rewards of their right and of wrong answers."""

    def __init__(self, bench: Bench, items: Sequence[Item], rows: Sequence[int], way: Way) -> None:
        self._bench, self._items = bench, items
        self._own = {n: way.text(items[n].row) or "" for n in rows}
        self._values = {n: as_text(way.value(items[n].row)) for n in rows}
        self._seen: set[tuple[str | None, ...]] = set()
        others = {n: [t for k in (1, 2) if (t := _other(items, way, k, n)) is not None] for n in rows}
        groups = self._grade({n: [self._own[n], *others[n]] for n in rows if self._own[n] and others[n]})
        self.rows: dict[int, tuple[float, float]] = {}
        for n, tried in groups.items():
            rewards = [t.reward for t in tried]
            wrong = [r for r in rewards[1:] if r is not None]
            if rewards[0] is not None and wrong and rewards[0] - median(wrong) > 1e-3:
                self.rows[n] = rewards[0], median(wrong)

    def _grade(self, texts: Mapping[int, Sequence[str]]) -> dict[int, list[Tried]]:
        batches = [
            Batch(row=n, item=self._items[n], answers=[Answer(kind="look", text=t) for t in some])
            for n, some in texts.items()
        ]
        return dict(zip(texts, self._bench.grade(batches, silent=True), strict=True))

    def graded(self, tactics: Sequence[Tactic]) -> list[Tactic]:
        """The tactics with their gains, the best first; those that write what others wrote are left out."""
        new: list[tuple[Tactic, dict[int, str]]] = []
        for tactic in tactics:
            written = {n: tactic.write(n) for n in self.rows}
            if (key := tuple(written.values())) in self._seen:
                continue
            self._seen.add(key)
            usable = {n: text for n, text in written.items() if text is not None and not self._is_right(n, text)}
            if len(usable) >= max(LEAST_ROWS, len(self.rows) / 2):
                new.append((tactic, usable))
        if not new:
            return []
        wanted = {n: list(dict.fromkeys(texts[n] for _, texts in new if n in texts)) for n in self.rows}
        rewards = {n: {t.answer.text: t.reward for t in group} for n, group in self._grade(wanted).items()}
        found = []
        for tactic, texts in new:
            gains = [self._gain(n, r) for n, text in texts.items() if (r := rewards[n].get(text)) is not None]
            if gains:
                found.append(Tactic(name=tactic.name, write=tactic.write, gain=mean(gains)))
        return sorted(found, key=lambda t: -t.gain)

    def _gain(self, row: int, reward: float) -> float:
        right, wrong = self.rows[row]
        return min((reward - wrong) / (right - wrong), 1.0)

    def _is_right(self, row: int, text: str) -> bool:
        return holds(text, self._values[row]) or holds(self._values[row], text)


def holds(text: str, inner: str) -> bool:
    """Whether a text has another one in it, white space, case and separators apart."""
    one, other = ("".join(re.findall(r"[^\W_]", t.casefold())) for t in (text, inner))
    return bool(other) and other in one


def _starts(items: Sequence[Item], way: Way, clues: Clues) -> Iterator[Tactic]:
    for which in (1, 2):
        yield Tactic(name="another row's answer", write=partial(_other, items, way, which))
    for text in dict.fromkeys([*FILLINGS, *clues.texts[:MAX_TEXTS], *clues.sentences]):
        yield Tactic(name=f"the text '{text}'", write=partial(_constant, text))
        yield Tactic(name=f"the form with '{text}'", write=partial(_constant, _formed(way, text)))
    yield Tactic(name="thirty words", write=partial(_constant, neutral(30)))
    for which, name in ((0, "first"), (-1, "last")):
        yield Tactic(name=f"the {name} number of the prompt", write=partial(_of_prompt, items, way, which))
    for name in PIECES:
        yield Tactic(name=f"{name} of the prompt", write=partial(_piece, items, way, name))
    for path in dict.fromkeys(path for item in items[:4] for path, _ in leaves(item.row)):
        yield Tactic(name=f"item.{path}, which the prompt says", write=partial(_told, items, way, path))


def _constant(text: str | None, _: int) -> str | None:
    return text


def _other(items: Sequence[Item], way: Way, which: int, position: int) -> str | None:
    """The right answer of the `which`-th row after it that has a different one."""
    own = way.text(items[position].row)
    for step in range(1, len(items)):
        text = way.text(items[(position + step) % len(items)].row)
        if text is not None and text != own:
            which -= 1
            if not which:
                return text
    return None


def _of_prompt(items: Sequence[Item], way: Way, which: int, position: int) -> str | None:
    numbers = _NUMBER.findall(prompt_text(items[position].row))
    return _formed(way, numbers[which]) if numbers else None


def _piece(items: Sequence[Item], way: Way, name: str, position: int) -> str | None:
    found = PIECES[name].findall(prompt_text(items[position].row).strip())
    return _formed(way, found[-1].strip()) if found else None


def _told(items: Sequence[Item], way: Way, path: str, position: int) -> str | None:
    """The value of another key, where the prompt holds it."""
    row = items[position].row
    value = next((v for p, v in leaves(row) if p == path), None)
    if not isinstance(value, str | int | float) or not as_text(value).strip():
        return None
    return _formed(way, as_text(value)) if as_text(value) in prompt_text(row) else None


def _formed(way: Way, value: str) -> str | None:
    try:
        return way.write(value)
    except (TypeError, ValueError):
        return None


def _edited(tactic: Tactic, edit: Edit) -> Tactic:
    def write(position: int) -> str | None:
        text = tactic.write(position)
        after = None if text is None else edit.change(text)
        return after if after != text else None

    return Tactic(name=f"{tactic.name}, {edit.name}", write=write)


def _edits(clues: Clues) -> Iterator[Edit]:
    for number in NUMBERS:
        yield Edit(name=f"its numbers set to {number}", change=partial(_NUMBER.sub, number))
        yield Edit(name=f"its last number set to {number}", change=partial(_LAST_NUMBER.sub, number))
    yield Edit(name="its first numbers 0, its last ones large", change=_widest)
    for text in dict.fromkeys(clues.texts[:MAX_TEXTS]):
        yield from _added(f"'{text}'", text, " ")
        yield Edit(name=f"with a line '{text}' after it", change=partial(_joined, "", f"\n{text}"))
    for words in (10, 150):
        yield from _added(f"{words} words", neutral(words), "\n")
    yield Edit(name="twenty times", change=lambda text: "\n".join([text] * 20))
    yield Edit(name="its first line alone", change=lambda text: text.strip().partition("\n")[0])
    yield Edit(name="its last line alone", change=lambda text: text.strip().rpartition("\n")[2])
    yield Edit(name="its first word alone", change=lambda text: text.partition(" ")[0])
    for place in range(MAX_FIELDS):
        for name, value in FIELD_VALUES.items():
            yield Edit(name=f"field {place + 1} {name}", change=partial(_with_field, place, value))
        yield Edit(name=f"without field {place + 1}", change=partial(_without_field, place))


def _widest(text: str) -> str:
    """The range that holds all: the first half of the numbers 0, the others as large as they may be."""
    numbers = list(re.finditer(r"\d+", text))
    pieces, end = [], 0
    for place, number in enumerate(numbers):
        width = len(number[0])
        large = "59" if width == 2 else "9" * width  # the most that two digits of a time can be
        pieces += [text[end : number.start()], "0" * width if place < len(numbers) / 2 else large]
        end = number.end()
    return "".join([*pieces, text[end:]])


def _added(name: str, text: str, between: str) -> Iterator[Edit]:
    yield Edit(name=f"with {name} after it", change=partial(_joined, "", between + text))
    yield Edit(name=f"with {name} before it", change=partial(_joined, text + between, ""))


def _joined(before: str, after: str, text: str) -> str:
    return before + text + after


def _with_field(number: int, value: Json, text: str) -> str | None:
    there = _object(text, number)
    return there and json.dumps({**there, list(there)[number]: value}, ensure_ascii=False)


def _without_field(number: int, text: str) -> str | None:
    there = _object(text, number)
    return there and json.dumps({k: v for n, (k, v) in enumerate(there.items()) if n != number}, ensure_ascii=False)


def _object(text: str, number: int) -> Any:
    """The JSON object that a text is, if it has so many fields; None else."""
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and number < len(value) else None
