"""The stack that docs/plugins.md writes: installed with pip, checked by its own tests, and run."""

import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import DOCS, block, blocks, pip_install

from rft_test_plugin.harness import engine, summary

PAGE = DOCS / "plugins.md"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment that sees `rft-levers`."""
    package = tmp_path_factory.mktemp("levers")
    for found in blocks(PAGE, "python"):
        if found.name.startswith("rft_levers/"):
            (package / found.name).parent.mkdir(exist_ok=True)
            (package / found.name).write_text(found.text)
    pyproject = blocks(PAGE, "toml")[0].text
    for old, new in (
        ("rft-palindrome", "rft-levers"),
        ("rft_palindrome", "rft_levers"),
        ('palindrome = "', 'levers = "'),
        ('0.2"]', '0.2", "numpy", "safetensors"]'),
    ):
        assert old in pyproject
        pyproject = pyproject.replace(old, new)
    (package / "pyproject.toml").write_text(pyproject)
    return pip_install(package, tmp_path_factory.mktemp("levers-site"))


def test_the_stack_is_listed(env: dict[str, str]) -> None:
    """One component of each kind but graders, under its name."""
    listed = engine("plugins", "--json", env=env).output
    for kind in ("data_source/lever_questions", "model_source/levers", "sampler/levers", "optimizer/levers"):
        assert kind in listed
    assert "command/levers" in listed
    assert "observer/notes" in listed


def test_the_stack_keeps_the_contract(env: dict[str, str], tmp_path: Path) -> None:
    """The tests that the page writes pass."""
    (tmp_path / "test_levers.py").write_text(block(PAGE, "test_levers.py"))
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_levers.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, check=False
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_the_stack_learns(env: dict[str, str], tmp_path: Path) -> None:
    """The run file of the page runs in worker processes and learns; the observer wrote, the command shows."""
    (tmp_path / "levers.yaml").write_text(block(PAGE, "levers.yaml"))
    outcome = engine("run", tmp_path / "levers.yaml", "--set", f"runs_dir={tmp_path}", "--name", "levers", env=env)
    assert outcome.code == 0, outcome.errors
    validation = summary(tmp_path / "levers")["validation"]
    assert validation["after"]["reward_mean"] > validation["before"]["reward_mean"] + 0.5
    assert (tmp_path / "levers" / "notes.txt").read_text().count("mean reward") == 20
    shown = engine("levers", tmp_path / "levers", env=env)
    chances = [float(line.split(": ")[1]) for line in shown.output.splitlines()]
    assert max(range(10), key=chances.__getitem__) == 7
