"""What the docs say is what the code does."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from doc_pages import DOCS, PAGES, ROOT, anchors, blocks, prose

from rft_core import hookspecs
from rft_core.cli import cli
from rft_core.errors import error_classes
from rft_core.types import Outcome

SOURCES = [p for folder in ("rft_core", "workers", "plugins") for p in sorted((ROOT / folder).rglob("*.py"))]


def test_generated_parts_are_current() -> None:
    """Tables, hooks and --help in the docs are what docs/generate.py writes now."""
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_hook_is_documented_with_its_signature() -> None:
    """docs/plugins.md lists exactly the hooks of hookspecs.py, with their signatures."""
    real = {
        f"def {name}{inspect.signature(function)}".replace("'", "")
        for name, function in vars(hookspecs).items()
        if name.startswith("rft_")
    }
    (listed,) = [b.text for b in blocks(DOCS / "plugins.md", "python") if not b.name]
    assert {line for line in listed.splitlines() if line.startswith("def ")} == real


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of every page resolves, to a heading where it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(path), f"{page}: there is no heading for {target}"


def commands_in(page: Path) -> Iterator[list[str]]:
    """Every call of our commands in a page's blocks and in its prose, as words."""
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^(?:\.venv/bin/)?(rft-(?:engine|worker) [a-z][^\n]*)", text, re.MULTILINE)
    shown += re.findall(r"`(rft-(?:engine|worker) [a-z][^`\n]*)`", text)
    for line in shown:
        yield line.split(" #")[0].split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(page: Path) -> None:
    """Sub-commands and options in the docs are those of the commands."""
    from rft_workers.cli import main as worker

    for words in commands_in(page):
        command, rest = (worker, words[1:]) if words[0] == "rft-worker" else (cli, words[1:])
        context = click.Context(command)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            found = command.get_command(context, rest[0])
            assert found is not None, f"{page}: {' '.join(words)}"
            command, rest = found, rest[1:]
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        for word in rest:
            option = word.partition("=")[0]
            assert not re.fullmatch(r"--[a-z][a-z-]*", option) or option in options, f"{page}: {' '.join(words)}"


def source_texts() -> set[str]:
    """Every string of the code, with … for what is filled in."""
    found: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    "…" if isinstance(v, ast.FormattedValue) else str(getattr(v, "value", "")) for v in node.values
                ]
                found.add("".join(parts))
    return found


def test_quoted_errors_are_real() -> None:
    """Every error sentence that a page quotes is one that the code can say."""
    real = source_texts()
    quoted = [(page, line) for page in PAGES for b in blocks(page) if b.name == "error" for line in b.text.splitlines()]
    assert len(quoted) >= 15
    for page, line in quoted:
        assert line in real, f"{page}: no code says: {line}"


def test_every_error_is_documented() -> None:
    """Each class of the error tree says what it is, has a reason of its own, and is in the table of exit codes."""
    table = (DOCS / "commands.md").read_text()
    for reason, cls in error_classes().items():
        assert cls.__doc__, reason
        assert cls.reason == reason
        assert f"| `{cls.exit_code}` | `{reason}` |" in table


def test_every_grade_is_documented() -> None:
    """docs/grades.md names each outcome, and each error kind that the bundled graders and hosts give."""
    page = (DOCS / "grades.md").read_text()
    for outcome in Outcome:
        assert f"| `{outcome.value}` |" in page
    graders = (
        "rft_core",
        "rft_grader_math",
        "rft_grader_python",
        "rft_graders",
        "rft_graders_model",
        "rft_python_file",
    )
    code = "\n".join(p.read_text() for p in SOURCES if p.parent.name in graders and p.name != "grader_run.py")
    kinds = set(re.findall(r'"(\w+_error|timed_out)"', code)) - {Outcome.GRADER_ERROR.value}
    assert len(kinds) >= 6
    assert kinds == set(re.findall(r"^\| `(\w+_error|timed_out)` \| `\w+` \|", page, re.MULTILINE))


