"""What bitsandbytes brings, if it is installed: weights in 4 bits (QLoRA, arXiv 2305.14314) and AdamW's state in 8
(arXiv 2110.02861)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rft_core.errors import ConfigError
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


def check_packages(where: str, *, four_bits: bool, adamw_8bit: bool) -> None:
    """ConfigError if a package for what is wanted is missing. `where` is the key path of the optimizer's settings."""
    if four_bits:
        _need(f"{where}.lora.quantize", "bitsandbytes", "accelerate")
    if adamw_8bit:
        _need(f"{where}.adamw_8bit", "bitsandbytes")


def _need(where: str, *packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed here; "
            f"run `pip install {' '.join(missing)}`, or leave it out",
            where=where,
        )
