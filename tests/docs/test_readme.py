"""What the README says is typed in and run, in order, with real processes."""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import BIN, DOCS, README, ROOT, block, blocks, pip_install, write_blocks

from rft_test_plugin.harness import engine, fast_run, summary

TINY = {
    "type": "tiny_llama",
    "hidden_size": 32,
    "layers": 1,
    "tokenizer": {"type": "characters", "alphabet": "abcdefghijklmnopqrstuvwxyzCFP ?0123456789"},
}
"""In place of the README's model, which is not on this machine."""
IN_PROCESS = {"type": "transformers", "worker": {"in_process": True}}
"""One process fewer that takes seconds to load torch; test_torch_runs has it."""
SMALL = {"steps": 2, "batch_size": 4, "group_size": 2}


class Shell:
    """Types in commands of the README, with its model and its figures made small."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "RFT_CACHE_DIR": str(cache),
        }

    def run(self, command: str, **env: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    @contextmanager
    def background(self, command: str) -> Iterator[str]:
        """A command that goes on; yields what it said until it was ready."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        said = ""
        while "token written" not in said:
            line = process.stdout.readline()
            assert line, f"{command} ended: {said}"
            said += line
        try:
            yield said
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The README's files in a folder, and everything before "Your own grader" done."""
    folder = tmp_path_factory.mktemp("readme")
    write_blocks(README, folder)
    row = json.loads(block(README, "train.jsonl"))
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        rows = [{**row, "messages": [{"role": "user", "content": f"Capital of {split} {i}?"}]} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    values = yaml.safe_load(block(README, "run.yaml"))
    assert {"path"} == values["model"].keys()
    assert SMALL.keys() == values["training"].keys()
    values |= {"model": TINY, "training": SMALL, "sampling": {"max_tokens": 6}, "sampler": IN_PROCESS}
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    made = Shell(folder, tmp_path_factory.mktemp("readme-cache"))
    for command in commands_of("rft-engine validate"):
        made.run(command)
    return made


def commands_of(first: str) -> list[str]:
    """The commands of the block that begins like this, without their comments."""
    (found,) = [b.text for b in blocks(README, "bash") if b.text.startswith(first)]
    return [line.split("  #")[0].strip() for line in found.splitlines()]


def of_run(shell: Shell, name: str) -> dict[str, Any]:
    values = summary(shell.folder / "runs" / name)
    assert values["status"] == "succeeded"
    return values


def test_your_own_data(shell: Shell) -> None:
    """The row and the run file make a run that ends, and its samples can be read."""
    assert of_run(shell, "capitals")["steps"] == SMALL["steps"]
    assert len(block(README, "run.yaml").splitlines()) + len(block(README, "train.jsonl").splitlines()) <= 10


def test_a_remote_grader_of_your_own(shell: Shell) -> None:
    """The three lines, with the grader of ten lines: what is graded there has its scores."""
    start, export, run = commands_of("rft-worker grader")
    with shell.background(start.replace(":7070", ":0")) as said:
        address, token = re.findall(r"grader on (\S+)", said)[0], re.findall(r"token (?!written)(\S+)", said)[0]
        variable = export.removeprefix("export ").partition("=")[0]
        assert export.endswith("=…")
        grader = "{type: python_file, path: grader.py:grade}"
        assert f"`grader: {grader}`" in README.read_text()
        shell.run(f"{run.replace('127.0.0.1:7070', address)} --set 'grader={grader}'", **{variable: token})
    of_run(shell, "remote")
    assert not list((shell.folder / "runs" / "remote" / "logs").glob("grader*"))
    graded = json.loads(shell.run("rft-engine samples runs/remote --split train --json -n 100"))
    assert len(graded) == SMALL["batch_size"] * SMALL["group_size"]
    assert {sample["reward"] for sample in graded} <= {0.0, 0.5, 1.0}


def test_resume_extend_fork(shell: Shell) -> None:
    """A finished run resumes to itself, extends, and another one starts from its weights."""
    resume, extend, fork = commands_of("rft-engine resume")
    before = of_run(shell, "capitals")
    shell.run(resume)
    assert of_run(shell, "capitals")["final_weights_sha256"] == before["final_weights_sha256"]
    shell.run(extend.replace("=200", "=3"))
    assert of_run(shell, "capitals")["steps"] == 3
    shell.run(fork)
    config = json.loads((shell.folder / "runs" / "fork" / "config.json").read_text())
    assert config["resolved_model"]["adapter"].endswith("runs/capitals/final")
    assert float(config["resolved"]["optimizer"]["learning_rate"]) == 5e-6


def test_what_a_run_leaves(shell: Shell) -> None:
    """The files are there by their names; listing, showing, evaluating and exporting work on them."""
    named = re.findall(r"`([\w./]+)`", README.read_text().partition("`runs/<name>/`:")[2].partition("```bash")[0])
    assert len(named) == 9
    for name in named:
        assert (shell.folder / "runs" / "capitals" / name).exists(), name
    runs, show, evaluate, export = commands_of("rft-engine runs")
    assert "capitals" in shell.run(runs)
    shell.run(show)
    assert "against the base" in shell.run(evaluate)
    shell.run(export)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in (shell.folder / "model").iterdir()
    }


