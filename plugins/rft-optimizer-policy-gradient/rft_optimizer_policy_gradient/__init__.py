"""Policy-gradient optimizer: GRPO."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rft_core.hookspecs import hookimpl
from rft_core.specs import BuildContext, OptimizerPartSpec, OptimizerSpec
from rft_optimizer_policy_gradient.advantage import group_centered, group_normalized
from rft_optimizer_policy_gradient.config import PolicyGradientConfig
from rft_optimizer_policy_gradient.kl import k3
from rft_optimizer_policy_gradient.objective import clipped_surrogate

if TYPE_CHECKING:
    from rft_core.protocols import Optimizer


@hookimpl
def rft_optimizers() -> Iterable[OptimizerSpec]:
    """The optimizer `policy_gradient`."""
    yield OptimizerSpec(
        name="policy_gradient",
        config=PolicyGradientConfig,
        build=_build,
        summary="GRPO: learn from the rollouts of a group that did better than the others",
        needs="rollouts",
    )


@hookimpl
def rft_optimizer_parts() -> Iterable[OptimizerPartSpec]:
    """What the optimizer is made of."""
    yield OptimizerPartSpec(
        name="group_normalized",
        role="advantage",
        function=group_normalized,
        summary="(r - mean) / std of the group (GRPO)",
    )
    yield OptimizerPartSpec(
        name="group_centered", role="advantage", function=group_centered, summary="r - mean of the group (Dr. GRPO)"
    )
    yield OptimizerPartSpec(
        name="clipped_surrogate",
        role="objective",
        function=clipped_surrogate,
        summary="PPO's clipped ratio, with two bounds",
    )
    yield OptimizerPartSpec(
        name="k3", role="kl", function=k3, summary="Schulman's k3 estimator of KL(policy | reference)"
    )


def _build(config: PolicyGradientConfig, context: BuildContext) -> Optimizer:
    from rft_optimizer_policy_gradient.optimizer import PolicyGradient

    return PolicyGradient(config, context)
