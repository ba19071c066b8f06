"""Damage is answered as docs/exactness.md says: with these words and these exit codes."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from doc_pages import DOCS, blocks
from safetensors.numpy import save_file

from rft_core import weights
from rft_core.errors import RftError
from rft_core.storage import checkpoint, files
from rft_core.storage.journal import Journal, Record
from rft_core.storage.rundir import RunDir

PAGE = DOCS / "exactness.md"


def journal_of(folder: Path) -> list[Path]:
    """A journal of three segments."""
    journal = Journal(folder)
    for step in (1, 2, 3):
        journal.append(Record(kind="plan", step=step, data={"indices": [step]}))
        journal.append(Record(kind="update", step=step, data={"policy": step}))
        if step < 3:
            journal.new_segment()
    journal.close()
    return sorted(folder.iterdir())


def damaged_journal(folder: Path) -> None:
    segment = journal_of(folder)[0]
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(bytes(data))
    Journal(folder)


def missing_segment(folder: Path) -> None:
    journal_of(folder)[1].unlink()
    Journal(folder)


def no_whole_checkpoint(folder: Path) -> None:
    run_dir = RunDir.create(folder / "run", {})
    (run_dir.checkpoint(4) / "optimizer").mkdir(parents=True)
    checkpoint.latest_whole(run_dir, 4)


def unreadable_summary(folder: Path) -> None:
    run_dir = RunDir.create(folder / "run", {})
    run_dir.summary.write_text("{")
    run_dir.read_summary()


def changed_weights(folder: Path) -> None:
    save_file({"w": np.zeros(2)}, folder / weights.FULL_FILE)
    weights.verify(folder, "sha256:0")


def unwritable(folder: Path) -> None:
    (folder / "file").touch()
    files.write_json(folder / "file" / "summary.json", {})


def in_use(folder: Path) -> None:
    owner = RunDir.create(folder / "run", {})
    try:
        RunDir.open(folder / "run").lock()
    finally:
        owner.unlock()


@pytest.mark.parametrize(
    ("harm", "row"),
    [
        (damaged_journal, "the journal is damaged before that"),
        (missing_segment, "the journal is damaged before that"),
        (no_whole_checkpoint, "no checkpoint is whole"),
        (unreadable_summary, "`config.json` or `summary.json` cannot be read"),
        (changed_weights, "weights do not have the digest"),
        (unwritable, "the disk is full"),
        (in_use, "another process works in the run directory"),
    ],
)
def test_damage_is_answered_as_the_page_says(harm: Callable[[Path], None], row: str, tmp_path: Path) -> None:
    """The sentence is one of those quoted there, and the exit code that of the table."""
    with pytest.raises(RftError) as raised:
        harm(tmp_path)
    quoted = [line for b in blocks(PAGE) if b.name == "error" for line in b.text.splitlines()]
    said = str(raised.value)
    assert any(re.fullmatch(re.escape(line).replace("…", ".+"), said) for line in quoted), said
    (code,) = re.findall(rf"^\| {re.escape(row)}.*\| (\d+) \|$", PAGE.read_text(), re.MULTILINE)
    assert raised.value.exit_code == int(code)
