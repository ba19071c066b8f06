"""A value that fits a JSON Schema, with an answer wherever a text may stand. For the usual schemas, not for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rft_core.types import Json

MAX_DEPTH = 6


def instance(schema: Mapping[str, Any], value: Json, depth: int = 0) -> Json:
    """All properties are given. Numbers lie at the lower bound, lists have the fewest entries but one."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return value if value in schema["enum"] else schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key) and depth < MAX_DEPTH:
            return instance(schema[key][0], value, depth + 1)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if (kind == "object" or "properties" in schema) and depth < MAX_DEPTH:
        return {
            k: instance(s, value, depth + 1) for k, s in schema.get("properties", {}).items() if isinstance(s, Mapping)
        }
    if kind == "array":
        items = schema.get("items")
        count = max(1, int(schema.get("minItems", 1)))
        return [instance(items if isinstance(items, Mapping) else {}, value, depth + 1) for _ in range(min(count, 50))]
    if kind in ("integer", "number"):
        return _number(schema, value, whole=kind == "integer")
    if kind == "boolean":
        return value if isinstance(value, bool) else True
    return None if kind == "null" else _text(schema, value)


def _number(schema: Mapping[str, Any], value: Json, *, whole: bool) -> Json:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value) if whole else float(value)
        except ValueError:
            pass
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    return (low if low is not None else 0) + 1


def _text(schema: Mapping[str, Any], value: Json) -> str:
    text = value if isinstance(value, str) else str(value)
    return text.ljust(int(schema.get("minLength", 0)), "x")[: schema.get("maxLength")]
