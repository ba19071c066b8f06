"""What bitsandbytes brings, if it is installed: weights in 4 bits (QLoRA, arXiv 2305.14314) and AdamW's state in 8
(arXiv 2110.02861)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rft_torch.models import quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def four_bits(compute: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Arguments of `from_pretrained` that keep linear layers as NF4, their scales quantised too, and compute in
    `compute`."""
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_trainable(model: PreTrainedModel) -> None:
    """Keep 4-bit layers in the layout whose product has a gradient. On CPU, bitsandbytes repacks the weights of a
    layer in eval mode for a product that has none, and gradients behind it would be wrong without a word."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def adamw_8bit(groups: list[dict[str, Any]], **settings: Any) -> torch.optim.Optimizer:
    """AdamW whose moments are kept in 8 bits, for parameters of 4096 numbers and more."""
    with quiet():
        bitsandbytes = import_module("bitsandbytes.optim")
    optimizer: torch.optim.Optimizer = bitsandbytes.AdamW8bit(groups, **settings)
    return optimizer
