"""Writes the references that follow from the code: run-file.md and commands.md.

python docs/generate.py            write them
python docs/generate.py --check    exit with 1 if they are not current
"""

from __future__ import annotations

import sys
import types
import typing
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from rft_core.cli import cli
from rft_core.config import RunConfig
from rft_core.registry import Registry
from rft_core.types import SamplingParams
from rft_core.worker_config import WorkerConfig

DOCS = Path(__file__).parent
OURS = "rft-"
KINDS = ("data_source", "model_source", "sampler", "grader", "optimizer", "observer")

INTRO = """# The run file

YAML. Unknown keys are refused with the nearest valid name. Each component is `{type: name, …its own
fields}`; relative paths start at the folder of the run file.

- `vars:` names values that `${name}` fills in anywhere else; a var that is null must be set on the command line.
- `--set a.b=c` overrides any key; entries of `stages` are reached by name: `--set stages.rft.training.steps=10`.
- `stages:` is a list of mappings with a `stage` name and the keys that differ from the rest of the file.
  Each stage starts from the weights of the one before. The last one is the run itself; the others lie in
  `stages/` of its directory. Mappings are merged; a component of another `type` replaces the whole component.
- Numbers such as `1e-5` may be written without a dot.

This page is made by `python docs/generate.py` from the code.
"""


def main() -> int:
    pages = {"run-file.md": run_file_page(), "commands.md": commands_page()}
    stale = [n for n, text in pages.items() if not (DOCS / n).exists() or (DOCS / n).read_text() != text]
    if "--check" in sys.argv:
        if stale:
            print(f"not current: {', '.join(stale)}; run python docs/generate.py")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages[name])
    return 0


def run_file_page() -> str:
    parts = [INTRO, "## The engine's own keys\n", *sections(RunConfig, "")]
    parts += ["## `sampling`\n", table(SamplingParams), "## `worker`\n"]
    parts += ["Under `sampler.worker` and `grading.worker`.\n", table(WorkerConfig)]
    registry = Registry.discover()
    for kind in KINDS:
        parts.append(f"## {kind.replace('_', ' ').capitalize()}s\n")
        for name in registry.names(kind):
            found = registry.registered(kind, name)
            if found.owner.distribution.startswith(OURS) and found.owner.distribution != "rft-test-plugin":
                spec: Any = found.spec
                parts += [
                    f"### `{name}` ({found.owner.distribution})\n",
                    f"{spec.summary.rstrip('.')}.\n",
                    table(spec.config),
                ]
    return "\n".join(parts)


def sections(model: type[BaseModel], prefix: str) -> list[str]:
    """A table of the model's plain keys, then one of each section below it."""
    parts = [table(model)]
    for name, field in model.model_fields.items():
        inner = inner_model(field.annotation)
        if inner is not None and inner not in (SamplingParams, WorkerConfig):
            parts += [f"## `{prefix}{name}`\n", *sections(inner, f"{prefix}{name}.")]
    return parts


def table(model: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {type_name(field.annotation)} | {default_of(field)} | {(field.description or '').replace('|', '∣')} |"
        for name, field in model.model_fields.items()
    ]
    if not rows:
        return "No settings.\n"
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def default_of(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default_factory() if field.default is PydanticUndefined else field.default
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else value}`"


def inner_model(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(a) for a in arguments if a is not type(None)))
    if origin is typing.Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in (list, tuple):
        inner = [a for a in arguments if a is not Ellipsis]
        return f"list of {type_name(inner[0])}" if inner else "list"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def commands_page() -> str:
    parts = ["# Commands\n", "This page is made by `python docs/generate.py` from `--help`.\n"]
    context = click.Context(cli, info_name="rft-engine")
    parts += help_of(cli, context, "rft-engine")
    return "\n".join(parts)


def help_of(command: click.Command, context: click.Context, name: str) -> list[str]:
    context.terminal_width = context.max_content_width = 100
    parts = [f"## `{name}`\n", f"```text\n{command.get_help(context).rstrip()}\n```\n"]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            if inner is not None:
                parts += help_of(inner, click.Context(inner, info_name=sub, parent=context), f"{name} {sub}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
