"""The reward itself, without a baseline: REINFORCE as Williams wrote it (1992).

    A_i = r_i

Unbiased and noisy: with rewards from 0 to 1 nothing ever pushes an answer down. For comparison, and for
graders whose rewards are centred already.

Edge cases: a batch whose rewards are all equal cannot say what is better and gives exactly 0; groups of one do.
"""

from __future__ import annotations

from rft_core.specs import NoSettings
from rft_optimizer_policy_gradient.scored import Advantage, Groups, all_equal


def raw(groups: Groups, settings: NoSettings) -> list[list[Advantage]]:
    """Rewards as they are, with a KL penalty taken off where there is one."""
    if all_equal(groups):
        return [[0.0] * len(group) for group in groups]
    return [[scored.total for scored in group] for group in groups]
