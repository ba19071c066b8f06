"""What commands print: JSON for programs, tables for people, and foreign text that cannot steer a terminal."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.text import Text

PLAIN_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
JOINERS = "\u200c\u200d"
"""Format characters that emoji and some scripts need, and that move nothing."""
ACTIVE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that act instead of being seen: controls, bidi overrides, surrogates."""


def open_console() -> Console:
    """A console on standard output that reads no markup, emoji codes or numbers into what it prints."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def inert(text: str) -> str:
    """Text of models, rows or errors with every character that acts on a terminal written out, as `\\x1b`.

    Line feeds and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(c) for c in text)


def _visible(character: str) -> str:
    if character in "\n\t" or character in JOINERS or unicodedata.category(character) not in ACTIVE:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def literal(text: object, style: str = "") -> Text:
    """Foreign text for a table or panel: inert, and never read as markup."""
    return Text(inert(str(text)), style=style, overflow="fold")


def plain(value: Any) -> Any:
    """The same value with NaN and infinities as null, which is all that JSON can say of them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def json_line(value: Any) -> str:
    """One line of strict JSON in ASCII, so that no text inside it acts on a terminal."""
    try:
        return json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(plain(value), default=str)


def echo_json(value: Any) -> None:
    click.echo(json_line(value))


def number(value: float | None) -> str:
    """A mean or share for people: three decimals, or three digits where that would hide it."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def duration(seconds: float | None) -> str:
    """`4 ms`, `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `4 d 3 h`."""
    if seconds is None:
        return "–"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def with_interval(mean: float | None, ci95: Any) -> str:
    """`0.512 [0.480, 0.541]`."""
    if mean is None or not ci95:
        return number(mean)
    return f"{number(mean)} [{number(ci95[0])}, {number(ci95[1])}]"


def p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
