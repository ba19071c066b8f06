"""What every optimizer on torch can be told: the step size and its schedule, AdamW, clipping, LoRA."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_torch.lora import LoraSettings

Schedule = Literal["constant", "linear", "cosine", "inverse_sqrt", "warmup_stable_decay"]
DECAY = 0.2
"""Share of the steps in which `warmup_stable_decay` falls."""
Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainerConfig(ComponentConfig):
    """Settings shared by optimizers; they extend it with their own."""

    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of AdamW.")
    schedule: Schedule = Field(
        "constant",
        description="Learning rate after the warm-up: kept; falling so that it would be at its lowest one step after the last; falling as one over the root of steps; or kept and falling in the last fifth.",
    )
    min_lr_ratio: float = Field(
        0.0, ge=0, lt=1, description="Lowest learning rate of a schedule that falls, as a share of the peak."
    )
    warmup_steps: int = Field(0, ge=0, description="Steps over which the learning rate rises linearly.")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="Decay of AdamW's two moments.")
    eps: float = Field(1e-8, gt=0, description="AdamW's guard against division by zero.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay; norms and biases are exempt.")
    adamw_8bit: bool = Field(
        False, description="Keep AdamW's moments in 8 bits by bitsandbytes, which must be installed."
    )
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="Gradients are scaled down to this norm; null leaves them."
    )
    threads: int | None = Field(
        None, ge=1, description="Threads of torch in the trainer; all cores by default. Part of the run's bits on CPU."
    )
    lora: LoraSettings | None = Field(None, description="Train a LoRA adapter; without it, all weights.")
    micro_batch_tokens: int = Field(
        8192,
        ge=1,
        description="Most tokens, padding included, that are computed at once. Bounds memory, not the result.",
    )
    packing: bool = Field(
        False,
        description="Compute rows one after the other in one stream, each seeing its own tokens and prompt alone, in place of padding them.",
    )
    activation_checkpointing: bool = Field(
        False, description="Keep the inputs of layers alone and compute the layers again: less memory, more time."
    )


def learning_rate(config: TrainerConfig, step: int, total_steps: int) -> float:
    """Learning rate of `step` (from 1) out of `total_steps` (T). With W = `warmup_steps`, m = `min_lr_ratio` and
    n = step − 1 − W:

        peak · step / W                      up to step W
        peak · (m + (1 − m) · f)             then, with x = n / (T − W) and
            f = 1                            constant
            f = 1 − x                        linear
            f = (1 + cos πx) / 2             cosine
            f = √(W / (W + n))               inverse_sqrt, W at least 1 (arXiv 1706.03762)
            f = min(1, (1 − x) / DECAY)      warmup_stable_decay (arXiv 2404.06395)

    The step after the warm-up has the peak once more, and the last step is above m: step T + 1 would be the
    first at m. A function of the step alone, so that a resumed run needs no state."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    after = step - 1 - config.warmup_steps
    passed = min(max(after / max(1, total_steps - config.warmup_steps), 0.0), 1.0)
    warm = max(1, config.warmup_steps)
    factors: dict[Schedule, float] = {
        "constant": 1.0,
        "linear": 1 - passed,
        "cosine": 0.5 * (1 + math.cos(math.pi * passed)),
        "inverse_sqrt": math.sqrt(warm / (warm + after)),
        "warmup_stable_decay": min(1.0, (1 - passed) / DECAY),
    }
    return config.learning_rate * (config.min_lr_ratio + (1 - config.min_lr_ratio) * factors[config.schedule])
