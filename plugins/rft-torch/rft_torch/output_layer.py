"""Log-probabilities of given tokens from hidden states and the output layer, without the N × V logits.

    z = (h Wᵀ + b) / temperature,   logprob_n = z_n[y_n] − logsumexp(z_n),   H_n = −Σ_v p_n,v log p_n,v

Tokens go chunk by chunk, the vocabulary block by block, with the online softmax of FlashAttention
(arXiv 2205.14135): a running maximum m, and sums of exp(z − m) that are rescaled when it grows. The target is kept
out of these sums and added at the end, so that 1 − p_y keeps its digits where the model is sure.

The gradient of a log-probability to its hidden state does not depend on the loss but for a factor:

    ∂logprob_n/∂h_n = u_n = ((1 − p_y) W_y − Σ_{v≠y} p_v W_v) / temperature

Where the layer is frozen (LoRA), u is summed up in the forward pass, while the logits are at hand: what is kept is
N × H, and the backward pass is a scaling. Where it is trained, the backward pass makes each block of logits again, or
takes them from memory if they are few (KEPT_LOGITS).

Matrices are multiplied in autocast's dtype, everything else is float32 (float64 for float64 hidden states). Legend: N
tokens, H hidden size, V vocabulary, C tokens of a chunk, B vocabulary of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from rft_torch.forward import MicroBatch, wanted_hidden, wanted_logits
from rft_torch.logprobs import token_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK_WORDS = 4096
"""Most vocabulary of a block."""
BLOCK_LOGITS = 1 << 21
"""Most logits of a block, 8 MiB of float32. Which tokens share a chunk follows from it and the vocabulary alone."""
KEPT_LOGITS = 1 << 24
"""Most logits that a trained layer keeps for its backward pass: 64 MiB of float32. Above, they are made again."""


def is_plain(model: PreTrainedModel) -> bool:
    """Whether the model's logits are its output layer's and nothing else's: a linear layer without an adapter or
    quantisation, and no cap, scale or cut behind it (as Gemma 2, Granite and Cohere have them)."""
    output = model.get_output_embeddings()
    if type(output) is not torch.nn.Linear:
        return False
    said = torch.linspace(-90.0, 90.0, output.out_features, device=output.weight.device, dtype=output.weight.dtype)
    handle = output.register_forward_hook(lambda module, arguments, result: said.expand_as(result))
    try:
        with torch.no_grad():
            ids = torch.zeros(1, 1, dtype=torch.long, device=output.weight.device)
            logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return logits.shape[-1] == len(said) and torch.equal(logits[0, 0].float(), said.float())


def hidden_logprobs(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    temperature: float = 1.0,
    *,
    entropy_grad: bool = False,
) -> tuple[Tensor, Tensor]:
    """(logprobs_N with gradient, entropy_N with one if `entropy_grad`), in nats. `temperature` must be above 0.

    Logits of minus infinity are not supported; NaN stays NaN.
    """
    dtype = hidden_NH.dtype
    if torch.is_autocast_enabled(hidden_NH.device.type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(hidden_NH.device.type)
    trained = weight_VH.requires_grad or (bias_V is not None and bias_V.requires_grad)
    grad = torch.is_grad_enabled()
    layer = _Layer(dtype=dtype, temperature=temperature, entropy_grad=entropy_grad)
    function: Any = _Recomputed if grad and (trained or entropy_grad) else _Linear
    with torch.autocast(hidden_NH.device.type, enabled=False):
        found: tuple[Tensor, Tensor] = function.apply(hidden_NH, weight_VH, bias_V, targets_N, layer, grad)
    return found


def batch_logprobs(
    model: PreTrainedModel, batch: MicroBatch, temperature: float, *, plain: bool, entropy_grad: bool = False
) -> tuple[Tensor, Tensor]:
    """(logprobs_N, entropy_N) of the batch's wanted tokens; from hidden states if the model `is_plain`, else from its
    logits."""
    if not plain:
        logits_NV = wanted_logits(model, batch)
        return token_logprobs(logits_NV, batch.targets_N, temperature, entropy_grad=entropy_grad)
    hidden_NH, output = wanted_hidden(model, batch), model.get_output_embeddings()
    return hidden_logprobs(
        hidden_NH, output.weight, output.bias, batch.targets_N, temperature, entropy_grad=entropy_grad
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """How the output layer computes."""

    dtype: torch.dtype
    """Of matrix products."""
    temperature: float
    entropy_grad: bool

    def tempered(self, logits_CB: Tensor) -> Tensor:
        """z of raw logits, in a buffer of its own unless there is nothing to change."""
        z_CB = logits_CB if logits_CB.dtype == torch.float64 else logits_CB.float()
        return z_CB if self.temperature == 1.0 else z_CB / self.temperature


@dataclass(slots=True)
class _Seen:
    """Of one chunk: what the blocks so far come to, the target left out of every sum."""

    top_C: Tensor
    """m, the largest z, the target's included."""
    sum_C: Tensor
    """Σ e, with e = exp(z − m)."""
    spread_C: Tensor
    """Σ e (z − m)."""
    target_C: Tensor
    """The target's z."""
    pull_CH: Tensor | None
    """Σ e W."""


