"""Turns pydantic's errors into one sentence with the key path and the nearest valid name."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from rft_core.errors import ConfigError, nearest

NO_BLOCK = ("dict_type", "mapping_type", "model_type", "model_attributes_type")
"""What pydantic says of a value where a block of settings belongs."""


def config_error(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    """The first of pydantic's errors as a ConfigError; the number of others is told."""
    details = error.errors(include_url=False)
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    path = ".".join([where, *(str(part) for part in first["loc"])]) if where else ".".join(map(str, first["loc"]))
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return ConfigError(_sentence(first, model) + more, where=path)


def _sentence(detail: Any, model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        name = str(detail["loc"][-1])
        return f"unknown key '{name}'{nearest(name, _keys_at(model, detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return "this key is required"
    if detail["type"] in NO_BLOCK:
        message = f"wants a block of settings such as {{{_first_key(model, detail)}: …}}"
    else:
        message = str(detail["msg"]).removeprefix("Value error, ")
    given = detail.get("input")
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{message[:1].lower()}{message[1:]}{shown}"


def _first_key(model: type[BaseModel], detail: Any) -> str:
    """How the block of settings begins that is wanted where `detail` stands."""
    *parents, last = detail["loc"] or ("",)
    if detail["type"].startswith("model"):
        return next(iter(_keys_at(model, detail["loc"])), "key")
    field = _model_at(model, tuple(parents)).model_fields.get(str(last))
    is_component = field is None or field.annotation in (dict[str, Any], dict[str, Any] | None)
    return "type" if is_component else "key"


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    return [field.alias or name for name, field in _model_at(model, path).model_fields.items()]


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """The nested model that `path` leads to, or the outermost known one."""
    current = model
    for part in path:
        field = current.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                current = candidate
                break
    return current
