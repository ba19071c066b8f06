"""Log-probabilities of given tokens under a tempered softmax, and its entropy, in one pass.

    logprob_n = z_n[y_n] − logsumexp(z_n),   H_n = logsumexp(z_n) − Σ_v softmax(z_n)_v z_n,v,   z = logits / temperature

The backward pass writes the gradient, (onehot − softmax) · upstream, into one buffer of the size of
the logits; a chain of log_softmax and gather would keep and fill several. The entropy is a metric and
carries no gradient.

Legend: N tokens, V vocabulary. Results are float32 (float64 for float64 logits) and in nats.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, targets_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        z_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
        if temperature != 1.0:
            z_NV = z_NV / temperature
        lse_N = z_NV.logsumexp(dim=-1)
        softmax_NV = (z_NV - lse_N[:, None]).exp_()
        logprobs_N = z_NV.gather(1, targets_N[:, None])[:, 0] - lse_N
        # a logit of −inf (a token that is ruled out) gives 0 · −inf, which counts as 0
        entropy_N = lse_N - (softmax_NV * z_NV).nan_to_num_(nan=0.0).sum(dim=-1)
        ctx.save_for_backward(softmax_NV, targets_N)
        ctx.temperature = temperature
        ctx.dtype = logits_NV.dtype
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        softmax_NV, targets_N = ctx.saved_tensors
        scaled_N1 = (upstream[0] / ctx.temperature)[:, None]
        grad_NV = softmax_NV * -scaled_N1
        grad_NV.scatter_add_(1, targets_N[:, None], scaled_N1)
        return grad_NV.to(ctx.dtype), None, None


def token_logprobs(logits_NV: Tensor, targets_N: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """(logprobs_N with gradient, entropy_N without). `temperature` must be above 0."""
    logprobs_N, entropy_N = _TokenLogprobs.apply(logits_NV, targets_N, temperature)  # type: ignore[no-untyped-call]
    return logprobs_N, entropy_N
