"""The whole extension surface. A plugin is a module with functions of these names.

Point an entry point of the group `rft_engine.plugins` at the module:

    [project.entry-points."rft_engine.plugins"]
    my_plugin = "my_plugin"

Each function is decorated with `@hookimpl` and returns (or yields) the records of `rft_core.specs`.
Hooks only register. What changes a sample or a reward is a component that the run file names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pluggy

from rft_core.specs import (
    CommandSpec,
    DataSourceSpec,
    GraderSpec,
    ModelSourceSpec,
    ObserverSpec,
    OptimizerPartSpec,
    OptimizerSpec,
    SamplerSpec,
)

PROJECT = "rft_engine"
ENTRY_POINT_GROUP = "rft_engine.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def rft_data_sources() -> Iterable[DataSourceSpec]:  # type: ignore[empty-body]
    """Register data sources, named by `data.train.type` and its siblings."""


@hookspec
def rft_model_sources() -> Iterable[ModelSourceSpec]:  # type: ignore[empty-body]
    """Register ways to obtain the starting model, named by `model.type`."""


@hookspec
def rft_samplers() -> Iterable[SamplerSpec]:  # type: ignore[empty-body]
    """Register samplers, named by `sampler.type`."""


@hookspec
def rft_graders() -> Iterable[GraderSpec]:  # type: ignore[empty-body]
    """Register graders, named by `grader.type`."""


@hookspec
def rft_optimizers() -> Iterable[OptimizerSpec]:  # type: ignore[empty-body]
    """Register optimizers, named by `optimizer.type`."""


@hookspec
def rft_optimizer_parts() -> Iterable[OptimizerPartSpec]:  # type: ignore[empty-body]
    """Register parts for optimizers that are assembled from parts, such as advantage estimators."""


@hookspec
def rft_observers() -> Iterable[ObserverSpec]:  # type: ignore[empty-body]
    """Register observers, named in the list `observers`."""


@hookspec
def rft_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Register sub-commands of `rft-engine`."""


@hookspec
def rft_run_started(event: Mapping[str, object]) -> None:
    """A run starts or resumes. `event`: run_dir, run_id, total_steps, and the step it stands at."""


@hookspec
def rft_step_finished(event: Mapping[str, object]) -> None:
    """A step counts. `event`: the step's line of metrics.jsonl."""


@hookspec
def rft_evaluation_finished(event: Mapping[str, object]) -> None:
    """An evaluation is stored. `event`: step, split, and its metrics."""


@hookspec
def rft_checkpoint_saved(event: Mapping[str, object]) -> None:
    """A checkpoint is complete on disk. `event`: step, path."""


@hookspec
def rft_run_finished(event: Mapping[str, object]) -> None:
    """A run reached its end or was stopped politely. `event`: the summary."""


@hookspec
def rft_run_failed(event: Mapping[str, object]) -> None:
    """A run stopped with an error. `event`: error, run_dir."""
