"""`rft-engine plugins` and `rft-engine plugins show`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from rft_core.cli import COMMANDS
from rft_core.cli.output import echo_json, literal, open_console
from rft_core.errors import PluginError, UnknownNameError, nearest
from rft_core.registry import HOOK_OF_KIND, Kind, PluginStatus, Registered, Registry
from rft_core.specs import OptimizerPartSpec

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

STYLES = {"ok": "green", "disabled": "dim"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}


@click.group("plugins", invoke_without_command=True)
@click.option("--kind", type=click.Choice(list(HOOK_OF_KIND)), help="Only components of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins_command(ctx: click.Context, kind: Kind | None, as_json: bool) -> None:
    """List installed plugins with what each registered; `show` describes one component."""
    if ctx.invoked_subcommand is not None:
        return
    registry = Registry.discover()
    plugins = [_status(plugin) for plugin in registry.plugins]
    components = {k: [_component(registry, k, name) for name in registry.names(k)] for k in HOOK_OF_KIND}
    if kind is not None:
        plugins = [p for p in plugins if any(c.startswith(f"{kind}/") for c in p["components"]) or p["status"] != "ok"]
        components = {kind: components[kind]}
    if as_json:
        echo_json({"plugins": plugins, "components": components})
        return
    _print(plugins, components)


@plugins_command.command("show")
@click.argument("name", metavar="KIND/NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Describe one component, such as grader/string_check: its owner and its settings."""
    kind, found = _find(Registry.discover(), name)
    config = getattr(found.spec, "config", None)
    values: dict[str, Any] = {
        "component": f"{kind}/{_qualified(found)}",
        "summary": found.spec.summary,
        "distribution": found.owner.distribution,
        "version": found.owner.version,
        "fields": [] if config is None else list(fields_of(config)),
    }
    preset = _preset_of(found)
    if preset is not None:
        values["sets"] = preset
    if as_json:
        echo_json(values)
        return
    from rich.table import Table

    console = open_console()
    console.print(literal(values["component"], "bold"))
    console.print(literal(f"{values['summary']}\nfrom {found.owner}"))
    if preset is not None:
        import yaml

        console.print(literal(yaml.safe_dump(preset, sort_keys=False).rstrip()))
        return
    if not values["fields"]:
        console.print(literal("It has no settings.", "dim"))
        return
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("field", "type", "default", "description"):
        table.add_column(column, overflow="fold")
    for field in values["fields"]:
        default = "required" if field["required"] else field["default"]
        table.add_row(*(literal(cell) for cell in (field["name"], field["type"], default, field["description"])))
    console.print(table)


def _qualified(found: Registered) -> str:
    """The component's name; that of a part of an optimizer is unique in its role."""
    spec = found.spec
    return f"{spec.role}/{spec.name}" if isinstance(spec, OptimizerPartSpec) else spec.name


def _preset_of(found: Registered) -> dict[str, Any] | None:
    """What a preset sets; None for everything else."""
    spec = found.spec
    return dict(spec.function()) if isinstance(spec, OptimizerPartSpec) and spec.role == "preset" else None


def _status(plugin: PluginStatus) -> dict[str, Any]:
    message = plugin.message
    status: str = plugin.status
    for name in (c.removeprefix("command/") for c in plugin.components if c.startswith("command/")):
        if name in COMMANDS:
            status = "conflict"
            message = f"command/{name} is rft-engine's own command; rename the plugin's"
    return {
        "plugin": plugin.owner.plugin,
        "distribution": plugin.owner.distribution,
        "version": plugin.owner.version,
        "module": plugin.module,
        "status": status,
        "message": message,
        "components": plugin.components,
    }


def _component(registry: Registry, kind: Kind, name: str) -> dict[str, Any]:
    try:
        found = registry.registered(kind, name)
    except PluginError as error:  # two plugins claim the name
        return {"name": name, "summary": str(error), "distribution": None}
    return {"name": name, "summary": found.spec.summary, "distribution": str(found.owner)}


