"""Finds the answer in a text, in time that grows with its length and no faster."""

from __future__ import annotations

import re

MAX_CHARS = 1000
"""A longer answer is none: nothing that is worth comparing is so long."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?: ?/ ?\d+)?(?:\s?\\?%)?")
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))


def answer_in(text: str, where: str) -> str | None:
    """The answer by a value of the setting `extract`, or None if there is none."""
    found = None
    if where in ("auto", "boxed"):
        found = last_box(text)
    if where == "last_number" or (where == "auto" and found is None):
        found = last_number(text)
    if where == "whole":
        found = text
    found = cleaned(found or "")
    return found or None


def reference_in(text: str) -> str:
    """What a reference says: its last box, or all of it."""
    boxed = last_box(text)
    return cleaned(text if boxed is None else boxed)


def last_box(text: str) -> str | None:
    r"""What the last closed \boxed{} holds."""
    for start in reversed([match.end() for match in _BOX.finditer(text)][-20:]):
        depth = 1
        for brace in _BRACE.finditer(text, start, start + MAX_CHARS + 1):
            depth += {"{": 1, "}": -1}.get(brace.group(), 0)
            if depth == 0:
                return text[start : brace.start()]
    return None


def last_number(text: str) -> str | None:
    """The last number: `-1,234.5`, `1/2` and `50%` are each one."""
    found = None
    for match in _NUMBER.finditer(text):
        found = match.group()
    return found


def cleaned(text: str) -> str:
    """Without what stands around mathematics in prose: dollars, a full stop, line breaks."""
    text = " ".join(text.split()).rstrip(".,;: ")
    for opening, closing in _DELIMITERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing):
            text = text[len(opening) : len(text) - len(closing)].strip().rstrip(".,;: ")
    return re.sub(r"(?<!\\)%", r"\\%", text)
