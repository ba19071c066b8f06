"""How far the policy has moved from the one that the rollouts are from: log π − log π_old.

    token               log ρ_t = log π(y_t) − log π_old(y_t)          PPO (arXiv 1707.06347), GRPO (arXiv 2402.03300)
    sequence            log ρ_t = 1/T · Σ_u log ρ_u                     GSPO, arXiv 2507.18071, equation 7
    sequence_product    log ρ_t = Σ_u log ρ_u                           RLOO as in TRL: the rollout is one action

`sequence` and `sequence_product` give every token of a rollout the same value. With the aggregation
`sequence` the mean over its tokens is then the sequence's own objective, with its gradient.

Edge cases: the product of a long rollout leaves the clip range after the smallest change, which is why GSPO
takes the geometric mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rft_core.specs import NoSettings
from rft_optimizer_policy_gradient.tokens import Rows

if TYPE_CHECKING:
    from torch import Tensor


def token(log_ratio_N: Tensor, rows: Rows, settings: NoSettings) -> Tensor:
    """Each token for itself."""
    return log_ratio_N


def sequence(log_ratio_N: Tensor, rows: Rows, settings: NoSettings) -> Tensor:
    """The geometric mean over the rollout."""
    return rows.mean(log_ratio_N)


def sequence_product(log_ratio_N: Tensor, rows: Rows, settings: NoSettings) -> Tensor:
    """The ratio of the whole rollout."""
    return rows.sum(log_ratio_N)
