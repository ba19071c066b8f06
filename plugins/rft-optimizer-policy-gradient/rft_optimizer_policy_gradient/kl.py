"""Estimates of KL(policy ‖ reference) from the policy's own tokens, with d = log p_reference − log p_policy.

    k1 = −d                    unbiased, may be negative
    k2 = d² / 2                never negative; its gradient in the loss is that of the KL
    k3 = exp(d) − d − 1        unbiased, never negative: GRPO's equation 4, arXiv 2402.03300

Schulman, http://joschu.net/blog/kl-approx.html. In the loss, the gradient of k1 is ∇logp, whose mean over
the policy's samples is 0: it pulls nowhere, so use it in the reward (`kl.in_reward`). That of k2 is right,
that of k3 is right close to the reference (arXiv 2506.09477). With `kl.unbiased` the estimate is multiplied by
the ratio ρ, and the gradient of ρ · k1 or ρ · k3 is that of the KL (arXiv 2512.02556; TRL's default).

Edge cases: exactly 0 where the two agree, for k2 and k3 with gradient 0; d is bounded by MAX_LOG_RATIO, so
that a token the policy has all but given up does not overflow, and beyond it the gradient is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rft_core.specs import NoSettings
from rft_optimizer_policy_gradient.tokens import MAX_LOG_RATIO

if TYPE_CHECKING:
    from torch import Tensor


def k1(logprobs_N: Tensor, reference_N: Tensor, settings: NoSettings) -> Tensor:
    """In nats. `reference_N` is a constant."""
    return logprobs_N - reference_N


def k2(logprobs_N: Tensor, reference_N: Tensor, settings: NoSettings) -> Tensor:
    """In nats."""
    return _gap(logprobs_N, reference_N).square() / 2


def k3(logprobs_N: Tensor, reference_N: Tensor, settings: NoSettings) -> Tensor:
    """In nats."""
    d_N = _gap(logprobs_N, reference_N)
    return d_N.expm1() - d_N


def _gap(logprobs_N: Tensor, reference_N: Tensor) -> Tensor:
    return (reference_N - logprobs_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
