"""Discovery of plugins from real entry points: each has a status, and none hides another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rft_core.errors import ComponentError, ConfigError, PluginError, UnknownNameError
from rft_core.registry import PluginStatus, Registry
from rft_core.specs import BuildContext

Install = Callable[..., None]

GRADER = """\
from rft_core import ComponentConfig, Grade, GraderSpec, hookimpl

class Config(ComponentConfig):
    strictness: int = 1

class Grader:
    def grade(self, group):
        return [Grade.score(1.0) for _ in group.rollouts]
    def close(self):
        pass

def build(config, context):
    if config.strictness > 9:
        raise ValueError("too strict")
    return Grader()

@hookimpl
def rft_graders():
    yield GraderSpec(name="{name}", config=Config, build=build, summary="Of a test.")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with one plugin module on sys.path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    modules: list[str] = []

    def add(distribution: str, source: str, *, requires: str = "rft-engine>=0.1") -> None:
        name = distribution.replace("-", "_")
        (tmp_path / f"{name}.py").write_text(source)
        modules.append(name)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\nRequires-Dist: {requires}\n"
        )
        (info / "entry_points.txt").write_text(f"[rft_engine.plugins]\n{name} = {name}\n")

    yield add
    for module in modules:
        sys.modules.pop(module, None)


def status_of(registry: Registry, distribution: str) -> PluginStatus:
    (found,) = (p for p in registry.plugins if p.owner.distribution == distribution)
    return found


def test_a_plugin_is_found_by_its_entry_point(install: Install) -> None:
    """Its component can be described and built, and says who provides it."""
    install("acme-graders", GRADER.format(name="acme"))
    registry = Registry.discover()
    status = status_of(registry, "acme-graders")
    assert (status.status, status.components) == ("ok", ["grader/acme"])
    assert str(registry.describe("grader", "acme")) == "acme-graders 1.2"
    assert registry.build("grader", {"type": "acme"}, BuildContext(base_dir=Path())).close() is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('GPU on fire')", "RuntimeError: GPU on fire"),
        ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
        (GRADER.format(name="late") + "    raise KeyError('half way')", "KeyError: 'half way'"),
        (
            "from rft_core import hookimpl\n@hookimpl\ndef rft_grader():\n    return []",
            "implements a hook 'rft_grader' that does not exist; did you mean 'rft_graders'?",
        ),
        (
            "from rft_core import hookimpl\n@hookimpl\ndef rtf_graders():\n    return []",
            "implements a hook 'rtf_graders' that does not exist; did you mean 'rft_graders'?",
        ),
        (
            "from rft_core import hookimpl\n@hookimpl\ndef rft_graders():\n    yield {'name': 'late'}",
            "rft_graders yields a dict, not a GraderSpec",
        ),
        (
            "from rft_core import hookimpl\n@hookimpl\ndef rft_graders():\n    return len",
            "rft_graders returns a builtin_function_or_method; yield each GraderSpec, or return a list",
        ),
    ],
)
def test_a_broken_plugin_is_named_and_hides_no_other(install: Install, source: str, message: str) -> None:
    """Whatever a plugin does when it is loaded: status `error` with the reason, the others stay usable,
    and nothing that it half registered is left."""
    install("acme-broken", source)
    install("acme-sound", GRADER.format(name="sound"))
    registry = Registry.discover()
    broken = status_of(registry, "acme-broken")
    assert broken.status == "error"
    assert message in broken.message
    assert broken.components == []
    assert "late" not in registry.names("grader")
    assert status_of(registry, "acme-sound").status == "ok"
    assert "sound" in registry.names("grader")


def test_asking_for_what_a_broken_plugin_would_have_names_it(install: Install) -> None:
    """A run that names an unknown component learns which plugins could not be loaded."""
    install("acme-broken", "raise RuntimeError('GPU on fire')")
    with pytest.raises(
        UnknownNameError, match=r"no grader named 'acme'.*acme-broken 1\.2 \(RuntimeError: GPU on fire\)"
    ):
        Registry.discover().registered("grader", "acme")


