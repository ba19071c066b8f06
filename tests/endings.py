"""What a run ended with, for tests that compare a killed one with an unbroken one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rft_test_plugin.harness import ONE_THREAD, audit, engine, fingerprint

AT_ONCE = 2
"""Runs side by side: one per core of the smallest machine we test on."""


def run_unbroken(folder: Path, write: Callable[[Path], Path]) -> dict[str, Any]:
    """In a new interpreter, with a hash seed of its own, so that a result that hangs on it is none."""
    outcome = engine("run", write(folder), "--name", "unbroken", env=ONE_THREAD, fresh=True)
    assert outcome.code == 0, outcome.errors
    run_dir = folder / "runs" / "unbroken"
    audit(run_dir)
    return fingerprint(run_dir)


def same(run_dir: Path, unbroken: dict[str, Any]) -> None:
    found = fingerprint(run_dir)
    for key, value in found.items():
        assert value == unbroken[key], f"{run_dir}: {key} differs from the unbroken run's"
    audit(run_dir)
