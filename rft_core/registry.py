"""Finds installed plugins and answers for their components.

Discovery is our own loop over entry points, with one status per entry point, because one broken
plugin must neither hide the others nor stop a run that does not name it.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Literal

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ValidationError

from rft_core import hookspecs
from rft_core.boundary import disk_error
from rft_core.canonical import digest
from rft_core.config.errors import config_error
from rft_core.config.merging import merge
from rft_core.errors import ComponentError, ConfigError, PluginError, RftError, UnknownNameError, nearest
from rft_core.protocols import DataSource
from rft_core.specs import (
    BuildContext,
    CommandSpec,
    DataSourceSpec,
    GraderSpec,
    ModelSourceSpec,
    ObserverSpec,
    OptimizerPartSpec,
    OptimizerSpec,
    Part,
    SamplerSpec,
    Spec,
)

Kind = Literal["data_source", "model_source", "sampler", "grader", "optimizer", "optimizer_part", "observer", "command"]
DISABLED_VARIABLE = "RFT_DISABLED_PLUGINS"
Status = Literal["ok", "disabled", "incompatible", "conflict", "error"]
_building = threading.RLock()
"""Components are built one at a time: two threads would meet each other's imports half done."""

HOOK_OF_KIND: dict[Kind, str] = {
    "data_source": "rft_data_sources",
    "model_source": "rft_model_sources",
    "sampler": "rft_samplers",
    "grader": "rft_graders",
    "optimizer": "rft_optimizers",
    "optimizer_part": "rft_optimizer_parts",
    "observer": "rft_observers",
    "command": "rft_commands",
}
SPEC_OF_KIND: dict[Kind, type[Spec]] = {
    "data_source": DataSourceSpec,
    "model_source": ModelSourceSpec,
    "sampler": SamplerSpec,
    "grader": GraderSpec,
    "optimizer": OptimizerSpec,
    "optimizer_part": OptimizerPartSpec,
    "observer": ObserverSpec,
    "command": CommandSpec,
}
LIFECYCLE_HOOKS = (
    "rft_run_started",
    "rft_step_finished",
    "rft_evaluation_finished",
    "rft_checkpoint_saved",
    "rft_run_finished",
    "rft_run_failed",
)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Without Python's search for dead reference cycles. While modules load it goes over ever more objects, all of
    them in use: up to a seventh of the time that plugins, or torch, need to load."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True, kw_only=True)
class PluginOwner:
    """The distribution behind a plugin."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(kw_only=True)
class PluginStatus:
    """What became of one entry point."""

    owner: PluginOwner
    module: str
    status: Status
    message: str = ""
    components: list[str] = field(default_factory=list)
    """`kind/name` of everything it registered."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    spec: Spec
    owner: PluginOwner