class _Linear(torch.autograd.Function):
    """A frozen layer: the gradient to hidden states is made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        layer: _Layer,
        grad: bool,
    ) -> tuple[Tensor, Tensor]:
        weight_VH = weight_VH.to(layer.dtype)
        bias_V = None if bias_V is None else bias_V.to(layer.dtype)
        unit_NH = torch.empty_like(hidden_NH) if grad and ctx.needs_input_grad[0] else None
        logprobs_N, entropy_N, _ = _empty(hidden_NH)
        for chunk in _slices(len(hidden_NH), _chunk_tokens(len(weight_VH))):
            hidden_CH, targets_C = hidden_NH[chunk].to(layer.dtype), targets_N[chunk]
            seen = None
            for block in _slices(len(weight_VH), BLOCK_WORDS):
                z_CB = layer.tempered(linear(hidden_CH, weight_VH[block], None if bias_V is None else bias_V[block]))
                seen = _see(seen, z_CB, targets_C - block.start, weight_VH[block] if unit_NH is not None else None)
            assert seen is not None
            logprobs_N[chunk], entropy_N[chunk], rest_C, total_C = _finish(seen)
            if unit_NH is not None and seen.pull_CH is not None:
                own_CH = weight_VH[targets_C].to(seen.pull_CH.dtype).mul_((rest_C / total_C)[:, None])
                unit_NH[chunk] = own_CH.sub_(seen.pull_CH.div_(total_C[:, None])).div_(layer.temperature)
        ctx.save_for_backward(unit_NH)
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (unit_NH,) = ctx.saved_tensors
        grad_NH = None if unit_NH is None else unit_NH * upstream[0][:, None].to(unit_NH.dtype)
        return grad_NH, None, None, None, None, None


class _Recomputed(torch.autograd.Function):
    """A layer that is trained, or an entropy that is: the backward pass reads each block of logits once more."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        layer: _Layer,
        grad: bool,
    ) -> tuple[Tensor, Tensor]:
        kept_NV = None
        if len(hidden_NH) * len(weight_VH) <= KEPT_LOGITS:
            kept_NV = _logits(hidden_NH, weight_VH, bias_V, layer)
        logprobs_N, entropy_N, lse_N = _empty(hidden_NH)
        for chunk in _slices(len(hidden_NH), _chunk_tokens(len(weight_VH))):
            seen = None
            for block in _slices(len(weight_VH), BLOCK_WORDS):
                z_CB = _read(kept_NV, hidden_NH, weight_VH, bias_V, layer, chunk, block)
                seen = _see(seen, z_CB, targets_N[chunk] - block.start, None)
            assert seen is not None
            logprobs_N[chunk], entropy_N[chunk], _, total_C = _finish(seen)
            lse_N[chunk] = seen.top_C + total_C.log()
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, targets_N, lse_N, entropy_N, kept_NV)
        ctx.layer = layer
        if not layer.entropy_grad:
            ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V, targets_N, lse_N, entropy_N, kept_NV = ctx.saved_tensors
        layer = ctx.layer
        grads = [
            torch.zeros_like(one, dtype=lse_N.dtype) if one is not None and needed else None
            for one, needed in zip((hidden_NH, weight_VH, bias_V), ctx.needs_input_grad[:3], strict=True)
        ]
        up_N1 = (upstream[0] / layer.temperature)[:, None]
        spread_N1 = (upstream[1] / layer.temperature)[:, None] if layer.entropy_grad else None
        for chunk in _slices(len(hidden_NH), _chunk_tokens(len(weight_VH))):
            hidden_CH = hidden_NH[chunk].to(layer.dtype)
            for block in _slices(len(weight_VH), BLOCK_WORDS):
                z_CB = _read(kept_NV, hidden_NH, weight_VH, bias_V, layer, chunk, block)
                logp_CB = z_CB.sub_(lse_N[chunk, None])
                if spread_N1 is None:
                    grad_CB = logp_CB.exp_().mul_(-up_N1[chunk])
                else:  # dH/dz = −p (log p + H)
                    grad_CB = logp_CB.exp()
                    logp_CB.add_(entropy_N[chunk, None]).mul_(spread_N1[chunk]).add_(up_N1[chunk])
                    grad_CB.mul_(logp_CB.neg_())
                _add_at(grad_CB, targets_N[chunk] - block.start, up_N1[chunk])
                _accumulate(grads, chunk, block, grad_CB, hidden_CH, weight_VH[block].to(layer.dtype))
        found = [
            None if grad is None else grad.to(one.dtype)
            for grad, one in zip(grads, (hidden_NH, weight_VH, bias_V), strict=True)
        ]
        return found[0], found[1], found[2], None, None, None


