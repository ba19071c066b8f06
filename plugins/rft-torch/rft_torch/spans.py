"""Attention over many rows in one stream of tokens, each seeing its own past and its prefix alone.

A span is a run of tokens that attends to itself causally and to all of one other run, its context: a prefix has none,
a row has its prefix. That is a block-diagonal causal mask over the stream, but no mask of its size is made: spans of
like lengths are cut out, padded to the longest of them, computed together and put back. Everything else in a layer
sees no padding, and the layers are gone through once for prefixes and rows.

On CPU, probabilities are made again in the backward pass from the scores' logsumexp, as in FlashAttention
(arXiv 2205.14135), by batched matrix products, which are several times as fast there as torch's own:

    P = exp(s Q Kᵀ − lse),  dV = Pᵀ dO,  dS = P ∘ (dO Vᵀ − Σ_d dO ∘ O),  dQ = s dS K,  dK = s dSᵀ Q

Scores are float32 whatever the inputs are. Elsewhere torch's attention is used with a mask per bucket.

Legend: L tokens of the stream, B spans of a bucket, T their own length, C context length, S = C + T, H heads, K heads of
keys, R = H / K, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "rft_spans"
"""Of the attention among transformers' implementations."""
MOST_SCORES = 1 << 22
"""Most scores that the backward pass makes at once, 16 MiB of float32, if one query head of one span has no more."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Spans that are computed together."""

    queries_BT: Tensor
    """Where in the stream each query stands; pads point to the stream's first token."""
    keys_BS: Tensor
    context_B: Tensor
    """True length of each context."""
    context: int
    """C: keys before the span's own."""

    def sees(self, spans: slice, queries: slice) -> Tensor:
        """mask_BTS of some spans and queries."""
        size, device = self.keys_BS.shape[1], self.keys_BS.device
        at_S = torch.arange(size, device=device)
        own_TS = (at_S >= self.context) & (at_S - self.context <= torch.arange(size, device=device)[queries, None])
        return own_TS | (at_S < self.context_B[spans, None, None])


@dataclass(frozen=True, slots=True)
class Spans:
    """How a stream is cut."""

    buckets: tuple[Bucket, ...]
    back_L: Tensor
    """Where each token's output stands in the buckets' flattened B × T, one after the other."""


def cut(spans: Sequence[tuple[range, range]], device: torch.device) -> Spans:
    """Buckets for (context, own) ranges of the stream, which cover it once with `own`. Lengths in a bucket are
    within a factor of two."""
    groups: dict[tuple[int, int], list[tuple[range, range]]] = {}
    for context, own in spans:
        groups.setdefault((len(own).bit_length(), len(context).bit_length()), []).append((context, own))
    back = [0] * sum(len(own) for _, own in spans)
    buckets = []
    start = 0
    for group in groups.values():
        width, size = (max(len(span[part]) for span in group) for part in (1, 0))
        for i, (_, own) in enumerate(group):
            for step, at in enumerate(own):
                back[at] = start + i * width + step
        start += len(group) * width
        queries = [[*own, *[0] * (width - len(own))] for _, own in group]
        contexts = [[*context, *[0] * (size - len(context))] for context, _ in group]
        buckets.append(
            Bucket(
                queries_BT=torch.tensor(queries, device=device),
                keys_BS=torch.tensor([[*c, *q] for c, q in zip(contexts, queries, strict=True)], device=device),
                context_B=torch.tensor([len(context) for context, _ in group], device=device),
                context=size,
            )
        )
    return Spans(tuple(buckets), torch.tensor(back, device=device))


