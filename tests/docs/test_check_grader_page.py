"""What docs/check-grader.md says, with its own grader and data."""

import re
import subprocess
import sys
from pathlib import Path

from doc_pages import DOCS, block, write_blocks

from rft_core.runs.checks.report import FINDINGS
from rft_test_plugin.harness import engine

PAGE = DOCS / "check-grader.md"


def test_the_example_is_caught_as_shown(tmp_path: Path) -> None:
    """The page's command on the page's files prints the page's findings, and exits with 1."""
    write_blocks(PAGE, tmp_path)
    done = engine("check-grader", tmp_path / "grader.json", "--data", tmp_path / "data.jsonl")
    assert done.code == 1, done.output + done.errors
    for line in block(PAGE, "findings").splitlines():
        assert line in done.output


def test_the_python_example_runs(tmp_path: Path) -> None:
    """The same from Python: each error with its evidence."""
    write_blocks(PAGE, tmp_path)
    command = [sys.executable, "check.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "listing" in done.stdout


def test_the_table_lists_every_finding() -> None:
    """What the check can find is what the page explains."""
    rows = re.findall(r"^\| (`[a-z_`, ]+) \|", PAGE.read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)} == set(FINDINGS)
