"""Compared with the mean of the others: RLOO, arXiv 2402.14740, section 2.2.

    A_i = r_i − 1/(n − 1) · Σ_{j ≠ i} r_j  =  n/(n − 1) · (r_i − mean(r))

The baseline of a rollout does not depend on it, so the gradient is unbiased.

Edge cases: equal rewards give exactly 0; a rollout alone in its group has no advantage.
"""

from __future__ import annotations

from collections.abc import Sequence

from rft_core.specs import NoSettings
from rft_optimizer_policy_gradient.advantages.group import centered
from rft_optimizer_policy_gradient.scored import Advantage, Groups, per_group


def leave_one_out(groups: Groups, settings: NoSettings) -> list[list[Advantage]]:
    """Rewards minus the mean of the group's other rewards."""

    def against_the_others(rewards: Sequence[float]) -> list[float]:
        n = len(rewards)
        return [c * n / (n - 1) for c in centered(rewards)]

    return per_group(groups, against_the_others)
