"""Settings of `sampler: {type: transformers}`."""

from __future__ import annotations

from pydantic import Field

from rft_core.specs import ComponentConfig


class TransformersSamplerConfig(ComponentConfig):
    """Samples with transformers, batching the rollouts of a unit."""

    max_batch: int = Field(
        512,
        ge=1,
        description="Most rollouts of a unit that are decoded at once; the others wait and take the place of finished ones.",
    )
    max_cache_bytes: int = Field(
        4 << 30,
        ge=1,
        description="Memory for the keys and values of the rollouts decoded at once, at their longest; max_batch is lowered to fit.",
    )
    prefill_tokens: int = Field(
        16384,
        ge=1,
        description="Most prompt tokens, padding included, in one forward pass; a longer prompt goes alone.",
    )
