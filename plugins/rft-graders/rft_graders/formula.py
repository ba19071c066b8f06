"""The formula of a `multi` grader: parsed by recursive descent, never handed to Python.

    expr  := term (("+"|"-") term)*
    term  := unary (("*"|"/") unary)*
    unary := ("+"|"-") unary | power
    power := atom ("^" unary)?            right-associative, and -a^2 = -(a^2)
    atom  := NUMBER | NAME | NAME "(" expr ("," expr)* ")" | "(" expr ")"

Functions: min, max (two or more arguments), abs, floor, ceil, exp, sqrt, log (natural).

`parse` raises ConfigError for what is wrong whatever the scores are; `Formula.evaluate` raises
ArithmeticError for what depends on them: division by zero, a logarithm of 0, overflow. Every
intermediate value is a finite float, so an overflow cannot hide in a later division.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rft_core.errors import ConfigError, nearest

MAX_DEPTH = 50
MAX_CHARS = 10_000
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<symbol>[-+*/^(),]))"
)

FUNCTIONS: Mapping[str, tuple[Callable[..., float], int, int | None]] = {
    "min": (min, 2, None),
    "max": (max, 2, None),
    "abs": (abs, 1, 1),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "exp": (math.exp, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "log": (math.log, 1, 1),
}
"""By name: the function, and its fewest and most arguments."""

_OPERATORS: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": math.pow,
}

Scores = Mapping[str, float]
Node = Callable[[Scores], float]


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula."""

    text: str
    names: tuple[str, ...]
    """Names it reads, each once, in order of first use."""
    _root: Node

    def evaluate(self, scores: Scores) -> float:
        """The value for these scores, finite. ArithmeticError, with a sentence, if there is none."""
        return self._root(scores)


def parse(text: str) -> Formula:
    """The formula of a text. ConfigError, with the position, if the grammar does not produce it."""
    if len(text) > MAX_CHARS:
        raise ConfigError(f"the formula has {len(text)} characters, the most is {MAX_CHARS}")
    parser = _Parser(text)
    root = parser.expr(0)
    parser.expect_end()
    return Formula(text, tuple(dict.fromkeys(parser.names)), root)


