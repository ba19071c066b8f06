"""A plugin package from outside this repository: installed with pip, listed, used, and named when broken."""

import json
from pathlib import Path

import pytest
from doc_pages import DOCS, block, blocks, pip_install

from rft_test_plugin.harness import engine, fast_run, summary

PYPROJECT = blocks(DOCS / "plugins.md", "toml")[0].text
MODULE = block(DOCS / "plugins.md", "rft_palindrome.py")
"""What docs/plugins.md shows is what is installed here."""


def install(folder: Path, target: Path, pyproject: str, module: str) -> dict[str, str]:
    """Write the package, install it with pip into `target`, and return the environment that sees it."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(pyproject)
    (folder / "rft_palindrome.py").write_text(module)
    return pip_install(folder, target)


def changed(text: str, old: str, new: str) -> str:
    """The text with `old` once replaced; as it is for an empty `old`."""
    assert old in text
    return text.replace(old, new, 1) if old else text


def status_of(env: dict[str, str]) -> dict[str, str]:
    listed = engine("plugins", "--json", env=env)
    assert listed.code == 0, listed.errors
    found = [p for p in json.loads(listed.output)["plugins"] if p["distribution"] == "rft-palindrome"]
    assert len(found) == 1, listed.output
    return dict(found[0])


def test_the_plugin_of_the_docs_is_listed_and_used(tmp_path: Path) -> None:
    """The example in docs/plugins.md works as it stands: pip, `rft-engine plugins`, a run."""
    env = install(tmp_path / "package", tmp_path / "site", PYPROJECT, MODULE)
    assert status_of(env)["status"] == "ok"
    shown = engine("plugins", "show", "grader/palindrome", env=env)
    assert "rft-palindrome 0.1.0" in shown.output
    assert "Shorter answers score 0." in shown.output
    outcome = engine("run", fast_run(tmp_path, grader={"type": "palindrome", "minimum": 1}), "--name", "fast", env=env)
    assert outcome.code == 0, outcome.errors
    assert summary(tmp_path / "runs" / "fast")["validation"]["after"]["reward_mean"] == 0.0


@pytest.mark.parametrize(
    ("pyproject", "module", "status", "sentence"),
    [
        (("", ""), ("class P", "raise RuntimeError('half installed')\n\n\nclass P"), "error", "half installed"),
        (("", ""), ("def rft_graders", "def rft_grader"), "error", "rft_graders"),
        (("rft-engine>=0.1,<0.2", "rft-engine>=7"), ("", ""), "incompatible", "rft-engine>=7"),
        (("", ""), ('name="palindrome"', 'name="string_check"'), "conflict", "string_check"),
    ],
    ids=["raises", "misspelt hook", "incompatible", "name taken"],
)
def test_a_broken_plugin_is_named_and_stops_only_who_names_it(
    tmp_path: Path, pyproject: tuple[str, str], module: tuple[str, str], status: str, sentence: str
) -> None:
    """Each way to be broken has a status and a sentence; runs that do not name the plugin work."""
    env = install(
        tmp_path / "package",
        tmp_path / "site",
        changed(PYPROJECT, *pyproject),
        changed(MODULE, *module),
    )
    found = status_of(env)
    assert found["status"] == status
    assert sentence in found["message"]
    wanted = "string_check" if status == "conflict" else "palindrome"
    grader = {"type": wanted, "name": "x", "input": "a", "reference": "a", "operation": "eq"}
    named = engine("run", fast_run(tmp_path / "a", processes=(), grader=grader), env=env)
    assert named.code == 2
    assert "rft-palindrome" in named.errors
    assert "Traceback" not in named.errors
    other = engine(
        "run",
        fast_run(tmp_path / "b", processes=(), training={"steps": 1, "batch_size": 2, "group_size": 2}),
        env=env,
    )
    assert other.code == 0, other.errors
