"""Compared with the other rollouts of the same prompt.

    A_i = (r_i − mean(r)) / (std(r) + eps)     group_normalized, GRPO: arXiv 2402.03300, section 4.1.2
    A_i =  r_i − mean(r)                       group_mean, Dr. GRPO: arXiv 2503.20783, section 3.2

`r` are the rewards of the group's rollouts that have one; the others are no part of the baseline. `std` is
that of a sample (n − 1), as in TRL and verl. Dr. GRPO leaves the division out, because it weighs up
prompts that nearly always or nearly never succeed.

Edge cases: equal rewards give exactly 0; a rollout alone in its group has no advantage.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from rft_core.specs import ComponentConfig, NoSettings
from rft_optimizer_policy_gradient.scored import Advantage, Groups, mean, per_group, standard_deviation


class GroupNormalizedSettings(ComponentConfig):
    """Settings of `group_normalized`."""

    eps: float = Field(1e-6, gt=0, description="Added to the standard deviation; TRL adds 1e-4.")


def group_mean(groups: Groups, settings: NoSettings) -> list[list[Advantage]]:
    """Rewards minus their group's mean."""
    return per_group(groups, centered)


def group_normalized(groups: Groups, settings: GroupNormalizedSettings) -> list[list[Advantage]]:
    """The same in units of the group's standard deviation."""

    def normalized(rewards: Sequence[float]) -> list[float]:
        scale = standard_deviation(rewards) + settings.eps
        return [c / scale for c in centered(rewards)]

    return per_group(groups, normalized)


def centered(rewards: Sequence[float]) -> list[float]:
    middle = mean(rewards)
    return [reward - middle for reward in rewards]
