"""Compared with the whole batch: REINFORCE++, arXiv 2501.03262.

    A_i,t = (R_i,t − mean(R)) / (std(R) + eps),   R_i,t = Σ_{u ≥ t} reward_i,u        batch_normalized
    A_i   = (c_i − mean(c)) / (std(c) + eps),     c_i = r_i − mean of i's group       group_mean_batch_normalized

The reward of a token is the penalty for its KL where `kl.in_reward` is set (the paper's equation 5) and,
at the last token, the grader's; without a penalty R is the same for all tokens of a rollout. Mean and
standard deviation are over all tokens of the batch, as in OpenRLHF: a long rollout counts more.

Edge cases: a batch without differences gives exactly 0; with the group's baseline, a rollout alone in
its group has no advantage; without it, groups of one do.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.advantages.group import centered
from rft_optimizer_policy_gradient.scored import Advantage, Groups, Values, per_group


class BatchNormalizedSettings(ComponentConfig):
    """Settings of `batch_normalized` and `group_mean_batch_normalized`."""

    eps: float = Field(1e-8, gt=0, description="Added to the standard deviation.")


def batch_normalized(groups: Groups, settings: BatchNormalizedSettings) -> list[list[Advantage]]:
    """Rewards to come, in units of their spread over the batch."""
    return normalized([[s.per_token()[::-1].cumsum()[::-1] for s in group] for group in groups], settings.eps)


def group_mean_batch_normalized(groups: Groups, settings: BatchNormalizedSettings) -> list[list[Advantage]]:
    """Rewards minus their group's mean, in units of the spread over the batch."""
    import numpy as np

    centered_rewards = per_group(groups, centered)
    per_token = [
        [None if c is None else np.full(s.tokens, c) for c, s in zip(cs, group, strict=True)]
        for cs, group in zip(centered_rewards, groups, strict=True)
    ]
    return normalized(per_token, settings.eps)


def normalized(values: Sequence[Sequence[Values | None]], eps: float) -> list[list[Advantage]]:
    """Per-token values minus their mean over the batch, in units of their standard deviation (n − 1)."""
    import numpy as np

    every = [v for group in values for v in group if v is not None]
    flat = np.concatenate(every) if every else np.zeros(0)
    if flat.size < 2 or flat.min() == flat.max():
        return [[None if v is None else np.zeros_like(v) for v in group] for group in values]
    middle, scale = flat.mean(), flat.std(ddof=1) + eps
    return [[None if v is None else (v - middle) / scale for v in group] for group in values]
