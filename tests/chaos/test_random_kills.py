"""Kill anything at any time: the resumed run ends with the bits of the unbroken one."""

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from endings import AT_ONCE, run_unbroken, same

from rft_test_plugin.harness import HOSTED, ONE_THREAD, engine, fast_run, kill, launch, tiny_run


@pytest.mark.chaos
def test_random_kills(tmp_path: Path, unbroken: dict[str, Any], pytestconfig: pytest.Config) -> None:
    """SIGKILL of engine, sampler or grader at random instants, sometimes again during recovery, whatever else has a
    process of its own: after resuming, weights, optimizer state, journal and evaluations are those of the unbroken
    run."""
    kill_at_random(tmp_path, fast_run, unbroken, pytestconfig.getoption("--kills"), pytestconfig, others=0.3)


@pytest.mark.slow
@pytest.mark.chaos
def test_random_kills_with_a_real_model(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The same with torch: the transformers sampler, GRPO, AdamW's moments. What is not killed stays in the engine's
    process, as each process of the sampler takes longer to load torch than the run to end."""
    unbroken = run_unbroken(tmp_path / "unbroken", tiny_run)
    kill_at_random(tmp_path, tiny_run, unbroken, pytestconfig.getoption("--model-kills"), pytestconfig, others=0.0)


def kill_at_random(
    folder: Path,
    write: Callable[..., Path],
    unbroken: dict[str, Any],
    kills: int,
    options: pytest.Config,
    *,
    others: float,
) -> None:
    """`others`: the chance that a component that is not killed has a process of its own."""
    seed = options.getoption("--chaos-seed") or random.SystemRandom().randrange(10**6)
    print(f"replay with --chaos-seed {seed}")
    seconds: dict[frozenset[str], float] = {}
    timing = threading.Lock()
    engine("--version")  # so that the first run timed need not wait for what forks it

    def seconds_of(processes: frozenset[str]) -> float:
        """How long a run with these processes takes when nobody touches it: most of it is their start."""
        with timing:
            if processes not in seconds:
                place = folder / "-".join(["whole", *sorted(processes)])
                start = time.monotonic()
                outcome = engine("run", write(place, processes=processes), "--name", "whole", env=ONE_THREAD)
                seconds[processes] = time.monotonic() - start
                assert outcome.code == 0, outcome.errors
                same(place / "runs" / "whole", unbroken)
            return seconds[processes]

    def one(number: int) -> list[str]:
        """What was killed, in order."""
        draw = random.Random(f"{seed}:{number}")
        target = draw.choice(["engine", *HOSTED])
        processes = frozenset(kind for kind in HOSTED if kind == target or draw.random() < others)
        length = seconds_of(processes)
        first = ["run", write(folder / str(number), processes=processes), "--name", "killed"]
        process = launch(*first, env=ONE_THREAD)
        run_dir = folder / str(number) / "runs" / "killed"
        killed = []
        for _ in range(draw.choice([1, 1, 1, 2, 5])):
            time.sleep(draw.uniform(0.0, 0.9 * length))
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
