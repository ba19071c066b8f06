"""Writes what the docs repeat from the code, between markers in the pages.

    python docs/generate.py            write it
    python docs/generate.py --check    exit with 1 if a page is not current

A page holds `<!-- generated: NAME -->` … `<!-- end of NAME -->`; what stands between is replaced.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from rft_core import hookspecs
from rft_core.cli import cli
from rft_core.config.run_file import RunConfig
from rft_core.config.workers import WorkerConfig
from rft_core.errors import error_classes
from rft_core.registry import Registry
from rft_core.runs.stages import EXTENDABLE
from rft_core.types import SamplingParams

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end of (?P=name) -->)", re.DOTALL)
KINDS = ("data_source", "model_source", "sampler", "grader", "optimizer", "observer")
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
ELSEWHERE: Mapping[type[BaseModel], str] = {SamplingParams: "sampling", WorkerConfig: "worker"}
"""Models with a section of their own, which several keys share."""
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Any: "JSON"}
PLAIN_MEANINGS = {"observers": "Who watches the run: a list of observers.", "type": "Names the component."}
"""For keys that the code does not describe."""


def main() -> int:
    stale = [path for path in sorted(DOCS.glob("*.md")) if current(path) != path.read_text(encoding="utf-8")]
    if "--check" in sys.argv:
        if stale:
            print(f"not current: {', '.join(path.name for path in stale)}; run python docs/generate.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(current(path), encoding="utf-8")
    return 0


def current(path: Path) -> str:
    """The page with every marked part made anew. KeyError for a marker that nothing is made for."""
    return MARKED.sub(lambda m: f"{m[1]}\n{PARTS[m['name']]()}\n{m[3]}", path.read_text(encoding="utf-8"))


def engine_keys() -> str:
    parts = [table(RunConfig), *sections(RunConfig, "")]
    for model, name in ELSEWHERE.items():
        where = "Under `sampler.worker` and `grading.worker`.\n" if model is WorkerConfig else ""
        parts.append(f"## `{name}`\n\n{where}\n{table(model)}".replace("\n\n\n", "\n\n"))
    return "\n".join(parts)


def sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """One table for each section below the model's keys."""
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            if inner not in ELSEWHERE:
                yield f"## `{prefix}{name}`\n\n{table(inner, f'{prefix}{name}.')}"
                yield from sections(inner, f"{prefix}{name}.")


def components() -> str:
    parts = []
    registry = Registry.discover()
    for kind in KINDS:
        parts.append(f"## {kind.replace('_', ' ').capitalize()}s\n")
        for name in registry.names(kind):  # type: ignore[arg-type]
            found: Any = registry.registered(kind, name)  # type: ignore[arg-type]
            if (DOCS.parent / "plugins" / found.owner.distribution).is_dir():
                summary = found.spec.summary.rstrip(".")
                parts.append(f"### `{name}`\n\n{summary}. From `{found.owner.distribution}`.\n")
                parts.append(table(found.spec.config, nested=True))
    return "\n".join(parts).rstrip() + "\n"


def presets() -> str:
    """Every bundled preset, with the parts it names."""
    rows = ["| `algorithm` | what | parts |", "|---|---|---|"]
    for name, spec in bundled_parts("preset"):
        settings = "; ".join(f"{key}: {part_text(value)}" for key, value in spec.function().items())
        rows.append(f"| `{name}` | {spec.summary} | {settings} |")
    return "\n".join([*rows, ""])


def part_text(value: Any) -> str:
    """A part by its name, with the settings that are not its defaults."""
    if not isinstance(value, dict):
        return f"`{json.dumps(value)}`".replace('"', "")
    inner = ", ".join(f"{k} {part_text(v)}" for k, v in value.items() if k != "type")
    name = f"`{value['type']}`" if "type" in value else ""
    return " ".join(filter(None, (name, f"({inner})" if name and inner else inner))) or "yes"


def parts() -> str:
    """Every bundled part by role, with its settings."""
    rows = ["| role | part | what | settings |", "|---|---|---|---|"]
    for role in ("advantage", "ratio", "objective", "aggregation", "kl", "correction"):
        for name, spec in bundled_parts(role):
            settings = ", ".join(f"`{key}` {default_of(field)}" for key, field in spec.config.model_fields.items())
            rows.append(f"| {role} | `{name}` | {spec.summary} | {settings} |")
    return "\n".join([*rows, ""])


