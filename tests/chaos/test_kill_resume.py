"""Kill anything at any time: the resumed run ends with the bits of the unbroken one."""

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rft_core import failpoints
from rft_test_plugin.harness import ONE_THREAD, audit, engine, fast_run, fingerprint, kill, launch, tiny_run

AT_ONCE = 2
"""Runs side by side: one per core of the smallest machine we test on."""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fast run ends with when nobody touches it, and how long it takes."""
    return run_unbroken(tmp_path_factory.mktemp("unbroken"), fast_run)


def run_unbroken(folder: Path, write: Callable[[Path], Path]) -> dict[str, Any]:
    start = time.monotonic()
    outcome = engine("run", write(folder), "--name", "unbroken", env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    run_dir = folder / "runs" / "unbroken"
    audit(run_dir)
    return {**fingerprint(run_dir), "seconds": time.monotonic() - start}


def same(run_dir: Path, unbroken: dict[str, Any]) -> None:
    found = fingerprint(run_dir)
    for key, value in found.items():
        assert value == unbroken[key], f"{run_dir}: {key} differs from the unbroken run's"
    audit(run_dir)


@pytest.mark.chaos
def test_random_kills(tmp_path: Path, unbroken: dict[str, Any], pytestconfig: pytest.Config) -> None:
    """SIGKILL of engine, sampler or grader at random instants, sometimes again during recovery: after
    resuming, weights, optimizer state, journal and evaluations are those of the unbroken run."""
    kill_at_random(tmp_path, fast_run, unbroken, pytestconfig.getoption("--kills"), pytestconfig)


@pytest.mark.slow
@pytest.mark.chaos
def test_random_kills_with_a_real_model(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The same with torch: the transformers sampler, GRPO, AdamW's moments."""
    unbroken = run_unbroken(tmp_path / "unbroken", tiny_run)
    kill_at_random(tmp_path, tiny_run, unbroken, pytestconfig.getoption("--model-kills"), pytestconfig)


def kill_at_random(
    folder: Path, write: Callable[[Path], Path], unbroken: dict[str, Any], kills: int, options: pytest.Config
) -> None:
    seed = options.getoption("--chaos-seed") or random.SystemRandom().randrange(10**6)
    print(f"replay with --chaos-seed {seed}")

    def one(number: int) -> list[str]:
        """What was killed, in order."""
        draw = random.Random(f"{seed}:{number}")
        first = ["run", write(folder / str(number)), "--name", "killed"]
        process = launch(*first, env=ONE_THREAD)
        run_dir, target = folder / str(number) / "runs" / "killed", draw.choice(["engine", "sampler", "grader"])
        killed = []
        for _ in range(draw.choice([1, 1, 1, 2, 5])):
            time.sleep(draw.uniform(0.0, 0.9 * unbroken["seconds"]))
            while process.poll() is None and not kill(process, target):
                time.sleep(0.05)  # its workers are not there yet
            if process.returncode not in (None, -signal.SIGKILL):
                break  # it had ended by then
            killed.append(target)
            if target != "engine":
                break
            process = launch(*(["resume", run_dir] if run_dir.exists() else first), env=ONE_THREAD)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, f"seed {seed}, run {number}, {target} killed: {errors[-3000:]}"
        same(run_dir, unbroken)
        shutil.rmtree(folder / str(number))
        return killed

    with ThreadPoolExecutor(AT_ONCE) as executor:
        runs = list(executor.map(one, range(kills)))
    landed = [target for killed in runs for target in killed]
    print(f"{len(landed)} kills in {kills} runs: {Counter(landed)}")
    assert sum(bool(killed) for killed in runs) >= 0.8 * kills, "too few kills hit a run at work"
    assert set(landed) == {"engine", "sampler", "grader"} or kills < 10


@pytest.mark.chaos
def test_every_failpoint(tmp_path: Path, unbroken: dict[str, Any]) -> None:
    """The process dies at each named point in turn; each point is reached, and each run ends the same."""

    def one(name: str) -> None:
        folder = tmp_path / name
        run_file = fast_run(folder)
        run_dir = folder / "runs" / "fast"
        first = ["run", run_file, "--name", "fast"]
        if name.startswith("recover.") and name != "recover.opened":
            died = engine(*first, env={"RFT_FAILPOINT": "update.before_fsync@7"})
            assert died.code == -9
            first = ["resume", run_dir]
        died = engine(*first, env={"RFT_FAILPOINT": name})
        assert died.code == -9, f"the failpoint {name} was not reached: {died.errors}"
        outcome = engine("resume", run_dir)
        assert outcome.code == 0, f"after a crash at {name}: {outcome.errors}"
        same(run_dir, unbroken)

    with ThreadPoolExecutor(AT_ONCE) as executor:
        list(executor.map(one, failpoints.NAMES))
    assert len(failpoints.NAMES) >= 30


@pytest.mark.chaos
@pytest.mark.parametrize(("samplers", "graders"), [(1, 1), (4, 1), (1, 4), (4, 4)])
def test_the_number_of_workers_changes_nothing(
    tmp_path: Path, unbroken: dict[str, Any], samplers: int, graders: int
) -> None:
    """1, 2 or 4 samplers and 1 or 4 graders, with answers in whatever order they come: the same bits."""
    run_file = fast_run(
        tmp_path,
        sampler={"type": "scripted", "shuffle_s": 0.1, "worker": {"count": samplers, "threads": 1}},
        grading={"worker": {"count": graders}},
    )
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 0, outcome.errors
    same(tmp_path / "runs" / "fast", unbroken)
