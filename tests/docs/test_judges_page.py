"""What docs/judges.md says, with a judge and a service that are really asked."""

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import DOCS, ROOT, block
from judge_server import Call, JudgeServer, Reply, failure, verdict

from rft_test_plugin.harness import engine, fast_run, summary

PAGE = DOCS / "judges.md"
KEY = "sk-of-the-judges-page"


def run_file(folder: Path, name: str, steps: int = 2, **grader: Any) -> Path:
    """A quick run with the grader of the page's block of this name."""
    values = yaml.safe_load(block(PAGE, name))
    more = {"training": {"steps": steps, "batch_size": 2, "group_size": 4, "unit_size": 1}}
    return fast_run(folder, **{**values, "grader": {**values["grader"], **grader}, **more})


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_a_judge_grades_a_run(tmp_path: Path) -> None:
    """The first run file of the page, with another address: rewards are clamped, and money is counted."""

    def behave(call: Call) -> Reply:
        return verdict(len(call.prompt) % 7)

    with JudgeServer(behave) as server:
        file = run_file(tmp_path, "judge.yaml", base_url=f"{server.url}/v1")
        done = engine("run", file, env={"OPENAI_API_KEY": KEY})
    assert done.code == 0, done.errors
    run_dir = tmp_path / "runs" / "fast"
    assert summary(run_dir)["status"] == "succeeded"
    per_call = (40 * 0.4 + 60 * 0.1 + 20 * 1.6) / 1e6
    assert lines_of(run_dir)[0]["grader/cost_usd_mean"] == pytest.approx(per_call)
    assert {call.headers["Authorization"] for call in server.calls} == {f"Bearer {KEY}"}
    kept = [path for path in run_dir.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not kept


def test_a_missing_key_stops_the_start(tmp_path: Path) -> None:
    """The sentence that the page quotes, before anything is sampled."""
    done = engine("run", run_file(tmp_path, "judge.yaml"), env={"OPENAI_API_KEY": ""})
    assert done.code == 2, done.output
    assert "OPENAI_API_KEY, which should hold the key of the judge, is empty" in done.errors


def test_a_wrong_key_stops_after_three_steps(tmp_path: Path) -> None:
    """Every call fails once, and the run stops with what to do; its samples say why."""
    with JudgeServer(lambda call: failure(401, "Incorrect API key provided")) as server:
        file = run_file(tmp_path, "judge.yaml", steps=9, base_url=f"{server.url}/v1")
        done = engine("run", file, env={"OPENAI_API_KEY": KEY}, timeout_s=60)
    assert done.code == 3, done.output
    assert "grading.max_error_rate" in done.errors
    assert len(server.calls) == 6 + 3 * 2 * 4  # each row of validation, and three steps
    shown = engine("samples", tmp_path / "runs" / "fast", "--worst")
    assert "Incorrect API key provided; the key is read from" in " ".join(shown.output.split())


def test_the_service_grades_a_run(tmp_path: Path) -> None:
    """The service and the run file of the page, together; only the port is another."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    (tmp_path / "service.py").write_text(block(PAGE, "service.py").replace("8099", str(port)))
    env = {"GRADER_TOKEN": "token-of-the-service"}
    service = subprocess.Popen([sys.executable, "service.py"], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        file = run_file(tmp_path, "service.yaml", url=f"http://127.0.0.1:{port}/grade")
        done = engine("run", file, env=env)
    finally:
        service.kill()
        service.wait()
    assert done.code == 0, done.errors
    first = lines_of(tmp_path / "runs" / "fast")[0]
    assert first["grader/chars_mean"] > 0
    assert "outcome/grader_error" not in first


def test_the_table_of_failures_names_every_kind() -> None:
    """What the package's code can say is what the table lists."""
    package = ROOT / "plugins" / "rft-graders-model" / "rft_graders_model"
    code = "\n".join(path.read_text() for path in package.glob("*.py"))
    said = set(re.findall(r'"((?:model_grader|endpoint_grader|other)_\w*error)"', code))
    table = PAGE.read_text().partition("## What each failure becomes")[2]
    listed = set(re.findall(r"\| `(\w+)` \|$", table, re.MULTILINE))
    assert len(said) == 7
    assert listed == said | {"invalid_variable_error", "timed_out"}