def register() -> None:
    """Make the attention known to transformers, by `NAME`. Without spans it is torch's, as under `sdpa`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **named: Any
    ) -> tuple[Tensor, None]:
        spans = named.pop("spans", None)
        if spans is None:
            found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **named)
            return found
        if torch.is_autocast_enabled(query.device.type):  # as torch's own attention has it
            dtype = torch.get_autocast_dtype(query.device.type)
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        scale = named.get("scaling") or query.shape[-1] ** -0.5
        return attend(query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), spans, scale)[
            None
        ], None

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(query_LHD: Tensor, key_LKD: Tensor, value_LKD: Tensor, spans: Spans, scale: float) -> Tensor:
    """out_LHD: of each token over what its span sees."""
    if query_LHD.device.type == "cpu":
        function: Any = _Attention
        out_LHD: Tensor = function.apply(query_LHD, key_LKD, value_LKD, spans, scale)
        return out_LHD
    outs = []
    for bucket in spans.buckets:
        query_BHTD = query_LHD[bucket.queries_BT].transpose(1, 2)
        key_BKSD, value_BKSD = key_LKD[bucket.keys_BS].transpose(1, 2), value_LKD[bucket.keys_BS].transpose(1, 2)
        mask_B1TS = bucket.sees(slice(None), slice(query_BHTD.shape[2]))[:, None]
        out_BHTD = scaled_dot_product_attention(
            query_BHTD, key_BKSD, value_BKSD, attn_mask=mask_B1TS, scale=scale, enable_gqa=True
        )
        outs.append(out_BHTD.transpose(1, 2).flatten(0, 1))
    return torch.cat(outs).index_select(0, spans.back_L)


class _Attention(torch.autograd.Function):
    """On CPU."""

    @staticmethod
    def forward(ctx: Any, query_LHD: Tensor, key_LKD: Tensor, value_LKD: Tensor, spans: Spans, scale: float) -> Tensor:
        outs, sums = [], []
        for bucket in spans.buckets:
            query_BHTD = query_LHD[bucket.queries_BT].transpose(1, 2)
            key_BHSD, value_BHSD = (
                _every_head(one_LKD, bucket, query_LHD.shape[1]) for one_LKD in (key_LKD, value_LKD)
            )
            mask_B1TS = None
            if bucket.context:
                sees_BTS = bucket.sees(slice(None), slice(query_BHTD.shape[2]))
                mask_B1TS = torch.zeros(sees_BTS.shape, dtype=query_LHD.dtype).masked_fill_(~sees_BTS, -torch.inf)[
                    :, None
                ]
            out_BHTD, lse_BHT = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query_BHTD, key_BHSD, value_BHSD, is_causal=mask_B1TS is None, attn_mask=mask_B1TS, scale=scale
            )
            outs.append(out_BHTD.transpose(1, 2).flatten(0, 1))
            sums.append(lse_BHT)
        out_LHD = torch.cat(outs).index_select(0, spans.back_L)
        ctx.save_for_backward(query_LHD, key_LKD, value_LKD, out_LHD, *sums)
        ctx.spans, ctx.scale = spans, scale
        return out_LHD

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        query_LHD, key_LKD, value_LKD, out_LHD, *sums = ctx.saved_tensors
        wide = torch.float64 if query_LHD.dtype == torch.float64 else torch.float32
        grads = [torch.zeros_like(one, dtype=wide) for one in (query_LHD, key_LKD, value_LKD)]
        up_LHD = upstream[0].to(query_LHD.dtype)
        dot_LH = (up_LHD.to(wide) * out_LHD.to(wide)).sum(-1)
        start = 0
        for bucket, lse_BHT in zip(ctx.spans.buckets, sums, strict=True):
            real_BT = torch.zeros(bucket.queries_BT.numel(), dtype=torch.bool)
            real_BT[
                ctx.spans.back_L[(ctx.spans.back_L >= start) & (ctx.spans.back_L < start + len(real_BT))] - start
            ] = True
            start += len(real_BT)
            real_BT = real_BT.view_as(bucket.queries_BT)
            for spans, queries in _parts(bucket, query_LHD.shape[1]):
                part = _Part(bucket, spans, queries, lse_BHT, real_BT, ctx.scale)
                part.add(grads, query_LHD, key_LKD, value_LKD, up_LHD, dot_LH)
        found = [grad.to(one.dtype) for grad, one in zip(grads, (query_LHD, key_LKD, value_LKD), strict=True)]
        return found[0], found[1], found[2], None, None


@dataclass(frozen=True, slots=True)
class _Part:
    """Some queries of some spans of a bucket, in the backward pass."""

    bucket: Bucket
    spans: slice
    queries: slice
    lse_BHT: Tensor
    real_BT: Tensor
    """Which queries are no pads."""
    scale: float

    def add(
        self,
        grads: Sequence[Tensor],
        query_LHD: Tensor,
        key_LKD: Tensor,
        value_LKD: Tensor,
        up_LHD: Tensor,
        dot_LH: Tensor,
    ) -> None:
        """Add what these queries give to the gradients of queries, keys and values, in place."""
        wide = dot_LH.dtype
        heads, shared = query_LHD.shape[1], key_LKD.shape[1]
        at_BT = self.bucket.queries_BT[self.spans, self.queries]
        keys_BS = self.bucket.keys_BS[self.spans]
        real_B1T1 = self.real_BT[self.spans, None, self.queries, None]
        query_BKRD, up_BKRD = (_stacked(one_LHD[at_BT], shared) for one_LHD in (query_LHD, up_LHD))
        key_BKSD, value_BKSD = (one_LKD[keys_BS].transpose(1, 2) for one_LKD in (key_LKD, value_LKD))
        lse_BHT1 = self.lse_BHT[self.spans, :, self.queries, None].to(wide)
        dot_BHT1 = dot_LH[at_BT].transpose(1, 2)[..., None]
        sees_B1TS = (self.bucket.sees(self.spans, self.queries)[:, None] & real_B1T1).to(wide)
        shape = (len(at_BT), heads, at_BT.shape[1], keys_BS.shape[1])
        p_BHTS = (query_BKRD.to(wide) @ key_BKSD.to(wide).transpose(-1, -2)).view(shape)
        p_BHTS.mul_(self.scale).sub_(lse_BHT1).clamp_(max=0.0).exp_().mul_(sees_B1TS)
        ds_BHTS = (up_BKRD.to(wide) @ value_BKSD.to(wide).transpose(-1, -2)).view(shape)
        ds_BHTS.sub_(dot_BHT1).mul_(p_BHTS).mul_(self.scale)
        stacked = (len(at_BT), shared, -1, keys_BS.shape[1])
        p_BKRS, ds_BKRS = (one.to(query_LHD.dtype).view(stacked) for one in (p_BHTS, ds_BHTS))
        query_grad = (ds_BKRS @ key_BKSD).view(*shape[:3], -1).transpose(1, 2)
        grads[0].index_add_(0, at_BT.flatten(), query_grad.flatten(0, 1).to(wide))
        for grad, weights_BKRS, states_BKRD in ((grads[1], ds_BKRS, query_BKRD), (grads[2], p_BKRS, up_BKRD)):
            share_BKSD = weights_BKRS.transpose(-1, -2) @ states_BKRD
            grad.index_add_(0, keys_BS.flatten(), share_BKSD.transpose(1, 2).flatten(0, 1).to(wide))


def _parts(bucket: Bucket, heads: int) -> Iterator[tuple[slice, slice]]:
    """Spans and queries of a bucket, cut so that MOST_SCORES holds where it can."""
    count, width = bucket.queries_BT.shape
    size = bucket.keys_BS.shape[1]
    queries = max(1, min(width, MOST_SCORES // (heads * size)))
    spans = max(1, min(count, MOST_SCORES // (heads * size * queries)))
    for i in range(0, count, spans):
        for j in range(0, width, queries):
            yield slice(i, min(i + spans, count)), slice(j, min(j + queries, width))


def _stacked(states_BTHD: Tensor, shared: int) -> Tensor:
    """Query heads that share a head of keys, one under the other: B × K × (R · T) × D."""
    count, width, heads, size = states_BTHD.shape
    return states_BTHD.transpose(1, 2).reshape(count, shared, heads // shared * width, size)


def _every_head(states_LKD: Tensor, bucket: Bucket, heads: int) -> Tensor:
    """B × H × S × D, each head of keys as often as query heads share it."""
    states_BKSD = states_LKD[bucket.keys_BS].transpose(1, 2)
    count, shared, size, width = states_BKSD.shape
    if shared == heads:
        return states_BKSD
    return states_BKSD[:, :, None].expand(-1, -1, heads // shared, -1, -1).reshape(count, heads, size, width)