def bundled_parts(role: str) -> Iterator[tuple[str, Any]]:
    registry = Registry.discover()
    for name in registry.names("optimizer_part"):
        found = registry.registered("optimizer_part", name)
        if name.startswith(f"{role}/") and (DOCS.parent / "plugins" / found.owner.distribution).is_dir():
            yield found.spec.name, found.spec


def table(model: type[BaseModel], section: str = "", *, nested: bool = False) -> str:
    """A table of the model's keys; `section` is the dotted path that leads to it, with a dot at its end."""
    rows = list(rows_of(model, section=section, nested=nested))
    if not rows:
        return "No settings.\n"
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def rows_of(model: type[BaseModel], prefix: str = "", *, section: str = "", nested: bool) -> Iterator[str]:
    """A line for each key; with `nested` also for those of models inside, by their dotted path."""
    for attribute, field in model.model_fields.items():
        name = field.alias or attribute
        inner = models_in(field.annotation)
        told = meaning(section, name, field, inner, nested)
        yield f"| `{prefix}{name}` | {type_name(field)} | {default_of(field)} | {told} |"
        for other in inner if nested else ():
            yield from rows_of(other, f"{prefix}{name}.", nested=True)


def meaning(section: str, name: str, field: Any, inner: list[type[BaseModel]], nested: bool) -> str:
    text = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
    if inner and not nested:
        target = ELSEWHERE.get(inner[0], f"{section}{name}")
        text = f"{text} See [`{target}`](#{target.replace('.', '')})."
    text = text.strip() or PLAIN_MEANINGS.get(name, "")
    assert text, f"the key '{name}' has no description"
    return text


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that a key's value is, or may be."""
    options = [annotation, *typing.get_args(annotation)]
    return [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]


def default_of(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default_factory() if field.default is PydanticUndefined else field.default
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, float):
        return f"`{value:g}`"
    if value == "":
        return "made up"
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return f"`{text if isinstance(value, list | tuple | dict) else text.strip(chr(34))}`"


def type_name(field: Any) -> str:
    bounds = [
        f"{sign} {bound_text(getattr(rule, attribute))}"
        for rule in field.metadata
        for attribute, sign in BOUNDS.items()
        if getattr(rule, attribute, None) is not None
    ]
    return " ".join([annotation_name(field.annotation), ", ".join(bounds)]).strip()


def bound_text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def annotation_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return annotation_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(annotation_name(a) for a in arguments if a is not type(None)))
    if origin is typing.Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in (list, tuple):
        inner = [a for a in arguments if a is not Ellipsis]
        return f"list of {annotation_name(inner[0])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    return TYPES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def extendable() -> str:
    return ", ".join(f"`{key}`" for key in EXTENDABLE) + ".\n"


def commands() -> str:
    from rft_workers.cli import main as worker

    parts = [
        *help_of(cli, None, "rft-engine"),
        *help_of(worker, None, "rft-worker"),
    ]
    return "\n".join(parts)


def help_of(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name.split()[-1], parent=parent, **command.context_settings)
    context.terminal_width = context.max_content_width = 100
    yield f"## `{name}`\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None
            yield from help_of(inner, context, f"{name} {sub}")


def errors() -> str:
    rows = [
        f"| `{cls.exit_code}` | `{reason}` | `{cls.__name__}` | {first_sentence(cls)} |"
        for reason, cls in sorted(error_classes().items(), key=lambda pair: (pair[1].exit_code, pair[0]))
    ]
    return "\n".join(["| exit code | reason | class | when |", "|---|---|---|---|", *rows, ""])


def first_sentence(cls: type) -> str:
    text = " ".join((inspect.getdoc(cls) or "").split())
    return re.split(r"(?<=\.) ", text)[0]


def hooks() -> str:
    """Every hook with its signature, registering ones first."""
    lines = []
    for name, function in vars(hookspecs).items():
        if name.startswith("rft_"):
            lines.append(f"def {name}{inspect.signature(function)}".replace("'", ""))
            lines.append(f"    # {' '.join((inspect.getdoc(function) or '').split())}\n")
    return "```python\n" + "\n".join(lines).rstrip() + "\n```\n"


PARTS: Mapping[str, Callable[[], str]] = {
    "engine-keys": engine_keys,
    "components": components,
    "presets": presets,
    "parts": parts,
    "extendable": extendable,
    "commands": commands,
    "errors": errors,
    "hooks": hooks,
}

if __name__ == "__main__":
    sys.exit(main())
