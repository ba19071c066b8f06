"""In units of the success rate: MaxRL, arXiv 2602.02710.

    A_i = (r_i − mean(r)) / mean(r)

For rewards of 0 and 1 this estimates the gradient of log p(success), the likelihood, where the plain
policy gradient follows p(success): a prompt that succeeds in 1 of 16 weighs as much as one that succeeds
in all. Defined for rewards that are never negative.

Edge cases: equal rewards, also all 0, give exactly 0; a rollout alone in its group has no advantage; a
negative reward is a NumericsError.
"""

from __future__ import annotations

from collections.abc import Sequence

from rft_core.errors import NumericsError
from rft_core.specs import NoSettings
from rft_optimizer_policy_gradient.advantages.group import centered
from rft_optimizer_policy_gradient.scored import Advantage, Groups, mean, per_group


def mean_normalized(groups: Groups, settings: NoSettings) -> list[list[Advantage]]:
    """Centred rewards divided by the group's mean reward."""

    def relative(rewards: Sequence[float]) -> list[float]:
        if min(rewards) < 0:
            raise NumericsError(
                f"the advantage 'mean_normalized' divides by the mean reward, so a reward of {min(rewards):g} does not do; begin "
                "a run with another advantage, or with a grader whose rewards start at 0"
            )
        return [c / mean(rewards) for c in centered(rewards)]

    return per_group(groups, relative)
