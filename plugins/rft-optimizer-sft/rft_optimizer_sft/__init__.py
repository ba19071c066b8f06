"""Supervised fine-tuning on a target template over the row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rft_core.hookspecs import hookimpl
from rft_core.specs import BuildContext, OptimizerSpec
from rft_optimizer_sft.config import SftConfig, target_variables
from rft_optimizer_sft.targets import target_of
from rft_torch.packages import check_packages

if TYPE_CHECKING:
    from rft_core.protocols import Optimizer


@hookimpl
def rft_optimizers() -> Iterable[OptimizerSpec]:
    """The optimizer `sft`."""
    yield OptimizerSpec(
        name="sft",
        config=SftConfig,
        build=_build,
        summary="Supervised fine-tuning on a target template over the row",
        needs="labels",
        variables=target_variables,
        check=lambda config, context: check_packages(config),
        check_row=lambda config, item: target_of(item, config.target),
    )


def _build(config: SftConfig, context: BuildContext) -> Optimizer:
    from rft_optimizer_sft.optimizer import Sft

    return Sft(config, context)