def _print(plugins: list[dict[str, Any]], components: dict[Kind, list[dict[str, Any]]]) -> None:
    from rich.table import Table

    console = open_console()
    if not plugins:
        console.print("No plugins are installed; 'pip install rft-engine[all]' brings those of the project.")
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("distribution", "version", "status", "message"):
        table.add_column(column, overflow="fold")
    for plugin in plugins:
        cells = (plugin["distribution"], plugin["version"])
        status = literal(plugin["status"], STYLES.get(plugin["status"], "red"))
        table.add_row(*(literal(c) for c in cells), status, literal(plugin["message"]))
    console.print(table)
    for kind, entries in components.items():
        if not entries:
            continue
        console.print()
        console.print(literal(kind.replace("_", " "), "bold"))
        grid = Table.grid(padding=(0, 2))
        for entry in entries:
            grid.add_row("", literal(entry["name"]), literal(entry["summary"], "dim"))
        console.print(grid)


def _find(registry: Registry, name: str) -> tuple[Kind, Registered]:
    """The component that `kind/name` or a name alone means; a part's name does without its role."""
    kind_text, slash, component = name.partition("/")
    kinds: dict[str, Kind] = {k: k for k in HOOK_OF_KIND}
    kind = kinds.get(kind_text.replace("-", "_").replace(" ", "_")) if slash else None
    if kind is not None:
        return kind, registry.registered(kind, component)
    found = [k for k in HOOK_OF_KIND if name in registry.names(k)]
    parts = [part for part in registry.names("optimizer_part") if part.partition("/")[2] == name]
    if not found and len(parts) == 1:
        return "optimizer_part", registry.registered("optimizer_part", parts[0])
    if not found and parts:
        raise click.UsageError(f"several parts are named '{name}'{nearest('', parts)}")
    if slash and not found and kind_text not in {n.partition("/")[0] for n in registry.names("optimizer_part")}:
        raise UnknownNameError("kind of component", kind_text, kinds)
    if len(found) == 1:
        return found[0], registry.registered(found[0], name)
    if found:
        raise click.UsageError(f"several components are named '{name}'{nearest('', [f'{k}/{name}' for k in found])}")
    every = [f"{k}/{n}" for k in HOOK_OF_KIND for n in registry.names(k)]
    close = nearest(name, [n for k in HOOK_OF_KIND for n in registry.names(k)])
    raise click.UsageError(
        f"there is no component named '{name}'{close if 'did you mean' in close else nearest('', every)}"
    )


def fields_of(config: type[BaseModel], prefix: str = "") -> Iterator[dict[str, Any]]:
    """Every setting of a config class; those of nested classes by their dotted path."""
    for name, field in config.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        yield {
            "name": path,
            "type": type_name(field.annotation) + _bounds(field),
            "required": field.is_required(),
            "default": None if field.is_required() else _default(field),
            "description": field.description or "",
        }
        for nested in _nested(field.annotation):
            yield from fields_of(nested, f"{path}.")


def _nested(annotation: Any) -> list[type[BaseModel]]:
    """Config classes directly inside an annotation (not the entries of a list or mapping)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [cls for option in get_args(annotation) for cls in _nested(option)]
    return []


def _default(field: FieldInfo) -> str:
    import json

    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return "its defaults"
    return json.dumps(value, default=str, ensure_ascii=False)


def _bounds(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(rule, attribute)}"
        for rule in field.metadata
        for attribute, sign in BOUNDS.items()
        if getattr(rule, attribute, None) is not None
    ]
    return f" ({', '.join(found)})" if found else ""


def type_name(annotation: Any) -> str:
    """An annotation as a reader of run files would say it: `string`, `integer or null`, `eq | ne`."""
    simple = {str: "string", int: "integer", float: "number", bool: "true | false", type(None): "null", Any: "any"}
    if annotation in simple:
        return simple[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(a) for a in arguments)
    if origin in (list, tuple, set, frozenset) or str(origin).endswith("Sequence'>"):
        kinds = dict.fromkeys(type_name(a) for a in arguments if a is not Ellipsis)
        return f"list of {', '.join(kinds)}"
    if origin is not None and arguments:
        return f"mapping of {type_name(arguments[-1])}"
    if annotation in (dict, typing.Mapping):
        return "mapping"
    return str(getattr(annotation, "__name__", annotation))
