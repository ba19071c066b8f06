"""A full disk, whoever meets it: exit code 4 and a sentence with the place; with room again the run goes on exactly.

A limit on the size of files stands for the disk: it takes no mount, and fails with the same kind of error.
"""

import errno
import os
from pathlib import Path

import pytest

from rft_test_plugin.harness import ONE_THREAD, engine, fast_run, fingerprint, tiny_run

RUN = ("--name", "tiny")


def test_a_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """No room for the model, for the weights, then for a checkpoint: each a sentence; in the end the bits of an unbroken run."""
    cache = {"RFT_CACHE_DIR": str(tmp_path / "cache")}
    training = {"steps": 4, "batch_size": 4, "group_size": 2, "unit_size": 2}
    run_file = tiny_run(tmp_path / "full", processes=(), training=training)
    run_dir = tmp_path / "full" / "runs" / "tiny"
    for size, arguments, says in (
        (40_960, ("run", run_file, *RUN), f"the model source 'tiny_llama' could not write in {tmp_path / 'cache'}"),
        (40_960, ("resume", run_dir), f"on publishing its weights, could not write in {run_dir / 'weights'}"),
        (122_880, ("resume", run_dir), f"on saving, could not write in {run_dir / 'checkpoints'}"),
    ):
        if says.startswith("on publishing"):
            unbroken = engine(
                "run",
                tiny_run(tmp_path / "whole", processes=(), training=training),
                *RUN,
                env={**ONE_THREAD, **cache},
            )
            assert unbroken.code == 0, unbroken.errors  # and the model is in the cache now
        ended = engine(*arguments, env={**ONE_THREAD, **cache}, file_bytes=size)
        assert ended.code == 4, ended.errors
        assert says in ended.errors
        assert (
            f"{os.strerror(errno.EFBIG)}; free space or fix the permissions, then 'rft-engine resume'" in ended.errors
        )
        assert "Traceback" not in ended.errors
        assert "Error:" not in ended.errors
    assert engine("resume", run_dir, env={**ONE_THREAD, **cache}).code == 0
    assert fingerprint(run_dir) == fingerprint(tmp_path / "whole" / "runs" / "tiny")


@pytest.mark.parametrize("place", ["/proc/foo", "file/foo"])
def test_a_place_that_takes_no_run_is_told(tmp_path: Path, place: str) -> None:
    """There is nothing to resume: the sentence says to choose another place."""
    (tmp_path / "file").touch()
    where = tmp_path / place
    ended = engine("run", fast_run(tmp_path, processes=()), "--set", f"runs_dir={where}")
    assert ended.code == 4
    assert f"could not make a run directory in {where}" in ended.errors
    assert "or choose another runs_dir" in ended.errors
    assert "resume" not in ended.errors