class Registry:
    """All components by kind and name. Create with `Registry.discover()`."""

    def __init__(self) -> None:
        self.plugins: list[PluginStatus] = []
        self._components: dict[Kind, dict[str, list[Registered]]] = {kind: {} for kind in HOOK_OF_KIND}
        self._observers: list[tuple[PluginOwner, str, Callable[..., None]]] = []

    @classmethod
    @_nothing_collected()
    def discover(cls, disabled: Iterable[str] = ()) -> Registry:
        """Load every installed plugin but the `disabled` ones and those that `RFT_DISABLED_PLUGINS` lists,
        by entry point or distribution. Never raises because of a plugin."""
        registry = cls()
        listed = os.environ.get(DISABLED_VARIABLE, "").split(",")
        skip = {name.strip() for name in (*disabled, *listed)}
        seen: set[tuple[str, str, str]] = set()
        for distribution in importlib.metadata.distributions():
            for entry in distribution.entry_points:
                if entry.group != hookspecs.ENTRY_POINT_GROUP:
                    continue
                owner = PluginOwner(
                    plugin=entry.name, distribution=distribution.metadata["Name"], version=distribution.version
                )
                key = (owner.distribution, entry.name, entry.value)
                if key in seen:
                    continue
                seen.add(key)
                off = not skip.isdisjoint({entry.name, owner.distribution})
                registry.plugins.append(registry._load(entry, owner, distribution.requires or [], off))
        registry.plugins.sort(key=lambda p: (p.owner.distribution, p.owner.plugin))
        registry._mark_conflicts()
        return registry

    def _load(
        self, entry: importlib.metadata.EntryPoint, owner: PluginOwner, requires: list[str], disabled: bool
    ) -> PluginStatus:
        result = PluginStatus(owner=owner, module=entry.value, status="ok")
        if disabled:
            result.status, result.message = "disabled", "left out on request; see RFT_DISABLED_PLUGINS"
            return result
        if problem := _incompatibility(requires):
            result.status, result.message = "incompatible", problem
            return result
        try:
            module = entry.load()
            self.add_module(module, owner, result)
        except (Exception, SystemExit) as error:  # noqa: BLE001 the boundary: a plugin may fail in any way, and is named
            said = str(error) if isinstance(error, RftError) else f"{type(error).__name__}: {error}"
            result.status, result.message = "error", said
            self._forget(owner)
            result.components.clear()
        return result

    def add_module(self, module: ModuleType, owner: PluginOwner, result: PluginStatus | None = None) -> None:
        """Register one plugin module. PluginError if it marks a function as a hook that does not exist."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(module)
        known = [*HOOK_OF_KIND.values(), *LIFECYCLE_HOOKS]
        for name in dir(module):
            options = manager.parse_hookimpl_opts(module, name)
            hook = name if options is None else options.get("specname") or name
            if options is not None and hook not in known:
                raise PluginError(
                    f"the plugin {owner} implements a hook '{hook}' that does not exist{nearest(hook, known)}"
                )
        for kind, hook in HOOK_OF_KIND.items():
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                for spec in _specs(hook, implementation.function(), SPEC_OF_KIND[kind]):
                    name = f"{spec.role}/{spec.name}" if isinstance(spec, OptimizerPartSpec) else spec.name
                    self._components[kind].setdefault(name, []).append(Registered(spec=spec, owner=owner))
                    if result is not None:
                        result.components.append(f"{kind}/{name}")
        for hook in LIFECYCLE_HOOKS:
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                self._observers.append((owner, hook, implementation.function))

    def _forget(self, owner: PluginOwner) -> None:
        for table in self._components.values():
            for name in list(table):
                table[name] = [r for r in table[name] if r.owner != owner]
                if not table[name]:
                    del table[name]
        self._observers = [entry for entry in self._observers if entry[0] != owner]

    def _mark_conflicts(self) -> None:
        for kind, table in self._components.items():
            for name, owners in table.items():
                if len(owners) > 1:
                    for status in self.plugins:
                        if any(r.owner == status.owner for r in owners):
                            status.status = "conflict"
                            others = ", ".join(sorted({str(r.owner) for r in owners}))
                            status.message = f"{kind}/{name} is registered by {others}; uninstall all but one"

    def names(self, kind: Kind) -> list[str]:
        return sorted(self._components[kind])

    def registered(self, kind: Kind, name: str, *, where: str | None = None) -> Registered:
        """The one component of this name. UnknownNameError or PluginError (a conflict) otherwise."""
        found = self._components[kind].get(name, [])
        if not found:
            broken = [
                f"{p.owner} ({p.message})" for p in self.plugins if p.status in ("error", "incompatible", "disabled")
            ]
            hint = f". These plugins are not loaded: {'; '.join(broken)}" if broken else ""
            instead = self._as_preset(name) if kind == "optimizer" else None
            what = kind.replace("_", " ")
            raise UnknownNameError(what, name, self.names(kind), where=where, hint=hint, instead=instead)
        if len(found) > 1:
            owners = " and ".join(str(r.owner) for r in found)
            raise PluginError(f"the {kind.replace('_', ' ')} '{name}' is registered by {owners}; uninstall all but one")
        return found[0]

    def _as_preset(self, name: str) -> str | None:
        """How to ask for the preset that was taken for an optimizer; None if there is none of this name."""
        if f"preset/{name}" not in self._components["optimizer_part"]:
            return None
        for optimizer, (found, *_) in self._components["optimizer"].items():
            if isinstance(found.spec, OptimizerSpec) and found.spec.preset is not None:
                key, _ = found.spec.preset
                return f"it is an {key}: {{type: {optimizer}, {key}: {name}}}"
        return None

    def describe(self, kind: Kind, name: str) -> PluginOwner:
        return self.registered(kind, name).owner

    def configure(self, kind: Kind, raw: Mapping[str, Any], *, where: str) -> tuple[Registered, BaseModel]:
        """The component that `raw` names, and its settings checked by its own config class.

        A grader's `type` stays in its settings if its config declares such a field (OpenAI's JSON does)."""
        name = raw.get("type")
        if not isinstance(name, str):
            raise ConfigError(f"a component needs a 'type'{nearest('', self.names(kind))}", where=where)
        found = self.registered(kind, name, where=f"{where}.type")
        config_class: type[BaseModel] = found.spec.config  # type: ignore[union-attr]
        values = {k: v for k, v in raw.items() if k != "type" or "type" in config_class.model_fields}
        if isinstance(found.spec, OptimizerSpec) and found.spec.preset is not None:
            values = self._with_preset(found.spec, values, where)
        config = _checked(config_class, values, where)
        if isinstance(found.spec, OptimizerSpec):
            for _ in self._parts(found.spec, config, f"{where}."):
                pass
        return found, config

    def part(self, role: str, raw: Mapping[str, Any], *, where: str) -> Part:
        """The part of an optimizer that `raw` names, with its settings checked by its own config class."""
        found = self._registered_part(role, raw.get("type"), f"{where}.type")
        spec = found.spec
        assert isinstance(spec, OptimizerPartSpec)
        settings = _checked(spec.config, {k: v for k, v in raw.items() if k != "type"}, where)
        return Part(name=spec.name, function=spec.function, settings=settings, reads=spec.reads)

    def _registered_part(self, role: str, name: object, where: str) -> Registered:
        named = f"{role}/{name}"
        if named not in self._components["optimizer_part"]:
            names = [n.removeprefix(f"{role}/") for n in self.names("optimizer_part") if n.startswith(f"{role}/")]
            raise UnknownNameError(role if role == "preset" else f"{role} part", str(name), names, where=where)
        return self.registered("optimizer_part", named)

    def parts_of(self, spec: OptimizerSpec, config: BaseModel) -> Iterator[OptimizerPartSpec]:
        """The parts that an optimizer's settings name."""
        for _, found, _ in self._parts(spec, config):
            assert isinstance(found.spec, OptimizerPartSpec)
            yield found.spec

    def _parts(
        self, spec: OptimizerSpec, config: BaseModel, prefix: str = ""
    ) -> Iterator[tuple[str, Registered, Part]]:
        """The parts that an optimizer's settings name, by key, checked. Errors say where, after `prefix`."""
        for key, (role, settings) in spec.parts(config).items():
            where = f"{prefix}{key}"
            found = self._registered_part(role, settings.get("type"), f"{where}.type")
            yield key, found, self.part(role, settings, where=where)

    def _with_preset(self, spec: OptimizerSpec, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The preset's settings, and over them what the run file sets."""
        assert spec.preset is not None
        key, default = spec.preset
        found = self._registered_part("preset", values.get(key, default), f"{where}.{key}")
        assert isinstance(found.spec, OptimizerPartSpec)
        preset = found.spec.function()
        if unknown := sorted(preset.keys() - spec.config.model_fields.keys()):
            raise PluginError(
                f"the preset '{found.spec.name}' of {found.owner} sets '{unknown[0]}', which the optimizer '{spec.name}' "
                "does not know; take a preset that is meant for it, or correct the key"
                f"{nearest(unknown[0], spec.config.model_fields)}"
            )
        merged: dict[str, Any] = merge(preset, values)
        return merged

    def digest_of(self, kind: Kind, raw: Mapping[str, Any]) -> str:
        """Digest of a component's checked settings and of the plugin that provides it; of a grader, with the
        graders inside it."""
        found, config = self.configure(kind, raw, where=kind)
        parts: list[Any] = [kind, found.spec.name, config.model_dump(mode="json"), str(found.owner)]
        if isinstance(found.spec, GraderSpec):
            nested = found.spec.nested(config)
            parts.append({key: self.digest_of("grader", inner) for key, inner in nested.items()})
        if isinstance(found.spec, OptimizerSpec):
            for key, provider, part in self._parts(found.spec, config):
                parts.append([key, part.name, part.settings.model_dump(mode="json"), str(provider.owner)])
        return digest(parts)

    def needs_tokens(self, raw: Mapping[str, Any]) -> bool:
        """Whether a grader, or one inside it, reads the tokens of rollouts."""
        found, config = self.configure("grader", raw, where="grader")
        assert isinstance(found.spec, GraderSpec)
        return found.spec.needs_tokens(config) or any(map(self.needs_tokens, found.spec.nested(config).values()))

    def instant(self, raw: Mapping[str, Any]) -> bool:
        """Whether a grader, and each one inside it, never takes time that anybody would notice."""
        found, config = self.configure("grader", raw, where="grader")
        assert isinstance(found.spec, GraderSpec)
        return found.spec.instant(config) and all(map(self.instant, found.spec.nested(config).values()))

    def build(self, kind: Kind, raw: Mapping[str, Any], context: BuildContext, *, where: str | None = None) -> Any:
        """Build a component in this process. RftErrors pass; anything else becomes a ComponentError.

        One is built at a time: a sampler in the engine's process is built while the optimizer is, and a library
        that both import, such as transformers, may be half imported for the second thread; others set what holds
        for the whole process, such as torch's default dtype, while they load."""
        found, config = self.configure(kind, raw, where=where or kind)
        if context.build_grader is None:
            context = replace(context, build_grader=lambda nested: self.build("grader", nested, context))
        if context.part is None:
            context = replace(context, part=lambda role, raw: self.part(role, raw, where=f"{where or kind}.{role}"))
        if kind == "data_source":
            inner = f"{where or kind}.source"
            context = replace(context, build_source=lambda raw: self.build("data_source", raw, context, where=inner))
        try:
            with _building, _nothing_collected():
                return found.spec.build(config, context)  # type: ignore[union-attr]
        except RftError:
            raise
        except Exception as error:
            what = f"the {kind.replace('_', ' ')} '{found.spec.name}' of {found.owner}"
            raise disk_error(error, what) or ComponentError(
                f"{what} could not be built: {type(error).__name__}: {error}"
            ) from error

    def check_rows(self, raw: Mapping[str, Any], source: DataSource, *, where: str = "optimizer") -> None:
        """DataError for the first row that an optimizer cannot learn from."""
        found, config = self.configure("optimizer", raw, where=where)
        assert isinstance(found.spec, OptimizerSpec)
        check = found.spec.check_row
        if check is None:
            return
        with _boundary(f"the optimizer '{found.spec.name}' of {found.owner} could not check the rows"):
            for index in range(len(source)):
                check(config, source.item(index))

    def check_optimizer(self, raw: Mapping[str, Any], context: BuildContext, *, where: str = "optimizer") -> None:
        """ConfigError if an optimizer's settings cannot work in the run of `context`; a ComponentError if it cannot tell."""
        found, config = self.configure("optimizer", raw, where=where)
        assert isinstance(found.spec, OptimizerSpec)
        context = replace(context, part=lambda role, raw: self.part(role, raw, where=f"{where}.{role}"))
        with _boundary(f"the optimizer '{found.spec.name}' of {found.owner} could not check its settings"):
            found.spec.check(config, context)

    def notify(self, hook: str, event: Mapping[str, object]) -> None:
        """Tell every plugin that implements this lifecycle hook. One that raises is told no more."""
        for entry in [e for e in self._observers if e[1] == hook]:
            owner, _, function = entry
            try:
                function(event=event)
            except Exception as error:  # noqa: BLE001 the boundary: observers never stop a run
                import structlog  # here: it brings rich with it, and workers start the sooner without

                structlog.get_logger(__name__).warning(
                    "plugin_hook_failed", plugin=str(owner), hook=hook, error=f"{type(error).__name__}: {error}"
                )
                self._observers.remove(entry)


@contextmanager
def _boundary(failed: str) -> Iterator[None]:
    """What third-party code raises, as a sentence that says what `failed`; RftErrors pass."""
    try:
        yield
    except RftError:
        raise
    except Exception as error:
        raise ComponentError(f"{failed}: {type(error).__name__}: {error}") from error


def _checked(config_class: type[BaseModel], values: Mapping[str, Any], where: str) -> BaseModel:
    try:
        return config_class.model_validate(values)
    except ValidationError as error:
        raise config_error(error, config_class, where) from None


def _specs(hook: str, answer: object, wanted: type[Spec]) -> Iterable[Spec]:
    """What a hook answers, one by one. PluginError for what is no `wanted`."""
    if answer is None:
        return
    if not isinstance(answer, Iterable):
        raise PluginError(f"{hook} returns a {type(answer).__name__}; yield each {wanted.__name__}, or return a list")
    for spec in answer:
        if not isinstance(spec, wanted):
            raise PluginError(f"{hook} yields a {type(spec).__name__}, not a {wanted.__name__}")
        yield spec


def _incompatibility(requires: Iterable[str]) -> str:
    """Why a plugin's own requirement on rft-engine is not met by this engine; empty if it is."""
    from rft_core import __version__

    for text in requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue  # it holds for an extra, another system or another Python
        if canonicalize_name(requirement.name) == "rft-engine" and not requirement.specifier.contains(
            __version__, prereleases=True
        ):
            return f"needs rft-engine{requirement.specifier}, this is {__version__}; install a matching version"
    return ""
