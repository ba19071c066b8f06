"""The k3 estimator of KL(policy ‖ reference), per token.

    k3 = exp(d) − d − 1,   d = logp_ref − logp

Schulman, http://joschu.net/blog/kl-approx.html; GRPO's equation 4, arXiv 2402.03300. Unbiased under
samples of the policy, never negative, and exactly 0 with gradient 0 where the two agree.

Edge case: `d` is bounded by MAX_LOG_RATIO, so that a token the policy has all but given up does not
overflow; there the gradient of the penalty is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOG_RATIO = 20.0


def k3(logprobs_N: Tensor, reference_N: Tensor) -> Tensor:
    """Estimate_N in nats. `reference_N` is a constant."""
    d_N = (reference_N - logprobs_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return d_N.expm1() - d_N
