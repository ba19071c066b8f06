"""What every optimizer on torch can be told: the step size and its schedule, AdamW, clipping, LoRA."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_torch.lora import LoraSettings

Schedule = Literal["constant", "linear", "cosine"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainerConfig(ComponentConfig):
    """Settings shared by optimizers; they extend it with their own."""

    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of AdamW.")
    schedule: Schedule = Field(
        "constant",
        description="Learning rate after the warm-up: kept, or falling so that it would be 0 one step after the last.",
    )
    warmup_steps: int = Field(0, ge=0, description="Steps over which the learning rate rises linearly.")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="Decay of AdamW's two moments.")
    eps: float = Field(1e-8, gt=0, description="AdamW's guard against division by zero.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay; norms and biases are exempt.")
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
        False, description="Keep the inputs of layers alone and compute the layers again: less memory, a third slower."
    )


def learning_rate(config: TrainerConfig, step: int, total_steps: int) -> float:
    """Learning rate of `step` (from 1) out of `total_steps` (T). With W = `warmup_steps`:

        peak · step / W                        up to step W
        peak · f((step − 1 − W) / (T − W))     then, with f(x) = 1 (constant), 1 − x (linear), (1 + cos πx) / 2 (cosine)

    The step after the warm-up has the peak once more, and the last step is above 0: step T + 1 would be the
    first at 0. A function of the step alone, so that a resumed run needs no state."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    passed = (step - 1 - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    passed = min(max(passed, 0.0), 1.0)
    factor = 1 - passed if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * passed))
    return config.learning_rate * factor