def test_every_event_and_metric_is_documented() -> None:
    """docs/observability.md names each event that the engine writes and each metric that optimizers report."""
    told = set(re.findall(r"`([\w/]+)`", (DOCS / "observability.md").read_text()))
    code = {p: p.read_text() for p in SOURCES}
    core = "\n".join(text for p, text in code.items() if "rft_core" in p.parts)
    events = set(re.findall(r'(?:emit|log_event|listener)\(\s*"(\w+)"', core))
    events |= set(re.findall(r'"(worker_\w+)" if', core))
    assert len(events) >= 15
    assert events <= told, events - told
    optimizers = "\n".join(
        text for p, text in code.items() if any(part.startswith("rft-optimizer") for part in p.parts)
    )
    metrics = set(re.findall(r'(?:metrics|found)\["(\w+)"\]', optimizers))
    assert len(metrics) >= 8
    assert metrics <= told, metrics - told


def test_commands_that_run_tests_find_them() -> None:
    """Every `pytest` command of the docs names files, tests and options that there are."""
    conftest = (ROOT / "tests" / "conftest.py").read_text()
    shown = [(page, m) for page in PAGES for m in re.findall(r"pytest (tests/[^`\n]*)", page.read_text())]
    assert len(shown) >= 15
    for page, command in shown:
        place, *options = command.split()
        file, _, test = place.partition("::")
        path = ROOT / file
        assert path.exists(), f"{page}: {command}"
        files = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
        tests = re.findall(r"^def (test_\w+)", "\n".join(f.read_text() for f in files), re.MULTILINE)
        assert not test or test in tests, f"{page}: {command}"
        if "-k" in options:
            word = options[options.index("-k") + 1]
            assert any(word in name for name in tests), f"{page}: {command}"
        for option in options:
            assert not option.startswith("--") or f'"{option}"' in conftest, f"{page}: {command}"


def yaml_blocks() -> list[Any]:
    pages = [page for page in PAGES if "examples" not in page.parts]
    return [pytest.param(b.text, id=f"{page.name}-{n}") for page in pages for n, b in enumerate(blocks(page, "yaml"))]


BASE = {
    "model": {"path": "model"},
    "data": {"train": {"type": "jsonl", "path": "train.jsonl"}},
    "grader": {"type": "string_check", "name": "x", "input": "a", "reference": "a", "operation": "eq"},
    "optimizer": {"type": "policy_gradient"},
}


@pytest.mark.parametrize("text", yaml_blocks())
def test_pieces_of_run_files_are_accepted(text: str) -> None:
    """Every YAML block of the docs, put into a run file, passes the engine's checks."""
    from rft_core.config.run_file import parse_run
    from rft_core.registry import Registry
    from rft_core.runs.assembly import check_components

    values = {**BASE, **yaml.safe_load(text)}
    stages = parse_run(values, base_dir=Path()).stages
    if values["model"].get("type") != "levers":  # of the plugin that plugins.md writes; run in test_plugins_page
        for _, config in stages:
            check_components(Registry.discover(), config, Path())


def test_the_readme_names_what_there_is_for_python() -> None:
    """All of `rft_core.api`, beside `run` of its example and `resolve`, which shows what `run` would do."""
    import rft_core.api as rft

    (sentence,) = re.findall(r"^(`resume`.*) are there too\.$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {*re.findall(r"`(\w+)`", sentence), "run", "resolve"} == set(rft.__all__)


def test_the_examples_resolve() -> None:
    """Every run file under examples/ names components that exist, with settings they accept."""
    import rft_core.api as rft

    for path in (ROOT / "examples").rglob("*.yaml"):
        stages = rft.resolve(path, overrides=["vars.data=/data"] if "data: null" in path.read_text() else [])
        assert stages, path


def test_contributing_names_what_there_is() -> None:
    """The folders of the map exist, and so do the targets of make."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE):
        for folder in re.findall(r"`([^`]+)`", cell):
            assert (ROOT / folder).is_dir(), folder
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"^make (\w+)", page, re.MULTILINE):
        assert target in targets
