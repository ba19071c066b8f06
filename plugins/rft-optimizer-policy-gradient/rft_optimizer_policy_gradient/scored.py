"""What an advantage estimator sees of a rollout, and what it answers.

An estimator is a function `(groups, settings) -> advantages`: for each group, for each of its rollouts that
has a reward, one `Advantage`. It sees all groups of the step, because some estimators compare across them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Values: TypeAlias = "NDArray[np.float64]"
"""One number per trained token of a rollout."""
Advantage: TypeAlias = "float | Values | None"
"""The same for all tokens, one for each, or None where nothing can be said, as of a group of one."""
Groups: TypeAlias = "Sequence[Sequence[Scored]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A rollout with a reward, before anybody knows whether it was a good one."""

    reward: float
    tokens: int
    """Trained tokens, T."""
    sub_rewards: Mapping[str, float] = field(default_factory=dict)
    """By grader, where several go into the reward."""
    penalty_T: Values | None = None
    """What KL costs each token, in units of reward (`kl.in_reward`); None where it is no part of the reward."""
    values_T: Values | None = None
    """What a critic expects before each token; None without one."""
    gap_T: Values | None = None
    """log p_reference − log p_policy of each token; None where no reference was asked."""

    @property
    def total(self) -> float:
        """The reward of the whole rollout, its penalty taken off."""
        return self.reward if self.penalty_T is None else self.reward - math.fsum(self.penalty_T)

    def per_token(self) -> Values:
        """rewards_T: penalties where they arise, the grader's reward at the last token."""
        import numpy as np

        rewards_T = np.zeros(self.tokens) if self.penalty_T is None else -self.penalty_T
        if self.tokens:
            rewards_T[-1] += self.reward
        return rewards_T


def per_group(groups: Groups, estimate: Callable[[Sequence[float]], Sequence[float]]) -> list[list[Advantage]]:
    """`estimate` for the totals of each group that has at least two; None for a rollout alone in its group.
    Equal totals give exactly 0, not a rounding error divided by something small."""
    return [_of_group([scored.total for scored in group], estimate) for group in groups]


def _of_group(totals: Sequence[float], estimate: Callable[[Sequence[float]], Sequence[float]]) -> list[Advantage]:
    if len(totals) < 2:
        return [None] * len(totals)
    if min(totals) == max(totals):
        return [0.0] * len(totals)
    return list(estimate(totals))


def all_equal(groups: Groups) -> bool:
    """Whether the rewards of all rollouts of the batch are the same, penalties taken off."""
    totals = {scored.total for group in groups for scored in group}
    return len(totals) <= 1


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float:
    """Of a sample: n − 1 in the denominator."""
    middle = mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1))
