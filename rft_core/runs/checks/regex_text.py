"""Texts that a regular expression matches: how an answer must look for a grader that searches for a pattern.

Not every construct is followed: look-arounds and anchors count as empty, classes give one of their characters.
What comes out is an answer to try, and the grader itself says whether it is one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any

SLOT_FILL = "it follows"
_MAX_REPEAT = 20
_CLASS = {"CATEGORY_DIGIT": "7", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "w"}


def makers(pattern: str, flags: int = 0) -> list[Callable[[str], str]]:
    """Functions that put a value into a text that the pattern matches, one for each place where it may stand.

    A place is a group that is captured, or without any a wildcard. Empty for a pattern without places, or
    that is none."""
    try:
        parser: Any = importlib.import_module("re._parser")
        tree = parser.parse(pattern, flags)
    except (re.error, RecursionError, OverflowError, ImportError):
        return []
    groups = tree.state.groups - 1
    if groups > 0:
        places = dict.fromkeys([groups, 1])
        return [lambda value, g=g: _Writer(value, group=g).write(tree) for g in places]  # type: ignore[misc]
    writer = _Writer("", group=None)
    writer.write(tree)
    return [lambda value: _Writer(value, group=None, wild=writer.seen).write(tree)] if writer.seen else []


class _Writer:
    def __init__(self, value: str, *, group: int | None, wild: int | None = None) -> None:
        self._value, self._group, self._wild = value, group, wild
        self.seen = 0
        """Wildcards met so far."""
        self._groups: dict[int, str] = {}

    def write(self, tree: Iterable[Any]) -> str:
        return "".join(self._one(str(op), value) for op, value in tree)

    def _one(self, op: str, value: Any) -> str:
        if op == "LITERAL":
            return chr(value)
        if op == "NOT_LITERAL":
            return "x" if value != ord("x") else "y"
        if op == "ANY":
            return "x"
        if op == "IN":
            return self._of_class(value)
        if op == "BRANCH":
            return self.write(value[1][0])
        if op == "SUBPATTERN":
            return self._subpattern(value)
        if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            return self._repeat(*value)
        if op == "GROUPREF":
            return self._groups.get(value, "")
        if op == "ATOMIC_GROUP":
            return self.write(value)
        return ""

    def _subpattern(self, value: Any) -> str:
        number, _, _, inside = value
        written = self.write(inside)
        if number is not None:
            if number == self._group:
                written = self._value
            self._groups[number] = written
        return written

    def _repeat(self, low: int, high: int, inside: Any) -> str:
        if _is_wild(inside) and high > _MAX_REPEAT:
            self.seen += 1
            if self.seen == self._wild:
                return self._value
            return SLOT_FILL if low or self._wild else ""
        return "".join(self.write(inside) for _ in range(min(low, _MAX_REPEAT)))

    @staticmethod
    def _of_class(members: Any) -> str:
        (op, value), *_ = members
        if str(op) == "NEGATE":
            banned = {chr(v) for o, v in members[1:] if str(o) == "LITERAL"}
            return next(c for c in "xyz .01" if c not in banned)
        if str(op) == "RANGE":
            return chr(value[0])
        return chr(value) if str(op) == "LITERAL" else _CLASS.get(str(value), "x")


def _is_wild(inside: Any) -> bool:
    """Whether a repeated part takes (almost) any character: `.`, `[\\s\\S]`, `[^<]`."""
    items = [(str(op), value) for op, value in inside]
    if len(items) != 1:
        return False
    op, value = items[0]
    if op == "ANY":
        return True
    if op != "IN":
        return False
    names = {str(v) for o, v in value if str(o) == "CATEGORY"}
    negated = any(str(o) == "NEGATE" for o, _ in value)
    return negated or len(names) > 1
