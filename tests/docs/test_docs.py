"""What the docs say is what the code does."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rft_core import hookspecs
from rft_core.errors import error_classes
from rft_test_plugin.harness import engine

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_generated_pages_are_current() -> None:
    """docs/run-file.md and docs/commands.md are what docs/generate.py writes now."""
    checked = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_hook_is_documented_with_its_signature() -> None:
    """docs/plugins.md lists exactly the hooks of hookspecs.py."""
    real = {
        f"def {name}{inspect.signature(function)}".replace("'", "")
        for name, function in vars(hookspecs).items()
        if name.startswith("rft_")
    }
    shown = {line for block in blocks(ROOT / "docs" / "plugins.md", "python") for line in block.splitlines()}
    assert {line for line in shown if line.startswith("def rft_") and "->" in line} == real


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of every page resolves."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_readme_run_works(tmp_path: Path) -> None:
    """The rows, the run file and the grader of the README make a run, with another model in its place."""
    readme = ROOT / "README.md"
    row = json.loads(blocks(readme, "json")[0])
    for split in ("train", "validation"):
        rows = [
            {**row, "messages": [{"role": "user", "content": f"{row['messages'][0]['content']} {i}"}]} for i in range(8)
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    values = yaml.safe_load(blocks(readme, "yaml")[0])
    assert values["model"]["path"]
    values["model"] = {
        "type": "tiny_llama",
        "hidden_size": 32,
        "tokenizer": {"type": "characters", "alphabet": "abcdefghijklmnopqrstuvwxyzCFP ?"},
    }
    values["training"]["steps"] = 2
    values["sampling"] = {"max_tokens": 6}
    (tmp_path / "grader.py").write_text(blocks(readme, "python")[0])
    for name, grader in (("pasted", values["grader"]), ("file", {"type": "python_file", "path": "grader.py:grade"})):
        (tmp_path / "run.yaml").write_text(
            yaml.safe_dump({**values, "grader": grader, "runs_dir": str(tmp_path / "runs")})
        )
        validated = engine("validate", tmp_path / "run.yaml")
        assert validated.code == 0, validated.output + validated.errors
        outcome = engine("run", tmp_path / "run.yaml", "--name", name, env={"OMP_NUM_THREADS": "1"})
        assert outcome.code == 0, outcome.errors
    samples = engine("samples", tmp_path / "runs" / "file", "--worst")
    assert samples.code == 0, samples.errors
    assert engine("runs", "--dir", tmp_path / "runs").code == 0
    assert engine("show", tmp_path / "runs" / "file").code == 0


def test_commands_of_the_readme_exist() -> None:
    """Every rft-engine command that a page shows is one, with the options that it shows."""
    for page in PAGES:
        for command, rest in re.findall(r"^(?:\.venv/bin/)?rft-engine ([a-z]+)(.*)$", page.read_text(), re.MULTILINE):
            helped = engine(command, "--help")
            assert helped.code == 0, f"{page}: rft-engine {command}"
            for option in re.findall(r"(--[a-z-]+)", rest.split("#")[0]):
                assert option in helped.output, f"{page}: rft-engine {command} {option}"


def test_every_error_has_a_sentence_about_it() -> None:
    """Each class of the error tree says what it is, and has a reason of its own."""
    for reason, cls in error_classes().items():
        assert cls.__doc__, reason
        assert cls.reason == reason


def test_the_examples_resolve() -> None:
    """Every run file under examples/ names components that exist, with settings they accept."""
    import rft_core.api as rft

    for path in (ROOT / "examples").rglob("*.yaml"):
        stages = rft.resolve(path, overrides=["vars.data=/data"] if "data: null" in path.read_text() else [])
        assert stages, path
