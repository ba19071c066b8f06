"""Log-probabilities of given tokens under a tempered softmax, and its entropy, in one pass.

    logprob_n = z_n[y_n] − logsumexp(z_n),   H_n = logsumexp(z_n) − Σ_v softmax(z_n)_v z_n,v,   z = logits / temperature

With a vocabulary of 10⁵ the logits are the largest tensor there is, and a chain of log_softmax and
gather would keep and fill several of their size. Here both passes go through the tokens chunk by
chunk: what is kept is the logits as the model made them and one number per token, and the backward
pass, (onehot − softmax) · upstream, fills one more buffer like the logits. The entropy is a metric
without gradient unless one is asked for: ∂H/∂z = −softmax · (log softmax + H).

This is for models that change their logits behind the output layer; see `output_layer` for all others.

Legend: N tokens, V vocabulary, C tokens of a chunk. Results are float32 (float64 for float64 logits)
and in nats.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 1 << 22
"""Most logits of a chunk, 16 MiB of float32. Which tokens share one follows from N and V alone."""


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, targets_N: Tensor, temperature: float, entropy_grad: bool
    ) -> tuple[Tensor, Tensor]:
        dtype = torch.float64 if logits_NV.dtype == torch.float64 else torch.float32
        logprobs_N, entropy_N, lse_N = (logits_NV.new_empty(len(logits_NV), dtype=dtype) for _ in range(3))
        for chunk in _chunks(logits_NV):
            z_CV = _tempered(logits_NV[chunk], temperature)
            lse_N[chunk] = lse_C = z_CV.logsumexp(dim=-1)
            logprobs_N[chunk] = z_CV.gather(1, targets_N[chunk, None])[:, 0] - lse_C
            softmax_CV = (z_CV - lse_C[:, None]).exp_()
            # a logit of −inf (a token that is ruled out) gives 0 · −inf, which counts as 0
            entropy_N[chunk] = lse_C - softmax_CV.mul_(z_CV).nan_to_num_(nan=0.0).sum(dim=-1)
        ctx.save_for_backward(logits_NV, targets_N, lse_N, entropy_N)
        ctx.temperature = temperature
        ctx.entropy_grad = entropy_grad
        if not entropy_grad:
            ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        logits_NV, targets_N, lse_N, entropy_N = ctx.saved_tensors
        scaled_N1 = (upstream[0] / ctx.temperature)[:, None]
        grad_NV = torch.empty_like(logits_NV)
        for chunk in _chunks(logits_NV):
            z_CV = _tempered(logits_NV[chunk], ctx.temperature)
            grad_CV = z_CV - lse_N[chunk, None]
            if ctx.entropy_grad:
                pull_CV = (grad_CV + entropy_N[chunk, None]).mul_((upstream[1][chunk] / ctx.temperature)[:, None])
                grad_CV.exp_().mul_(pull_CV.add_(scaled_N1[chunk]).neg_())
            else:
                grad_CV.exp_().mul_(-scaled_N1[chunk])
            grad_NV[chunk] = grad_CV.scatter_add_(1, targets_N[chunk, None], scaled_N1[chunk])
        return grad_NV, None, None, None


def token_logprobs(
    logits_NV: Tensor, targets_N: Tensor, temperature: float = 1.0, *, entropy_grad: bool = False
) -> tuple[Tensor, Tensor]:
    """(logprobs_N with gradient, entropy_N with one if `entropy_grad`). `temperature` must be above 0."""
    function: Any = _TokenLogprobs
    found: tuple[Tensor, Tensor] = function.apply(logits_NV, targets_N, temperature, entropy_grad)
    return found


def _chunks(logits_NV: Tensor) -> Iterator[slice]:
    count, vocabulary = logits_NV.shape
    rows = max(1, CHUNK_LOGITS // vocabulary)
    return (slice(start, start + rows) for start in range(0, count, rows))


def _tempered(logits_CV: Tensor, temperature: float) -> Tensor:
    """Not a copy where there is nothing to change."""
    z_CV = logits_CV if logits_CV.dtype == torch.float64 else logits_CV.float()
    return z_CV if temperature == 1.0 else z_CV / temperature
