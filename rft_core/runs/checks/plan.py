"""What is tried on a row: everything on a quick grader, the most telling on one that there is little time for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rft_core.rows import prompt_text
from rft_core.runs.checks import adversarial
from rft_core.runs.checks.answers import Answer, listings, near_misses, terms
from rft_core.runs.checks.clues import Clues
from rft_core.runs.checks.discover import Found, Way
from rft_core.runs.checks.entries import near_lists
from rft_core.runs.checks.references import as_text, leaves
from rft_core.runs.checks.search import Tactic, holds
from rft_core.runs.checks.stubs import stubs
from rft_core.types import Item

FIRST = frozenset({"reference", "other", "empty", "prose", "idk", "injection", "control", "prompt", "repeated", "listing", "config", "embedded", "number_off", "format_only"})  # fmt: skip
"""What a slow grader is asked first."""


def answers_for(
    items: Sequence[Item], position: int, found: Found, clues: Clues, most: int, tactics: Sequence[Tactic] = ()
) -> list[Answer]:
    """What is tried on a row in one group, each text once of a kind; the right answer first, then the most telling."""
    made = list(_all(items, position, found.way, clues, tactics))
    own = made[0].text if made and made[0].kind == "reference" else None
    seen: dict[tuple[str, str], Answer] = {}
    ordered = made if len(made) <= most else sorted(_by_turns(made), key=lambda a: a.kind != "reference")
    for answer in ordered:
        if answer.kind == "reference" or answer.text != own:  # an edit that leaves it as it was is none
            seen.setdefault((answer.kind, answer.text), answer)
    return list(seen.values())[:most]


def _by_turns(made: list[Answer]) -> list[Answer]:
    """One of each kind, the telling kinds first, then second ones."""
    rank: dict[str, int] = {}
    keyed = []
    for answer in made:
        turn = rank[answer.kind] = rank.get(answer.kind, -1) + 1
        keyed.append((turn, answer.kind not in FIRST, answer))
    return [a for _, _, a in sorted(keyed, key=lambda entry: entry[:2])]


def _all(
    items: Sequence[Item], position: int, way: Way | None, clues: Clues, tactics: Sequence[Tactic]
) -> Iterator[Answer]:
    item = items[position]
    if way is not None and (own := way.text(item.row)) is not None:
        yield from _of_way(items, position, way, own, tactics)
    else:
        for _, value in leaves(item.row):
            yield Answer(kind="row_value", text=as_text(value))
    yield from adversarial.plain_junk(prompt_text(item.row), clues.source)
    for text in clues.sentences:
        yield Answer(kind="config", text=text)
    yield from adversarial.ladder()


def _of_way(items: Sequence[Item], position: int, way: Way, own: str, tactics: Sequence[Tactic]) -> Iterator[Answer]:
    item = items[position]
    value = way.value(item.row)
    yield Answer(kind="reference", text=own)
    texts, values = [], []
    for step in range(1, len(items)):
        other = items[(position + step) % len(items)]
        text = way.text(other.row)
        if text is not None and not same(text, own):
            values.append(way.value(other.row))
            texts.append(as_text(values[-1]))
            if len(texts) <= 6:
                yield Answer(kind="other", text=text, note=f"of {other.key}")
    yield from near_misses(value, way.write)
    yield from near_lists(value, values, way.write)
    yield from terms(item.row, as_text(value), way.write)
    yield from stubs(as_text(value), way.write)
    for tactic in tactics:
        written = tactic.write(position)
        if written is not None and not holds(written, as_text(value)) and not holds(as_text(value), written):
            yield Answer(kind="tactic", text=written, note=tactic.name)
    if texts:
        yield from listings(as_text(value), texts, way.write)
        if way.form != "plain":
            yield from listings(as_text(value), texts, as_text)
    yield from adversarial.formatted_junk(way.write)


def same(one: str, other: str) -> bool:
    """Whether two answers differ in case and white space at most."""
    return "".join(one.split()).casefold() == "".join(other.split()).casefold()
