"""A linear layer and its LoRA update (arXiv 2106.09685) in one autograd node.

    y = x Wᵀ + b + s (x Aᵀ) Bᵀ
    dx = dy W + s (dy B) A,   dA = s (dy B)ᵀ x,   dB = s dyᵀ (x Aᵀ)

peft computes the same in five nodes, with a float32 copy of x, and three more tensors of y's size that are written and
read once. Here products add to y and dx in place, in autocast's dtype; what is kept is x and x Aᵀ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import linear

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fuse(model: PreTrainedModel) -> None:
    """Let every plain LoRA layer of the model compute in one node, from now on. DoRA, quantised layers and layers
    other than linear ones stay as peft has them; so does any layer while its dropout is on or its adapter off."""
    from peft.tuners.lora.layer import Linear

    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) is torch.nn.Linear and not module.lora_variant:
            module.forward = _Fused(module)


class _Fused:
    """The forward of one layer."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._plain = layer.forward

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        (name,) = layer.active_adapters
        if layer.disable_adapters or layer.merged or layer.lora_dropout[name].training:
            plain: Tensor = self._plain(x)
            return plain
        base, function = layer.base_layer, _LoraLinear
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        a, b, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = function.apply(x, base.weight, base.bias, a, b, scale, dtype)  # type: ignore[no-untyped-call]
        return y


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> Tensor:
        flat = x.flatten(0, -2).to(dtype)
        inner = flat @ a.to(dtype).T
        y = linear(flat, weight.to(dtype), None if bias is None else bias.to(dtype))
        y.addmm_(inner, b.to(dtype).T, alpha=scale)
        ctx.save_for_backward(flat, weight, a, b, inner)
        ctx.scale, ctx.dtype, ctx.shape, ctx.given = scale, dtype, x.shape, x.dtype
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, a, b, inner = ctx.saved_tensors
        dtype, scale = ctx.dtype, ctx.scale
        dy = upstream[0].flatten(0, -2).to(dtype)
        through = (dy @ b.to(dtype)).mul_(scale)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight.to(dtype)).addmm_(through, a.to(dtype)).to(ctx.given).view(ctx.shape)
        da = (through.T @ flat).to(a.dtype) if ctx.needs_input_grad[3] else None
        db = (dy.T @ inner).mul_(scale).to(b.dtype) if ctx.needs_input_grad[4] else None
        return dx, None, None, da, db, None, None
