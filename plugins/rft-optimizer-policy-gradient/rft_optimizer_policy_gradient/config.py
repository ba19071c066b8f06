"""Settings of `optimizer: {type: policy_gradient}`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rft_torch.settings import TrainerConfig


class PolicyGradientConfig(TrainerConfig):
    """Policy gradient from groups of graded rollouts."""

    algorithm: Literal["grpo"] = Field(
        "grpo", description="grpo: group-relative advantages, clipped objective (arXiv 2402.03300)."
    )
    clip_low: float = Field(0.2, ge=0, lt=1, description="The probability ratio earns nothing below 1 - clip_low.")
    clip_high: float = Field(0.2, ge=0, description="The probability ratio earns nothing above 1 + clip_high.")
    kl: float = Field(
        0.0, ge=0, description="Weight of the KL penalty towards the initial policy; 0 needs no reference pass."
    )
    normalize_advantage: bool = Field(True, description="Divide advantages by the group's standard deviation.")
    aggregation: Literal["token", "sequence"] = Field(
        "token",
        description="token: every token counts the same; sequence: every rollout counts the same, as in the GRPO paper.",
    )
    updates_per_step: int = Field(
        1, ge=1, description="Optimizer steps per batch: the groups are split into that many parts."
    )
    epochs_per_batch: int = Field(1, ge=1, description="How often each batch is gone through.")
    on_truncated: Literal["grade", "mask", "zero"] = Field(
        "grade",
        description="Rollouts cut off at max_tokens: trained on by their grade, left out of the loss but not of the baseline, or by a reward of 0.",
    )
    ratio: Literal["auto", "behaviour", "trainer"] = Field(
        "auto",
        description="Old log-probabilities of the ratio: the sampler's, or the trainer's own before the step. auto: the sampler's, but the trainer's where top_p < 1.",
    )
