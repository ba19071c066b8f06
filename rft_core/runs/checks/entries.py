"""Answers made from a right one that is a list: fewer entries, more, wrong ones, another order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rft_core.runs.checks.answers import Answer
from rft_core.runs.checks.references import as_text
from rft_core.types import Json

MARKS = (r"[,;\n]\s*", r"\s+(?:->|=>|→|>|\||/)\s+")
"""What stands between the entries of a list in a text, the likelier first."""
MOST_ADDED = 6
SHORT_ENTRY = 5
"""Words: texts with longer parts are sentences, not lists."""


_TOKENS = re.compile(r"(?:\w*\d\w*\s+){3,}\w*\d\w*")
"""Four tokens or more with a digit in each, such as squares of a board: a list without other marks."""
_ORDER = re.compile(
    r"\b(?:(?:in|into) (?:the )?(?:\w+ ){0,2}order\b(?! to\b)|order(?:ed)? (?:\w+ )?(?:by|from)\b|sort(?:ed)?\b|rank(?:ed|ing)?\b"
    r"|chronological|arrange|(?:first|earliest|oldest|smallest|lowest|highest|largest|best|most \w+) (?:one )?(?:to|first)\b)",
    re.IGNORECASE,
)
_NO_ORDER = re.compile(
    r"\b(?:any|no particular|whatever|arbitrary) (?:\w+ )?order\b|order (?:\w+ )?(?:not|n't|irrelevant)|regardless of (?:\w+ )?order",
    re.IGNORECASE,
)


def asks_for_order(prompt: str) -> bool:
    """Whether a prompt in English asks for things in an order."""
    return _ORDER.search(prompt) is not None and _NO_ORDER.search(prompt) is None


@dataclass(frozen=True, kw_only=True)
class Entries:
    parts: Sequence[Json]
    join: Callable[[Sequence[Json]], Json]
    """Entries as a value like the one that they were read from."""

    @property
    def is_list(self) -> bool:
        """Whether they are entries for sure, not the parts of a sentence."""
        return all(len(as_text(part).split()) <= SHORT_ENTRY for part in self.parts)


def entries_of(value: Json) -> Entries | None:
    """The entries of a list, of a text that is one in JSON, or of one with commas, lines or arrows; None for less
    than two."""
    if isinstance(value, list):
        return Entries(parts=value, join=list) if len(value) > 1 else None
    if not isinstance(value, str):
        return None
    if value.lstrip().startswith("["):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            inner = None
        if isinstance(inner, list):
            read = entries_of(inner)
            return read and Entries(parts=read.parts, join=lambda p: json.dumps(list(p), ensure_ascii=False))
    for mark in (*MARKS, *([r"\s+"] if _TOKENS.fullmatch(value.strip()) else [])):
        parts = [part.strip() for part in re.split(mark, value.strip()) if part.strip()]
        if len(parts) > 1:
            found = re.search(mark, value.strip())
            assert found is not None
            return Entries(parts=parts, join=lambda p, between=found[0]: between.join(map(as_text, p)))  # type: ignore[misc]
    return None


def near_lists(value: Json, others: Sequence[Json], write: Callable[[Json], str]) -> Iterator[Answer]:
    """Of a list: parts of it, other orders, wrong entries in it. `others` are right answers of other rows."""
    own = entries_of(value)
    if own is None:
        return
    parts = list(own.parts)

    def answer(kind: str, some: Sequence[Json], note: str = "") -> Answer:
        return Answer(kind=kind, text=write(own.join(some)), note=note)

    if len(parts) > 2:
        yield answer("first_part", parts[:1])
        yield answer("second_part", parts[1:2])
        yield answer("first_part_often", parts[:1] * len(parts))
        yield answer("reversed", parts[::-1])
        yield answer("rotated", [*parts[1:], parts[0]])
    if len(parts) > 3:
        yield answer("ends_alone", [parts[0], parts[-1]])
    known = {as_text(part) for part in parts}
    read = [entries_of(other) for other in others]
    wrong = [p for other in read if other is not None for p in other.parts if as_text(p) not in known]
    wrong = list({as_text(p): p for p in wrong}.values())[:MOST_ADDED]
    if not wrong:
        return
    yield answer("part_and_wrong", [parts[0], wrong[0]])
    if own.is_list and 2 * sum(other is not None and other.is_list for other in read) > len(read):
        if len(wrong) > 2:
            yield answer("entries_added", [*parts, *wrong], "after")
            yield answer("entries_added", [*wrong, *parts], "before")
        if len(parts) > 2:
            yield answer("entry_wrong", [wrong[0], *parts[1:]], "first")
            yield answer("entry_wrong", [*parts[:-1], wrong[0]], "last")
