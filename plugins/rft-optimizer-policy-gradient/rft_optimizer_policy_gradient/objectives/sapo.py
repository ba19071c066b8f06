"""A soft gate in place of the clip: SAPO, arXiv 2511.20347, section 3.

    J = 4/τ · σ(τ·(ρ − 1)) · A,   τ = positive where A > 0, else negative

Its gradient is that of ρ·A at ρ = 1 and fades on both sides, faster for a larger τ: tokens that are pushed
down are left alone sooner, because they spread their mass over the whole vocabulary.

Edge cases: none is cut off, so nothing counts as clipped.
"""

from __future__ import annotations

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.tokens import Surrogate, Tokens, exp_bounded


class SapoSettings(ComponentConfig):
    """Settings of `sapo`."""

    positive: float = Field(1.0, gt=0, description="Temperature τ where the advantage is positive.")
    negative: float = Field(1.05, gt=0, description="Temperature τ elsewhere.")


def sapo(tokens: Tokens, settings: SapoSettings) -> Surrogate:
    """J_N with gradient."""
    ratio_N, advantages_N = exp_bounded(tokens.log_ratio_N), tokens.advantages_N
    tau_N = advantages_N.new_full((), settings.positive).where(advantages_N > 0, settings.negative)
    return Surrogate((tau_N * (ratio_N - 1)).sigmoid() * 4 / tau_N * advantages_N)
