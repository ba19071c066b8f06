"""The clipped surrogate objective, to be maximised.

    ρ = exp(clamp(logp − logp_old, ±MAX_LOG_RATIO))
    J = min(ρ·A, clip(ρ, 1 − clip_low, 1 + clip_high)·A)

PPO: arXiv 1707.06347, equation 7; per token in GRPO: arXiv 2402.03300, equation 3; two bounds: DAPO,
arXiv 2503.14476. N tokens, log-probabilities in nats.

Edge cases: at ρ = 1 the gradient is A·∇logp, the plain policy gradient. A token clipped on the side its
advantage pushes to has gradient 0. The clamp keeps one broken log-probability from overflowing to
infinity (the same bound as verl's); NaN passes through and is caught before the update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOG_RATIO = 20.0


def clipped_surrogate(
    logprobs_N: Tensor, old_N: Tensor, advantages_N: Tensor, *, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """(J_N with gradient, ρ_N without). `old_N` and `advantages_N` are constants."""
    ratio_N = (logprobs_N - old_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    clipped_N = ratio_N.clamp(1 - clip_low, 1 + clip_high)
    return (ratio_N * advantages_N).minimum(clipped_N * advantages_N), ratio_N.detach()