def test_an_incompatible_plugin_is_not_loaded(install: Install) -> None:
    """Its own requirement on rft-engine decides, before its code runs."""
    install("acme-future", "raise SystemExit('this code must not run')", requires="rft-engine>=99")
    status = status_of(Registry.discover(), "acme-future")
    assert status.status == "incompatible"
    assert status.message.startswith("needs rft-engine>=99, this is ")


@pytest.mark.parametrize("marker", ['extra == "legacy"', 'sys_platform == "nowhere"', 'python_version < "3"'])
def test_a_requirement_counts_where_its_marker_holds(install: Install, marker: str) -> None:
    """A version that only an extra, another system or another Python needs does not keep a plugin out."""
    install("acme-graders", GRADER.format(name="acme"), requires=f"rft-engine<0.0.1; {marker}")
    install("acme-old", "raise SystemExit('not to be run')", requires='rft-engine<0.0.1; python_version >= "3"')
    registry = Registry.discover()
    assert status_of(registry, "acme-graders").status == "ok"
    assert status_of(registry, "acme-old").status == "incompatible"


def test_two_plugins_with_one_name_are_a_conflict(install: Install) -> None:
    """Neither wins: both are marked, and only a run that uses the name is stopped."""
    install("acme-one", GRADER.format(name="twice"))
    install("acme-two", GRADER.format(name="twice"))
    registry = Registry.discover()
    for name in ("acme-one", "acme-two"):
        status = status_of(registry, name)
        assert status.status == "conflict"
        assert status.message == "grader/twice is registered by acme-one 1.2, acme-two 1.2; uninstall all but one"
    with pytest.raises(PluginError, match=r"the grader 'twice' is registered by .* and .*; uninstall all but one"):
        registry.registered("grader", "twice")
    assert registry.registered("grader", "string_check")


