"""The data sources `split` and `filter`: some rows of another source."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rft_core import Item
from rft_core.canonical import canonical_json
from rft_core.errors import DataError, MissingVariableError, nearest
from rft_core.protocols import DataSource
from rft_core.template import Variable, compile_variable
from rft_core.types import Json, Row
from rft_data_tables.config import Condition, FilterConfig, SplitConfig


class SomeRows:
    """Implements `rft_core.DataSource`: the rows of another source that are wanted, under their own keys."""

    def __init__(self, source: DataSource, wanted: Callable[[Item], bool]) -> None:
        self._source = source
        self._indices = array("Q")
        self.skipped = getattr(source, "skipped", ())
        sha = hashlib.sha256()
        for index in range(len(source)):
            item = source.item(index)
            if wanted(item):
                self._indices.append(index)
                sha.update(canonical_json(item.row) + b"\n")
        self._fingerprint = f"sha256:{sha.hexdigest()}"

    def __len__(self) -> int:
        return len(self._indices)

    def item(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a source with {len(self)} rows")
        return replace(self._source.item(self._indices[index]), index=index)

    def fingerprint(self) -> str:
        """`sha256:…` of these rows alone: rows that go to another part do not change it."""
        return self._fingerprint


def split(config: SplitConfig, source: DataSource) -> SomeRows:
    """A row belongs to the part that the hash of its key falls in, whatever else the source holds: more rows,
    or another order, move none. So equal keys are together, and so are copies of a row."""
    variable = None if config.by is None else compile_variable(f"item.{config.by}")

    def wanted(item: Item) -> bool:
        value = item.row if variable is None else _key_of(item, variable, config.by or "")
        return part_of(value, config.fractions, config.seed) == config.part

    found = SomeRows(source, wanted)
    if not len(found):
        raise DataError(
            f"none of the {len(source)} rows falls in the part '{config.part}'",
            hint="take another seed or larger fractions; with by, rows of one key are never divided",
        )
    return found


def part_of(value: Json, fractions: Mapping[str, float], seed: int) -> str:
    """The part that a value belongs to. The order of `fractions` does not matter."""
    number = hashlib.sha256(b"%d:" % seed + canonical_json(value)).digest()[:8]
    position = int.from_bytes(number, "big") / 2**64
    names = sorted(fractions)
    end = 0.0
    for name in names:
        end += fractions[name]
        if position < end:
            return name
    return names[-1]


def _key_of(item: Item, variable: Variable, key: str) -> Json:
    try:
        value = variable.find({"item": item.row})
    except MissingVariableError:
        raise DataError(
            f"the row {item.key} has no key '{key}', which by names{nearest(key, item.row)}",
            hint="every row needs the key that keeps rows together",
        ) from None
    if value is None:
        raise DataError(f"the key '{key}' of the row {item.key} is null", hint="give it a value, or filter the row out")
    return value


def filtered(config: FilterConfig, source: DataSource) -> SomeRows:
    """A row that lacks the key of a condition meets `missing` alone. DataError where no row has it, or where
    two values cannot be compared."""
    conditions = [(condition, compile_variable(f"item.{condition.key}")) for condition in config.where]
    seen: set[str] = set()
    keys: set[str] = set()

    def wanted(item: Item) -> bool:
        keys.update(item.row)
        met = [_meets(item, condition, variable, seen) for condition, variable in conditions]  # all, for `seen`
        return all(met)

    found = SomeRows(source, wanted)
    for condition in config.where:
        if condition.key not in seen and condition.op != "missing":
            raise DataError(f"no row has the key '{condition.key}', which where names{nearest(condition.key, keys)}")
    if not len(found):
        raise DataError(f"none of the {len(source)} rows meets all conditions", hint="loosen where")
    return found


def _meets(item: Item, condition: Condition, variable: Variable, seen: set[str]) -> bool:
    value, there = _find(item.row, variable)
    if there:
        seen.add(condition.key)
    if condition.op in ("exists", "missing"):
        return there == (condition.op == "exists")
    if not there:
        return False
    try:
        return _OPERATIONS[condition.op](value, condition.value)
    except TypeError:
        raise DataError(
            f"{condition.key} of the row {item.key} is {_shown(value)}, which {condition.op} cannot hold against {_shown(condition.value)}",
            hint="compare numbers with numbers and text with text",
        ) from None


def _find(row: Row, variable: Variable) -> tuple[Json, bool]:
    try:
        return variable.find({"item": row}), True
    except MissingVariableError:
        return None, False


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Json, Json], bool]:
    def checked(value: Json, other: Json) -> bool:
        if isinstance(value, bool) or isinstance(value, str) != isinstance(other, str):
            raise TypeError
        return compare(value, other)

    return checked


def _contains(value: Json, other: Json) -> bool:
    if isinstance(value, str) and isinstance(other, str):
        return other in value
    if isinstance(value, list):
        return any(_equal(entry, other) for entry in value)
    raise TypeError


def _equal(value: Json, other: Json) -> bool:
    """As JSON: 1 and 1.0 are equal, 1 and true are not."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _shown(value: Json) -> str:
    return canonical_json(value).decode()[:80]


_OPERATIONS: Mapping[str, Callable[[Json, Json], bool]] = {
    "eq": _equal,
    "ne": lambda value, other: not _equal(value, other),
    "lt": _ordered(lambda value, other: value < other),
    "le": _ordered(lambda value, other: value <= other),
    "gt": _ordered(lambda value, other: value > other),
    "ge": _ordered(lambda value, other: value >= other),
    "in": lambda value, other: any(_equal(value, entry) for entry in other),
    "not_in": lambda value, other: not any(_equal(value, entry) for entry in other),
    "contains": _contains,
}
