"""Finds the program in a completion and the tests in a row, and compares outputs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rft_core.errors import DataError
from rft_core.types import Json

_FENCE = re.compile(
    r"^[ ]{0,3}(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<body>.*?)^[ ]{0,3}(?P=fence)[`~]*[ \t]*$", re.M | re.S
)
_OPEN_FENCE = re.compile(r"^[ ]{0,3}(?:`{3,}|~{3,})[^\n`]*\n", re.M)


@dataclass(frozen=True)
class Pair:
    """What a program is given, and what it must print."""

    input: str
    output: str


def last_block(text: str) -> str:
    """The body of the last fenced code block; the text itself if it has none. One that is not closed ends with the text."""
    blocks = list(_FENCE.finditer(text))
    rest = text[blocks[-1].end() :] if blocks else text
    if opened := list(_OPEN_FENCE.finditer(rest)):
        return rest[opened[-1].end() :]
    return blocks[-1]["body"] if blocks else text


def read_tests(value: Json) -> Sequence[Pair] | str:
    """Pairs, or the text of a test file. DataError if it is neither."""
    if isinstance(value, str):
        try:
            listed = json.loads(value)
        except ValueError:
            listed = None
        if not isinstance(listed, list):
            return _test_file(value)
        value = listed
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"the tests must be a list of pairs or the text of a test file, not {_shown(value)}")
    return [_pair(entry) for entry in value]


def _test_file(text: str) -> str:
    try:
        tree = ast.parse(text)
        compile(text, "tests.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"the tests cannot be compiled: {error}") from None
    quiet = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AsyncFunctionDef)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and (node.name.startswith("test_") or node.name == "check"):
            return text
        if isinstance(node, ast.ClassDef) and node.bases:
            return text
        told = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not told and not isinstance(node, (*quiet, ast.FunctionDef, ast.ClassDef)):
            return text
    raise DataError("the tests hold nothing to run: no TestCase, no test_ function, no check(candidate), no statement")


def _pair(entry: Json) -> Pair:
    if not isinstance(entry, dict) or not isinstance(entry.get("output"), str):
        raise DataError(f'a test must be {{"input": text, "output": text}}, not {_shown(entry)}')
    given = entry.get("input", "")
    if not isinstance(given, str):
        raise DataError(f"the input of a test must be text, not {_shown(given)}")
    return Pair(given, entry["output"])


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"


def same_output(printed: str, expected: str, *, exact: bool) -> bool:
    """Whether a program printed what it should."""
    return printed == expected if exact else _trimmed(printed) == _trimmed(expected)


def _trimmed(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
