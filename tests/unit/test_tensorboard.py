"""The observer `tensorboard`, read back with TensorBoard's own loader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rft_core import BuildContext, Observer
from rft_core.errors import ConfigError
from rft_tensorboard import rft_observers

(SPEC,) = rft_observers()


def observer(folder: Path, **settings: str) -> Observer:
    return SPEC.build(SPEC.config.model_validate(settings), BuildContext(base_dir=folder, run_dir=folder))


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}


def test_numbers_become_curves(tmp_path: Path) -> None:
    """Steps go under train/, evaluations under their split; nested numbers are joined, the rest is left out."""
    board = observer(tmp_path)
    board.on_event("run_started", {"run_id": "r", "total_steps": 2})
    board.on_event("evaluation_finished", {"step": 0, "split": "validation", "reward": 0.25})
    for step in (1, 2):
        board.on_event(
            "step_finished",
            {
                "step": step,
                "total_steps": 2,
                "reward": step / 4,
                "tokens": step,
                "timing": {"sampling_s": 0.5},
                "note": "x",
                "flag": True,
                "none": None,
                "nan": float("nan"),
            },
        )
    board.on_event("evaluation_finished", {"step": 2, "reward": 0.5})
    board.on_event("evaluation_finished", {"step": 2, "split": "test", "reward": 0.75})
    board.close()
    board.close()
    assert curves(tmp_path / "tensorboard") == {
        "validation/reward": [(0, 0.25), (2, 0.5)],
        "train/reward": [(1, 0.25), (2, 0.5)],
        "train/tokens": [(1, 1.0), (2, 2.0)],
        "train/timing/sampling_s": [(1, 0.5), (2, 0.5)],
        "test/reward": [(2, 0.75)],
    }


def test_curves_are_live(tmp_path: Path) -> None:
    """What was observed can be read before the observer is closed."""
    board = observer(tmp_path)
    board.on_event("step_finished", {"step": 1, "reward": 1.0})
    assert curves(tmp_path / "tensorboard") == {"train/reward": [(1, 1.0)]}
    board.close()


def test_a_resumed_run_replaces_the_steps_it_does_again(tmp_path: Path) -> None:
    """After a crash at step 3 and a resume at step 2 each step has one point, of the resumed attempt."""
    first = observer(tmp_path)
    for step in (1, 2, 3):
        first.on_event("step_finished", {"step": step, "reward": 0.0})
    resumed = observer(tmp_path)
    for step in (2, 3, 4):
        resumed.on_event("step_finished", {"step": step, "reward": 1.0})
    first.close()
    resumed.close()
    assert curves(tmp_path / "tensorboard") == {"train/reward": [(1, 0.0), (2, 1.0), (3, 1.0), (4, 1.0)]}


def test_the_folder_can_be_chosen(tmp_path: Path) -> None:
    """`dir` starts at the folder of the run file; without it and without a run directory there is no place."""
    observer(tmp_path, dir="boards/a").close()
    assert len(list((tmp_path / "boards" / "a").iterdir())) == 1
    with pytest.raises(ConfigError, match="set its 'dir'"):
        SPEC.build(SPEC.config.model_validate({}), BuildContext(base_dir=tmp_path))


def test_neither_torch_nor_tensorflow_is_imported(tmp_path: Path) -> None:
    """The plugin's import is cheap, and using it loads no deep learning library."""
    code = f"""
import sys, pathlib
import rft_tensorboard
assert "tensorboard" not in sys.modules
from rft_tensorboard.observer import TensorBoardObserver
board = TensorBoardObserver(pathlib.Path({str(tmp_path)!r}))
board.on_event("step_finished", {{"step": 1, "reward": 1.0}})
board.close()
assert not {{"torch", "tensorflow"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
