"""Writes a run's curves for TensorBoard: the observer `tensorboard`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from rft_core import BuildContext, ComponentConfig, Observer, ObserverSpec, hookimpl
from rft_core.errors import ConfigError


class TensorBoardConfig(ComponentConfig):
    dir: str | None = Field(
        None,
        description="Folder for the event files; null is `tensorboard` in the run directory. A relative path starts at the folder of the run file.",
    )


def _build(config: TensorBoardConfig, context: BuildContext) -> Observer:
    from rft_tensorboard.observer import TensorBoardObserver

    return TensorBoardObserver(_folder(config, context))


def _folder(config: TensorBoardConfig, context: BuildContext) -> Path:
    if config.dir is not None:
        return context.base_dir / config.dir
    if context.run_dir is None:
        raise ConfigError("the tensorboard observer has no run directory here; set its 'dir'", where="dir")
    return context.run_dir / "tensorboard"


@hookimpl
def rft_observers() -> Iterable[ObserverSpec]:
    return [ObserverSpec(name="tensorboard", config=TensorBoardConfig, build=_build, summary="Curves for TensorBoard.")]