class _Parser:
    """One pass over the tokens. `depth` bounds the recursion, so that no formula exhausts the stack."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: list[str] = []
        self._position = 0
        self._kind, self._token, self._start = "", "", 0
        self._advance()

    def expr(self, depth: int) -> Node:
        return self._chain(("+", "-"), self.term, depth)

    def term(self, depth: int) -> Node:
        return self._chain(("*", "/"), self.unary, depth)

    def unary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(f"it is nested deeper than {MAX_DEPTH} levels")
        if self._token not in ("+", "-"):
            return self._power(depth)
        sign = -1.0 if self._token == "-" else 1.0
        self._advance()
        operand = self.unary(depth + 1)
        return lambda scores: sign * operand(scores)

    def expect_end(self) -> None:
        if self._kind:
            raise self._unexpected("an operator or the end")

    def _chain(self, operators: tuple[str, ...], operand: Callable[[int], Node], depth: int) -> Node:
        begin, names_before = self._start, len(self.names)
        first = operand(depth)
        rest: list[tuple[str, Node]] = []
        while self._kind == "symbol" and self._token in operators:
            operator, start, names = self._token, self._start, len(self.names)
            self._advance()
            node = operand(depth)
            if operator == "/" and len(self.names) == names and node({}) == 0:
                raise self._error("it divides by zero", start)
            rest.append((operator, node))
        if not rest:
            return first

        def evaluate(scores: Scores) -> float:
            value = first(scores)
            for operator, node in rest:
                value = _apply(operator, _OPERATORS[operator], value, node(scores))
            return value

        return self._constant_checked(evaluate, names_before, begin)

    def _power(self, depth: int) -> Node:
        begin, names_before = self._start, len(self.names)
        base = self._atom(depth)
        if self._token != "^":
            return base
        self._advance()
        exponent = self.unary(depth + 1)
        return self._constant_checked(
            lambda scores: _apply("^", _OPERATORS["^"], base(scores), exponent(scores)), names_before, begin
        )

    def _atom(self, depth: int) -> Node:
        kind, token = self._kind, self._token
        if kind == "number":
            value = float(token)
            if not math.isfinite(value):
                raise self._error(f"the number {token} is too large")
            self._advance()
            return lambda scores: value
        if kind == "name":
            start = self._start
            self._advance()
            if self._token == "(":
                return self._call(token, start, depth)
            if token in FUNCTIONS:
                raise self._error(f"the function {token} needs its argument in parentheses")
            self.names.append(token)
            return lambda scores: scores[token]
        if token == "(":
            self._advance()
            inner = self.expr(depth + 1)
            self._close()
            return inner
        raise self._unexpected("a number, a name or '('")

    def _call(self, name: str, start: int, depth: int) -> Node:
        if name not in FUNCTIONS:
            raise ConfigError(
                f"formula '{self._shown()}': there is no function '{name}' (character {start + 1}){nearest(name, FUNCTIONS)}"
            )
        self._advance()
        names_before = len(self.names)
        arguments = [self.expr(depth + 1)]
        while self._token == ",":
            self._advance()
            arguments.append(self.expr(depth + 1))
        self._close()
        function, fewest, most = FUNCTIONS[name]
        if len(arguments) < fewest or (most is not None and len(arguments) > most):
            takes = "one argument" if most == 1 else "two or more arguments"
            raise ConfigError(
                f"formula '{self._shown()}': {name} takes {takes}, not {len(arguments)} (character {start + 1})"
            )
        return self._constant_checked(
            lambda scores: _apply(name, function, *(argument(scores) for argument in arguments)), names_before, start
        )

    def _constant_checked(self, node: Node, names_before: int, start: int) -> Node:
        """The node; ConfigError now if it reads no name and has no value, because it never will have one."""
        if len(self.names) == names_before:
            try:
                node({})
            except ArithmeticError as error:
                raise self._error(f"it has no value: {error}", start) from None
        return node

    def _close(self) -> None:
        if self._token != ")":
            raise self._unexpected("')'")
        self._advance()

    def _advance(self) -> None:
        rest = self.text[self._position :]
        self._start = self._position + len(rest) - len(rest.lstrip())
        match = _TOKEN.match(self.text, self._position)
        if match is None:
            self._kind, self._token = "", ""
            if rest.strip():
                self._token = rest.lstrip()[0]
                hint = "; write ^ for powers" if rest.lstrip().startswith("**") else ""
                raise self._error(f"'{self._token}' is not part of the grammar{hint}")
            return
        self._kind, self._token, self._position = str(match.lastgroup), match[str(match.lastgroup)], match.end()

    def _unexpected(self, wanted: str) -> ConfigError:
        if not self._kind:
            return self._error(f"it ends where {wanted} should follow")
        power = "; write ^ for powers" if self._token == "*" else ""
        return self._error(f"'{self._token}' stands where {wanted} should{power}")

    def _error(self, why: str, start: int | None = None) -> ConfigError:
        position = self._start if start is None else start
        return ConfigError(f"formula '{self._shown()}': {why} (character {position + 1})")

    def _shown(self) -> str:
        return self.text if len(self.text) <= 200 else self.text[:200] + "…"


def _apply(name: str, function: Callable[..., float], *arguments: float) -> float:
    shown = ", ".join(f"{a:g}" for a in arguments)
    try:
        value = float(function(*arguments))
    except ZeroDivisionError:
        raise ArithmeticError(f"division of {arguments[0]:g} by zero") from None
    except (ValueError, OverflowError):
        raise ArithmeticError(f"{name} has no finite value at ({shown})") from None
    if not math.isfinite(value):
        raise ArithmeticError(f"{name} has no finite value at ({shown})")
    return value
