"""Grades a second of the sandboxed python grader, against a fresh interpreter for each grade and a plain call.

    python benchmarks/graders/python_grader.py --repeats 5

The ways alternate in one process, so that the machine's other work hits all of them alike. Rates are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rft_core import Group, Item, Rollout
from rft_core.grading import sample_dict
from rft_grader_python.config import PythonConfig
from rft_grader_python.python import PythonGrader
from rft_grader_python.sandbox.setup import TIERS

SOURCE = "def grade(sample, item):\n    return float(sample['output_text'] == item['answer'])\n"
ONCE = f"import json, sys\n{SOURCE}print(grade(*json.load(sys.stdin)))\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--grades", type=int, default=100, help="per repeat and way")
    options = parser.parse_args()
    group = _group(options.grades)
    graders = _graders()
    ways: dict[str, Callable[[], None]] = {
        "plain call": lambda: _plain(group),
        "fresh interpreter": lambda: _fresh(group),
    }
    ways |= {f"sandbox: {tier}": lambda grader=grader: _sandboxed(grader, group) for tier, grader in graders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            start_s = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start_s)
    base_s = statistics.median(seconds["fresh interpreter"])
    print(
        f"{options.grades} grades, {options.repeats} repeats, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| way | grades/s: median (min–max) | times a fresh interpreter |\n|---|---|---|")
    for name, found in seconds.items():
        rates = sorted(options.grades / s for s in found)
        median = options.grades / statistics.median(found)
        print(f"| {name} | {median:.0f} ({rates[0]:.0f}–{rates[-1]:.0f}) | {base_s / statistics.median(found):.1f} |")
    print()
    for tier, grader in graders.items():
        grader.close()
        print(f"processor time of one grade, {tier}: {_processor_ms(tier, group):.1f} ms")


def _group(size: int) -> Group:
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=n, segments=(), text="x" * 200, finish_reason="stop") for n in range(size)
    )
    return Group(ordinal=0, item=Item(key="i", index=0, row={"answer": "x" * 200}), rollouts=rollouts)


def _graders() -> dict[str, PythonGrader]:
    """One for each tier that this machine gives."""
    found = {}
    for tier in TIERS:
        try:
            found[tier] = PythonGrader(PythonConfig.model_validate({"source": SOURCE, "sandbox": tier}))
        except ValueError:
            continue
    return found


def _sandboxed(grader: PythonGrader, group: Group) -> None:
    assert all(grade.reward == 1.0 for grade in grader.grade(group))


def _plain(group: Group) -> None:
    names: dict[str, Callable[..., float]] = {}
    exec(SOURCE, names)  # noqa: S102  # what the sandbox is compared with
    for rollout in group.rollouts:
        assert names["grade"](sample_dict(rollout), dict(group.item.row)) == 1.0


def _fresh(group: Group) -> None:
    """`python -I -S -c`, as bare as an interpreter gets, as many at once as there are cores."""

    def one(rollout: Rollout) -> None:
        text = json.dumps([sample_dict(rollout), dict(group.item.row)])
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", ONCE], input=text, capture_output=True, text=True, check=True
        )
        assert done.stdout == "1.0\n"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, group.rollouts))


def _processor_ms(tier: str, group: Group) -> float:
    """Of host, zygote and forks together, without the start. A process's time counts here when it has ended."""

    def spent_s(rounds: int) -> float:
        before = _processor_s(resource.RUSAGE_SELF) + _processor_s(resource.RUSAGE_CHILDREN)
        grader = PythonGrader(PythonConfig.model_validate({"source": SOURCE, "sandbox": tier}))
        for _ in range(rounds):
            _sandboxed(grader, group)
        grader.close()
        return _processor_s(resource.RUSAGE_SELF) + _processor_s(resource.RUSAGE_CHILDREN) - before

    return 1000 * (spent_s(4) - spent_s(0)) / (4 * len(group.rollouts))


def _processor_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
