"""How much better than its group each rollout did.

    A_i = (r_i − mean(r)) / (std(r) + EPS)     group_normalized, GRPO: arXiv 2402.03300, section 4.1.2
    A_i =  r_i − mean(r)                       group_centered, Dr. GRPO: arXiv 2503.20783

`r` are the rewards of the group's rollouts that have one; the others are no part of the baseline.
`std` is the sample standard deviation (n − 1), as in TRL and verl. Computed in float64.

Edge cases: equal rewards give exactly 0, not a rounding error divided by EPS; a group needs two rewards
(ValueError), because one alone says nothing about better or worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

EPS = 1e-6


def group_centered(rewards: Sequence[float]) -> list[float]:
    """Rewards minus their mean."""
    if len(rewards) < 2:
        raise ValueError(f"an advantage needs at least two rewards in a group, got {len(rewards)}")
    if min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def group_normalized(rewards: Sequence[float]) -> list[float]:
    """Centred rewards in units of their standard deviation."""
    centered = group_centered(rewards)
    std = math.sqrt(math.fsum(c * c for c in centered) / (len(centered) - 1))
    return [c / (std + EPS) for c in centered]
