"""Turns pydantic's errors into one sentence with the key path and the nearest valid name."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from rft_core.errors import ConfigError, nearest


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
    message = str(detail["msg"]).removeprefix("Value error, ")
    given = detail.get("input")
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) or given is None else ""
    return f"{message[:1].lower()}{message[1:]}{shown}"


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the nested model that `path` leads to, or of the outermost known one."""
    current: Any = model
    for part in path:
        field = current.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                current = candidate
                break
    return [f.alias or name for name, f in current.model_fields.items()]