def test_what_a_run_tells_is_documented(shell: Shell) -> None:
    """Every key of metrics.jsonl and summary.json of a real run is in docs/observability.md."""
    told = set(re.findall(r"`([\w/<>.-]+)`", (DOCS / "observability.md").read_text()))
    run_dir = shell.folder / "runs" / "capitals"
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    patterns = {
        "grader/": "grader/<name>_mean",
        "outcome/": "outcome/<outcome>",
        "error/": "error/<kind>",
        "invalid/": "invalid/<kind>",
    }
    metrics = {next((p for start, p in patterns.items() if key.startswith(start)), key) for key in lines[-1]}
    assert metrics <= told, metrics - told
    values = of_run(shell, "capitals")
    after, gain = values["validation"]["after"], values["validation"]["gain"]
    keys = {*values, *values["validation"], *after, *gain}
    assert keys <= told, keys - told
    assert {path.name for path in run_dir.iterdir()} - {"config.json"} <= {name.split("/")[0] for name in told}


def test_from_python_with_openais_grader(shell: Shell) -> None:
    """The lines of Python run, with the grader JSON of the README pasted in."""
    script = (shell.folder / "example.py").read_text()
    changed = script.replace('"training.steps=20"', '"training.steps=1", "grader=" + open("grader.json").read()')
    assert changed != script
    (shell.folder / "example.py").write_text(changed)
    assert "'mean':" in shell.run("python example.py")
    assert {"exact", "near"} == of_run(shell, "python")["validation"]["after"]["graders"].keys()


def test_your_own_plugin(tmp_path: Path) -> None:
    """Five lines of pyproject.toml and a module, installed with pip, are listed and used."""
    (tmp_path / "package").mkdir()
    for name in ("pyproject.toml", "rft_short.py"):
        (tmp_path / "package" / name).write_text(block(README, name))
    assert len(block(README, "pyproject.toml").splitlines()) == 5
    env = pip_install(tmp_path / "package", tmp_path / "site")
    assert "rft-short" in engine("plugins", env=env).output
    outcome = engine("run", fast_run(tmp_path, grader={"type": "short", "limit": 40}), "--name", "fast", env=env)
    assert outcome.code == 0, outcome.errors
    assert summary(tmp_path / "runs" / "fast")["validation"]["after"]["reward_mean"] == 1.0


def test_make_has_the_two_commands() -> None:
    """`make run` and `make test` exist; the first runs the example that the README names."""
    for target, part in (("run", "examples/arithmetic/run.yaml"), ("test", "pytest")):
        assert f"make {target} " in README.read_text()
        planned = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert part in planned.stdout
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"


def test_components_of_tests_are_installed_for_tests_alone(tmp_path: Path) -> None:
    """From nothing, `make run` and `make install` leave the tests' plugin out; what runs tests brings it."""
    for target, wanted in (("run", False), ("install", False), ("test", True), ("chaos", True), ("develop", True)):
        command = ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
        planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert "--editable ./plugins/rft-torch" in planned
        assert ("rft-test-plugin" in planned) == wanted, target


def test_no_command_of_the_readme_is_left_out() -> None:
    """The tests above run every bash block; each of them takes all commands of its block."""
    begun = {" ".join(b.text.split()[:2]) for b in blocks(README, "bash")}
    assert begun == {"rft-engine validate", "rft-worker grader", "rft-engine resume", "rft-engine runs"}
