"""Programs that do nothing: the functions of a right answer that is Python, with other bodies."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence

from rft_core.runs.checks.answers import Answer
from rft_core.types import Json

BODIES = ("pass", "return True", "return 0", "return ''", "raise SystemExit(0)")
_FENCED = re.compile(r"(.*?```\w*\n)(.*?)(```.*)", re.DOTALL)


ENDLESS = "while True: pass"


def stubs(
    text: str, write: Callable[[Json], str], bodies: Sequence[str] = BODIES, kind: str = "stub"
) -> Iterator[Answer]:
    """None if the text, or the block between its fences, defines no function."""
    before, code, after = "", text, ""
    if fenced := _FENCED.fullmatch(text):
        before, code, after = fenced.groups()
    for body in bodies:
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError):
            return
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        if not functions:
            return
        for function in functions:
            function.body = ast.parse(f"def f():\n {body}").body[0].body  # type: ignore[attr-defined]
        stub = ast.unparse(ast.fix_missing_locations(tree))
        yield Answer(kind=kind, text=write(f"{before}{stub}\n{after}"), note=f"functions with the body `{body}`")
