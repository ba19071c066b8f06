"""What the parts that compute on tokens are given. Legend: N trained tokens of a micro-batch, R its rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Bound of log-ratios before they are exponentiated, the same as verl's: one broken log-probability does not
overflow to infinity. Beyond it the gradient is 0. NaN passes through and is caught before the update."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rollout each token belongs to."""

    row_N: Tensor
    count: int

    def sum(self, values_N: Tensor) -> Tensor:
        """The sum over each token's own rollout, at every one of its tokens."""
        sums_R = values_N.new_zeros(self.count).index_add(0, self.row_N, values_N)
        return sums_R.index_select(0, self.row_N)

    def mean(self, values_N: Tensor) -> Tensor:
        """The same for the mean."""
        return self.sum(values_N) / self.sum(values_N.new_ones(len(values_N)))


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an objective sees."""

    logprobs_N: Tensor
    """log p of the policy, with gradient."""
    log_ratio_N: Tensor
    """As the ratio part made it, with gradient."""
    advantages_N: Tensor


@dataclass(frozen=True, slots=True)
class Surrogate:
    """What an objective answers."""

    value_N: Tensor
    """To be maximised, with gradient."""
    low_N: Tensor | None = None
    """Tokens that are clipped below: they have no gradient, or a bounded one."""
    high_N: Tensor | None = None


def exp_bounded(log_ratio_N: Tensor) -> Tensor:
    return log_ratio_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
