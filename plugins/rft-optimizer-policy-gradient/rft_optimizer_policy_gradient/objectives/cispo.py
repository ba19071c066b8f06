"""Clipped importance weights: CISPO, arXiv 2506.13585, equations 4 and 5.

    J = sg(min(ρ, max_ratio)) · A · log π(y_t)

The weight is bounded and carries no gradient, so every token keeps one: rare tokens, whose ratio moves
most, are not lost as under `clip`.

Edge cases: at ρ = 1 the gradient is A·∇logp. `max_ratio` is the bound itself (1 + ε_high of the paper).
"""

from __future__ import annotations

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.tokens import Surrogate, Tokens, exp_bounded


class CispoSettings(ComponentConfig):
    """Settings of `cispo`."""

    max_ratio: float = Field(5.0, ge=1, description="Largest weight of a token.")


def cispo(tokens: Tokens, settings: CispoSettings) -> Surrogate:
    """J_N with gradient."""
    ratio_N = exp_bounded(tokens.log_ratio_N.detach())
    value_N = ratio_N.clamp(max=settings.max_ratio) * tokens.advantages_N * tokens.logprobs_N
    return Surrogate(value_N, high_N=(ratio_N > settings.max_ratio) & (tokens.advantages_N > 0))
