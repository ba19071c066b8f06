"""One decoding step: the logits that follow each row's last token.

`plain_step` runs the model's own forward and works for every model that the sampler takes. For small models most
of its time is Python: dozens of nested module calls per layer. `lean_step` computes the same for the
Llama family by calling the linear layers of the live modules (adapters included) in one flat loop.
A test holds the two, and every supported class, to equal logits.

Shapes: B rows, E model width, H query heads, K key-value heads, D head size, C columns, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from rft_sampler_transformers.cache import SlotCache

LEAN = frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})
"""Classes whose layers are: norm, rotary attention, residual, norm, SiLU-gated feed-forward, residual."""


class Step(Protocol):
    """See the module."""

    def __call__(
        self, model: Any, cache: SlotCache, token_B: Tensor, position_B: Tensor, mask_BC: Tensor | None
    ) -> Tensor:
        """Logits (B, V) after the tokens at these positions; writes the cache's current column.

        `mask_BC` is added to attention scores: 0 where a row may look, −inf where it may not; None if
        every row sees all columns.
        """
        ...


def choose_step(model: Any) -> Step:
    """`lean_step` where it computes what the model does."""
    config = model.config
    scaled = getattr(config, "rope_parameters", None) or {}
    # A rotary embedding whose frequencies depend on the length seen so far must be asked anew.
    fixed = scaled.get("rope_type") in ("default", "linear", "llama3", "yarn")
    lean = type(model).__name__ in LEAN and fixed and config.hidden_act == "silu"
    return lean_step if lean else plain_step


def plain_step(model: Any, cache: SlotCache, token_B: Tensor, position_B: Tensor, mask_BC: Tensor | None) -> Tensor:
    output = model(
        input_ids=token_B[:, None],
        position_ids=position_B[:, None],
        attention_mask=None if mask_BC is None else mask_BC[:, None, None, :],
        past_key_values=cache,
        use_cache=True,
    )
    logits_BV: Tensor = output.logits[:, -1]
    return logits_BV


def lean_step(model: Any, cache: SlotCache, token_B: Tensor, position_B: Tensor, mask_BC: Tensor | None) -> Tensor:
    body = model.model
    x_BE: Tensor = body.embed_tokens(token_B)
    cos_B1D, sin_B1D = (part.transpose(0, 1) for part in body.rotary_emb(x_BE, position_ids=position_B[None, :]))
    mask_B11C = None if mask_BC is None else mask_BC[:, None, None, :]
    for layer, slots in zip(body.layers, cache.layers, strict=True):
        attention, feed = layer.self_attn, layer.mlp
        y_BE = _norm(x_BE, layer.input_layernorm)
        heads = (len(token_B), -1, attention.head_dim)
        q_BHD, k_BKD = attention.q_proj(y_BE).view(heads), attention.k_proj(y_BE).view(heads)
        if hasattr(attention, "q_norm"):
            q_BHD, k_BKD = _norm(q_BHD, attention.q_norm), _norm(k_BKD, attention.k_norm)
        q_BHD, k_BKD = _rotate(q_BHD, cos_B1D, sin_B1D), _rotate(k_BKD, cos_B1D, sin_B1D)
        k_BKCD, v_BKCD = slots.write(k_BKD, attention.v_proj(y_BE).view(heads))
        # The query heads of one key-value head as so many queries: no head of the cache is repeated.
        q_BKGD = q_BHD.view(len(token_B), k_BKD.shape[1], -1, attention.head_dim)
        o_BKGD = scaled_dot_product_attention(q_BKGD, k_BKCD, v_BKCD, attn_mask=mask_B11C, scale=attention.scaling)
        x_BE = x_BE + attention.o_proj(o_BKGD.flatten(1))
        y_BE = _norm(x_BE, layer.post_attention_layernorm)
        x_BE = x_BE + feed.down_proj(silu(feed.gate_proj(y_BE)).mul_(feed.up_proj(y_BE)))
    logits_BV: Tensor = model.lm_head(_norm(x_BE, body.norm))
    return logits_BV


def _norm(x: Tensor, module: Any) -> Tensor:
    return rms_norm(x, module.weight.shape, module.weight, module.variance_epsilon)


def _rotate(x_BHD: Tensor, cos_B1D: Tensor, sin_B1D: Tensor) -> Tensor:
    """Rotary position embedding (arXiv 2104.09864) in transformers' layout: halves, not pairs."""
    low, high = x_BHD.chunk(2, -1)
    return torch.addcmul(x_BHD * cos_B1D, torch.cat((-high, low), -1), sin_B1D)