def _see(seen: _Seen | None, z_CB: Tensor, at_C: Tensor, weight_BH: Tensor | None) -> _Seen:
    """Add a block. `at_C` is where in it the target stands, or outside of it. Fills `z_CB` with something else."""
    inside_C = (at_C >= 0) & (at_C < z_CB.shape[1])
    at_C1 = at_C.clamp(0, z_CB.shape[1] - 1)[:, None]
    own_C = z_CB.gather(1, at_C1)[:, 0]
    top_C = z_CB.amax(dim=1)
    if seen is not None:
        top_C = top_C.maximum(seen.top_C)
    z_CB.sub_(top_C[:, None])
    e_CB = z_CB.exp()
    e_CB.scatter_(1, at_C1, e_CB.gather(1, at_C1).masked_fill(inside_C[:, None], 0.0))
    sum_C, spread_C = e_CB.sum(dim=1), torch.linalg.vecdot(e_CB, z_CB)
    pull_CH = None if weight_BH is None else (e_CB.to(weight_BH.dtype) @ weight_BH).to(e_CB.dtype)
    if seen is None:
        return _Seen(top_C, sum_C, spread_C, own_C, pull_CH)
    fall_C = seen.top_C - top_C
    shrink_C = fall_C.exp()
    spread_C += shrink_C * (seen.spread_C + fall_C * seen.sum_C)
    sum_C += shrink_C * seen.sum_C
    if pull_CH is not None and seen.pull_CH is not None:
        pull_CH = seen.pull_CH.mul_(shrink_C[:, None]).add_(pull_CH)
    return _Seen(top_C, sum_C, spread_C, own_C.where(inside_C, seen.target_C), pull_CH)


def _finish(seen: _Seen) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probability and entropy of a chunk, and Σ e without and with the target."""
    above_C = seen.target_C - seen.top_C
    e_C = above_C.exp()
    total_C = seen.sum_C + e_C
    log_C = total_C.log()
    return above_C - log_C, log_C - (seen.spread_C + e_C * above_C) / total_C, seen.sum_C, total_C


def _read(
    kept_NV: Tensor | None,
    hidden_NH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    layer: _Layer,
    chunk: slice,
    block: slice,
) -> Tensor:
    """z of a block, in a buffer of its own."""
    if kept_NV is not None:
        z_CB = layer.tempered(kept_NV[chunk, block])
        return z_CB.clone() if z_CB.data_ptr() == kept_NV[chunk, block].data_ptr() else z_CB
    bias_B = None if bias_V is None else bias_V[block]
    return layer.tempered(_logits(hidden_NH[chunk], weight_VH[block], bias_B, layer))


def _logits(hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, layer: _Layer) -> Tensor:
    bias_V = None if bias_V is None else bias_V.to(layer.dtype)
    return linear(hidden_NH.to(layer.dtype), weight_VH.to(layer.dtype), bias_V)


def _add_at(grad_CB: Tensor, at_C: Tensor, value_C1: Tensor) -> None:
    """Add the values where the targets stand, if they stand in this block."""
    inside_C = (at_C >= 0) & (at_C < grad_CB.shape[1])
    at_C1 = at_C.clamp(0, grad_CB.shape[1] - 1)[:, None]
    grad_CB.scatter_add_(1, at_C1, value_C1.masked_fill(~inside_C[:, None], 0.0))


def _accumulate(
    grads: list[Tensor | None], chunk: slice, block: slice, grad_CB: Tensor, hidden_CH: Tensor, weight_BH: Tensor
) -> None:
    """Add a block's share to the gradients of hidden states, weight and bias, in place."""
    grad_NH, grad_VH, grad_V = grads
    cast_CB = grad_CB.to(weight_BH.dtype)
    if grad_NH is not None:
        _add_product(grad_NH[chunk], cast_CB, weight_BH)
    if grad_VH is not None:
        _add_product(grad_VH[block], cast_CB.T, hidden_CH)
    if grad_V is not None:
        grad_V[block] += grad_CB.sum(dim=0)


def _add_product(into: Tensor, a: Tensor, b: Tensor) -> None:
    if into.dtype == a.dtype:
        into.addmm_(a, b)
    else:
        into += a @ b


def _empty(hidden_NH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.float64 if hidden_NH.dtype == torch.float64 else torch.float32
    first, second, third = (hidden_NH.new_empty(len(hidden_NH), dtype=dtype) for _ in range(3))
    return first, second, third


def _chunk_tokens(vocabulary: int) -> int:
    return max(1, BLOCK_LOGITS // min(vocabulary, BLOCK_WORDS))


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
