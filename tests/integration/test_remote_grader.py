"""A grader worker that somebody started by hand grades a run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rft_test_plugin.harness import engine, fast_run, fingerprint

WORKER = str(Path(sys.executable).with_name("rft-worker"))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """A worker on a free TCP port: its address, its token and the process."""
    process = subprocess.Popen(
        [WORKER, "grader", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    while "token written" not in said:
        line = process.stdout.readline()
        assert line, f"the worker ended: {said}"
        said += line
    address = re.search(r"grader on (\S+)", said)
    token = re.search(r"token (?!written)(\S+)", said)
    assert address is not None
    assert token is not None
    yield address.group(1), token.group(1), process
    process.terminate()
    assert process.wait(timeout=20) == 0, "SIGTERM is a clean end"


def test_it_gives_the_bits_of_a_local_one(tmp_path: Path, worker: tuple[str, str, subprocess.Popen[str]]) -> None:
    """A run graded over TCP ends with the weights and the journal of one graded by the engine's own worker."""
    address, token, _ = worker
    assert engine("run", fast_run(tmp_path / "local"), "--name", "fast").code == 0
    outcome = engine(
        "run",
        fast_run(tmp_path / "remote"),
        "--name",
        "fast",
        "--set",
        f"grading.worker.address={address}",
        env={"RFT_WORKER_TOKEN": token},
    )
    assert outcome.code == 0, outcome.errors
    assert fingerprint(tmp_path / "remote" / "runs" / "fast") == fingerprint(tmp_path / "local" / "runs" / "fast")
    assert not (tmp_path / "remote" / "runs" / "fast" / "logs" / "grader-1.log").exists()


def test_a_wrong_token_is_refused(tmp_path: Path, worker: tuple[str, str, subprocess.Popen[str]]) -> None:
    """Without the worker's token the run ends with a sentence before anything is trained."""
    address, _, _ = worker
    for env in ({"RFT_WORKER_TOKEN": "guess"}, {"RFT_WORKER_TOKEN": ""}):
        outcome = engine("run", fast_run(tmp_path), "--set", f"grading.worker.address={address}", env=env)
        assert outcome.code in (2, 3)
        assert "token" in outcome.errors
        assert "Traceback" not in outcome.errors


def test_an_unreachable_worker_is_named(tmp_path: Path) -> None:
    """Nobody at the address: a sentence with the address and what to do."""
    outcome = engine(
        "run",
        fast_run(tmp_path),
        "--set",
        "grading.worker.address=127.0.0.1:9",
        env={"RFT_WORKER_TOKEN": "x"},
    )
    assert outcome.code == 3
    assert outcome.errors.splitlines()[-1] == (
        "rft-engine: no grader worker answers at 127.0.0.1:9 (connection refused); "
        "start it with 'rft-worker grader --listen 127.0.0.1:9', or correct grading.worker.address"
    )


def test_validate_asks_the_worker(tmp_path: Path, worker: tuple[str, str, subprocess.Popen[str]]) -> None:
    """The grader is tried where the run would grade, so that an unreachable worker is known before a run."""
    address, token, process = worker
    who = tmp_path / "who.txt"
    (tmp_path / "grader.py").write_text(
        "import os, pathlib\n\n"
        "def grade(sample, item):\n"
        f"    pathlib.Path({str(who)!r}).write_text(str(os.getpid()))\n"
        "    return len(sample['output_text']) % 2\n"
    )
    run_file = fast_run(tmp_path, grader={"type": "python_file", "path": "grader.py:grade"})
    asked = engine("validate", run_file, "--set", f"grading.worker.address={address}", env={"RFT_WORKER_TOKEN": token})
    assert asked.code == 0, asked.errors
    assert who.read_text() == str(process.pid)
    nobody = engine("validate", run_file, "--set", "grading.worker.address=127.0.0.1:9", env={"RFT_WORKER_TOKEN": "x"})
    assert nobody.code != 0
    assert "127.0.0.1:9" in nobody.errors + nobody.output