def test_a_disabled_plugin_is_not_loaded(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module is never imported, whether a program or the environment names it."""
    install("acme-off", "raise SystemExit('this code must not run')")
    assert status_of(Registry.discover(disabled=["acme_off"]), "acme-off").status == "disabled"
    for names in ("acme-off", "other, acme_off"):
        monkeypatch.setenv("RFT_DISABLED_PLUGINS", names)
        registry = Registry.discover()
        assert status_of(registry, "acme-off").status == "disabled"
        with pytest.raises(UnknownNameError, match=r"not loaded: acme-off 1.2 \(left out on request"):
            registry.registered("grader", "acme")


def test_unknown_names_and_settings_name_the_nearest() -> None:
    """The key path, the wrong name and the one that was meant."""
    registry = Registry.discover()
    with pytest.raises(
        UnknownNameError, match=r"^grader\.type: there is no grader named 'strng_check'; did you mean 'string_check'"
    ):
        registry.configure("grader", {"type": "strng_check"}, where="grader")
    with pytest.raises(ConfigError, match=r"^data\.train\.pth: unknown key 'pth'; did you mean 'path'"):
        registry.configure("data_source", {"type": "jsonl", "pth": "x"}, where="data.train")
    with pytest.raises(ConfigError, match="a component needs a 'type'"):
        registry.configure("grader", {"name": "x"}, where="grader")


@pytest.mark.parametrize(
    ("kind", "raw", "sentence"),
    [
        ("optimizer", {"type": "sft", "target": "a", "lora": 16}, r"x\.lora: wants .* such as {rank: …}, got 16$"),
        ("optimizer", {"type": "policy_gradient", "kl": True}, r"x\.kl: wants .* such as {weight: …}, got True$"),
        ("grader", {"type": "multi", "calculate_output": "a", "graders": 3}, r"x\.graders: wants .* {key: …}, got 3$"),
        (
            "grader",
            {"type": "multi", "calculate_output": "a", "graders": {"a": 3}},
            r"x\.graders\.a: wants .* {type: …}, got 3$",
        ),
    ],
)
def test_a_value_in_the_place_of_a_block_is_told_how_a_block_begins(kind: Any, raw: Any, sentence: str) -> None:
    """With a key of that block, where its keys are known; never in the words of pydantic."""
    with pytest.raises(ConfigError, match=sentence):
        Registry.discover().configure(kind, raw, where="x")


def test_an_algorithm_that_is_taken_for_an_optimizer_is_told_where_it_goes() -> None:
    """The name of a preset as the optimizer's type."""
    with pytest.raises(
        UnknownNameError, match=r"'grpo'; it is an algorithm: {type: policy_gradient, algorithm: grpo}$"
    ):
        Registry.discover().configure("optimizer", {"type": "grpo"}, where="optimizer")


def test_a_component_that_cannot_be_built_names_its_plugin(install: Install) -> None:
    """Plain exceptions of a plugin become one error that says whose."""
    install("acme-graders", GRADER.format(name="acme"))
    with pytest.raises(
        ComponentError, match=r"the grader 'acme' of acme-graders 1\.2 could not be built: ValueError: too strict"
    ):
        Registry.discover().build("grader", {"type": "acme", "strictness": 10}, BuildContext(base_dir=Path()))


def test_a_worker_imports_nothing_heavy_before_it_is_asked() -> None:
    """What a worker loads to serve and to find plugins is neither numpy nor rich, nor torch."""
    code = (
        "import sys; import rft_workers.server; from rft_core.registry import Registry; Registry.discover(); "
        "print(*sorted({'numpy', 'rich', 'torch', 'transformers', 'pyarrow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_components_are_built_one_at_a_time(install: Install) -> None:
    """Whichever threads ask: libraries that two builds import or set up are never met half done. A build may build
    what is inside it."""
    source = (
        "import threading, time\nfrom rft_core import ComponentConfig, GraderSpec, hookimpl\nat_work, most = [], []\n"
        "def build(config, context):\n    at_work.append(1); most.append(len(at_work)); time.sleep(0.05); at_work.pop()\n"
        "    return object()\n"
        "def outer(config, context):\n    return context.build_grader({'type': 'acme'})\n"
        "@hookimpl\ndef rft_graders():\n"
        "    yield GraderSpec(name='acme', config=ComponentConfig, build=build, summary='')\n"
        "    yield GraderSpec(name='outer', config=ComponentConfig, build=outer, summary='')\n"
    )
    install("acme-graders", source)
    registries = [Registry.discover(), Registry.discover()]
    with ThreadPoolExecutor(6) as threads:
        asked = [
            threads.submit(registry.build, "grader", {"type": name}, BuildContext(base_dir=Path()))
            for registry in registries
            for name in ("acme", "outer", "acme")
        ]
    assert all(future.result() is not None for future in asked)
    assert sys.modules["acme_graders"].most == [1] * 6


def test_the_digest_of_a_component_covers_settings_and_provider(install: Install) -> None:
    """Defaults count as if they were written; another value gives another digest."""
    install("acme-graders", GRADER.format(name="acme"))
    registry = Registry.discover()
    plain = registry.digest_of("grader", {"type": "acme"})
    assert plain == registry.digest_of("grader", {"type": "acme", "strictness": 1})
    assert plain != registry.digest_of("grader", {"type": "acme", "strictness": 2})


def test_the_digest_of_a_grader_covers_the_graders_inside_it(install: Install, tmp_path: Path) -> None:
    """Their settings, defaults that a new version of their plugin changes, and that version itself."""
    install("acme-graders", GRADER.format(name="acme"))

    def digest(**settings: object) -> str:
        multi = {"type": "multi", "graders": {"a": {"type": "acme", **settings}}, "calculate_output": "a"}
        return Registry.discover().digest_of("grader", multi)

    plain = digest()
    assert plain == digest()
    assert plain != digest(strictness=2)
    metadata = tmp_path / "acme_graders-1.2.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.2", "Version: 1.3"))
    newer = digest()
    assert newer != plain
    source = tmp_path / "acme_graders.py"
    source.write_text(source.read_text().replace("strictness: int = 1", "strictness: int = 10"))
    del sys.modules["acme_graders"]
    assert digest() != newer


def test_lifecycle_hooks_are_told_until_they_raise(install: Install) -> None:
    """A hook that raises is told no more; the run and the others go on."""
    install(
        "acme-observer",
        "from rft_core import hookimpl\nseen = []\n@hookimpl\ndef rft_step_finished(event):\n"
        "    seen.append(event['step'])\n    if event['step'] == 2:\n        raise ValueError('enough')\n",
    )
    registry = Registry.discover()
    for step in (1, 2, 3):
        registry.notify("rft_step_finished", {"step": step})
    assert sys.modules["acme_observer"].seen == [1, 2]
