"""Towards a teacher, token by token: on-policy distillation (arXiv 2306.13649, with reverse KL).

    A_t = log p_teacher(token_t) − log p_policy(token_t) + reward_weight · A_t of the group's rewards

With the objective `reinforce` the gradient is that of −KL(policy ‖ teacher) at each token of the policy's
own samples, each looked at for itself (a discount of 0). The teacher is `kl.reference`; the log-probabilities
of the policy are those before the step.

Edge cases: where both agree the advantage is 0; groups of one do; without a reference a ValueError.
Rewards are left out with a `reward_weight` of 0, so that a grader is only watched.
"""

from __future__ import annotations

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.advantages.group import GroupNormalizedSettings, group_normalized
from rft_optimizer_policy_gradient.scored import Advantage, Groups


class DistillationSettings(ComponentConfig):
    """Settings of `distillation`."""

    reward_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the group-normalised rewards beside the teacher; 0 learns from the teacher alone.",
    )


def distillation(groups: Groups, settings: DistillationSettings) -> list[list[Advantage]]:
    """The gap to the teacher per token."""
    rewards = group_normalized(groups, GroupNormalizedSettings())
    found: list[list[Advantage]] = []
    for group, of_rewards in zip(groups, rewards, strict=True):
        found.append([])
        for scored, of_reward in zip(group, of_rewards, strict=True):
            if scored.gap_T is None:
                raise ValueError("the advantage 'distillation' needs a teacher; set optimizer.kl.reference")
            reward = 0.0 if of_reward is None else float(of_reward)
            found[-1].append(scored.gap_T + settings.reward_weight * reward)
    return found
