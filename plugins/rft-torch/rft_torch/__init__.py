"""What samplers and optimizers on torch share: models, weights, log-probabilities, export."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rft_core.hookspecs import hookimpl
from rft_core.specs import CommandSpec, ModelSourceSpec
from rft_torch.source import PretrainedConfig, build_source

if TYPE_CHECKING:
    import click


@hookimpl
def rft_model_sources() -> Iterable[ModelSourceSpec]:
    """The source `pretrained`."""
    yield ModelSourceSpec(
        name="pretrained",
        config=PretrainedConfig,
        build=build_source,
        summary="A Hugging Face model, from a folder or the hub",
    )


@hookimpl
def rft_commands() -> Iterable[CommandSpec]:
    """The command `export`."""
    yield CommandSpec(
        name="export",
        load=_export,
        function=_export_checkpoint,
        summary="Write a checkpoint as a plain Hugging Face folder",
    )


def _export() -> click.Command:
    from rft_torch.export import export

    return export


def _export_checkpoint(run_dir: Path, out: Path, **options: Any) -> dict[str, Any]:
    from rft_torch.export import export_checkpoint

    return export_checkpoint(run_dir, out, **options)
