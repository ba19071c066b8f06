"""Components in the engine's own process: what they raise is a sentence that names them."""

import errno
from pathlib import Path

import pytest

from rft_core.errors import ComponentError, PluginError
from rft_core.runs.hosted import HostedOptimizer, HostedSource
from rft_core.types import Item, TrainBatch
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

    def save(self, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))


def test_a_source_that_fails_is_named() -> None:
    """An error of the operating system inside it, too: the row and the source are told."""
    source = HostedSource(FailingSource(), "mine")
    with pytest.raises(ComponentError, match=r"the data source 'mine', at row 2, raised FileNotFoundError"):
        source.item(2)
    with pytest.raises(ComponentError, match="no digest"):
        source.fingerprint()


def test_a_full_disk_is_told_by_who_asked_for_the_writing(tmp_path: Path) -> None:
    """In save and publish it stays an OSError, which becomes a StorageError; elsewhere it is the component's."""
    optimizer = HostedOptimizer(FullDisk(), "mine")
    with pytest.raises(OSError, match="No space left"):
        optimizer.save(tmp_path)
    with pytest.raises(ComponentError, match=r"the optimizer 'mine', in step 4, raised OSError"):
        optimizer.step(TrainBatch(step=4, total_steps=9))


def test_an_optimizer_that_lacks_something_is_refused() -> None:
    with pytest.raises(PluginError, match=r"the optimizer 'mine' lacks needs, bitwise, step"):
        HostedOptimizer(object(), "mine")
