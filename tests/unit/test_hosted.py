"""Components in the engine's own process: what they raise is a sentence that names them."""

import errno
import re
from pathlib import Path

import pytest
from safetensors import SafetensorError

from rft_core.errors import ComponentError, PluginError, StorageError
from rft_core.runs.hosted import HostedOptimizer, HostedSource, materialize
from rft_core.types import Item, ModelRef, TrainBatch, WeightRef
from rft_test_plugin.momentum import Momentum


class FailingSource:
    """Its file has gone."""

    def __len__(self) -> int:
        return 3

    def item(self, index: int) -> Item:
        raise FileNotFoundError(errno.ENOENT, "No such file", "rows.bin")

    def fingerprint(self) -> str:
        raise RuntimeError("no digest")


class FullDisk(Momentum):
    """Finds no room, whatever it does."""

    def __init__(self) -> None:
        self.bitwise = True

    def step(self, batch: TrainBatch) -> None:  # type: ignore[override]
        raise OSError(errno.ENOSPC, "No space left on device", "scratch")

    def publish(self, folder: Path, *, run_id: str, lineage: str) -> WeightRef:
        raise SafetensorError("I/O error: Read-only file system (os error 30)")

    def save(self, folder: Path) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / "state"))
        except OSError as error:
            raise RuntimeError("the state was not saved") from error


class Failing:
    """A model source that raises `error`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def materialize(self, cache_dir: Path) -> ModelRef:
        raise self._error


def test_a_source_that_fails_is_named() -> None:
    """An error of the operating system inside it, too: the row and the source are told."""
    source = HostedSource(FailingSource(), "mine")
    with pytest.raises(ComponentError, match=r"the data source 'mine', at row 2, raised FileNotFoundError"):
        source.item(2)
    with pytest.raises(ComponentError, match="no digest"):
        source.fingerprint()


def test_a_full_disk_is_no_fault_of_the_component(tmp_path: Path) -> None:
    """Whichever error it comes as, and wherever: a StorageError with the place, as far as it is known."""
    optimizer = HostedOptimizer(FullDisk(), "mine")
    then = "; free space or fix the permissions, then 'rft-engine resume'"
    for call, says in (
        (lambda: optimizer.save(tmp_path), f"on saving, could not write in {tmp_path}/state: No space left on device"),
        (
            lambda: optimizer.publish(tmp_path, run_id="r", lineage="l"),
            f"on publishing its weights, could not write in {tmp_path}: Read-only file system",
        ),
        (
            lambda: optimizer.step(TrainBatch(step=4, total_steps=9)),
            "the optimizer 'mine', in step 4, could not write in scratch: No space left on device",
        ),
        (
            lambda: materialize(Failing(Exception("No space left on device (os error 28)")), "mine", tmp_path),
            f"the model source 'mine' could not write in {tmp_path}: No space left on device",
        ),
        (
            lambda: materialize(Failing(PermissionError(errno.EACCES, "", f"{tmp_path}/a")), "mine", tmp_path),
            f"the model source 'mine' could not write in {tmp_path}/a: Permission denied",
        ),
    ):
        with pytest.raises(StorageError, match=re.escape(says + then)):
            call()
    with pytest.raises(ComponentError, match="raised PermissionError"):  # what it reads is no matter of the disk
        materialize(Failing(PermissionError(errno.EACCES, "", "/elsewhere/a")), "mine", tmp_path)


def test_an_optimizer_that_lacks_something_is_refused() -> None:
    with pytest.raises(PluginError, match=r"the optimizer 'mine' lacks needs, bitwise, step"):
        HostedOptimizer(object(), "mine")
