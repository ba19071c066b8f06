"""The clipped surrogate.

    J = min(ρ·A, clip(ρ, 1 − low, 1 + high)·A)
    and with `dual`, where A < 0:  J = max(that, dual·A)

PPO: arXiv 1707.06347, equation 7; per token in GRPO: arXiv 2402.03300, equation 3; two bounds: DAPO, arXiv
2503.14476, equation 10; dual clip: arXiv 1912.09729, equation 8 (TRL's `delta`).

Edge cases: at ρ = 1 the gradient is A·∇logp, the plain policy gradient. A token clipped on the side its
advantage pushes to has gradient 0.
"""

from __future__ import annotations

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.tokens import Surrogate, Tokens, exp_bounded


class ClipSettings(ComponentConfig):
    """Settings of `clip`."""

    low: float = Field(0.2, ge=0, lt=1, description="The ratio earns nothing below 1 - low.")
    high: float = Field(0.2, ge=0, description="The ratio earns nothing above 1 + high.")
    dual: float | None = Field(
        None, gt=1, description="Bound of the ratio where the advantage is negative, 3 in the paper; null sets none."
    )


def clip(tokens: Tokens, settings: ClipSettings) -> Surrogate:
    """J_N with gradient."""
    ratio_N, advantages_N = exp_bounded(tokens.log_ratio_N), tokens.advantages_N
    clipped_N = ratio_N.clamp(1 - settings.low, 1 + settings.high)
    value_N = (ratio_N * advantages_N).minimum(clipped_N * advantages_N)
    if settings.dual is not None:
        value_N = value_N.where(advantages_N >= 0, value_N.maximum(settings.dual * advantages_N))
    return Surrogate(
        value_N,
        low_N=(ratio_N < 1 - settings.low) & (advantages_N < 0),
        high_N=(ratio_N > 1 + settings.high) & (advantages_N > 0),
    )
