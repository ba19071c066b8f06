"""Settings of `optimizer: {type: policy_gradient}`.

Parts are named by their `type` (`objective: cispo`, or `objective: {type: cispo, max_ratio: 4}`) and have
settings of their own. The preset that `algorithm` names sets some of these keys; what the run file sets
is merged over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from rft_core.specs import ComponentConfig
from rft_torch.settings import TrainerConfig


def _named(value: Any) -> Any:
    """`cispo` for `{type: cispo}`."""
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, Mapping) and not isinstance(value.get("type"), str):
        raise ValueError("a part needs a 'type', the name of the part")
    return value


PartSettings = Annotated[dict[str, Any], BeforeValidator(_named)]
"""A part's name and its settings."""


def _weight(value: Any) -> Any:
    """`kl: 0.1` for `kl: {weight: 0.1}`; YAML reads `1e-3` as a text."""
    if isinstance(value, str):
        with suppress(ValueError):
            return {"weight": float(value)}
    return {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class KlSettings(ComponentConfig):
    """The penalty for leaving a reference policy."""

    weight: float = Field(0.0, ge=0, description="Weight of the penalty; 0 needs no reference pass.")
    estimator: PartSettings = Field({"type": "k3"}, description="Estimate per token: k1, k2 or k3.")
    in_reward: bool = Field(
        False, description="Take the penalty off the reward before advantages, rather than add it to the loss."
    )
    unbiased: bool = Field(
        False,
        description="Multiply the penalty in the loss by the ratio, whose gradient makes that of the KL unbiased (arXiv 2512.02556).",
    )
    reference: str | None = Field(
        None,
        description="Folder of another model with the same tokenizer, such as a teacher; the policy at the start by default.",
    )


class OverlongSettings(ComponentConfig):
    """A soft penalty for answers close to sampling.max_tokens (DAPO, arXiv 2503.14476, equation 13)."""

    buffer_tokens: int = Field(
        ge=1, description="The penalty rises from 0 to its full size over the last tokens, as many as this."
    )
    penalty: float = Field(1.0, gt=0, le=1e9, description="Taken off the reward of an answer of max_tokens.")


class CriticSettings(TrainerConfig):
    """The critic of PPO: a copy of the starting model with a scalar head, trained beside the policy."""

    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of the critic's AdamW.")
    value_clip: float | None = Field(
        0.2, gt=0, description="Values earn nothing by moving further than this in a step; null sets no bound."
    )
    lam: float = Field(1.0, ge=0, le=1, description="λ of the returns it learns; 1 are the rewards to come.")


class PolicyGradientConfig(TrainerConfig):
    """Policy gradient from groups of graded rollouts."""

    algorithm: str = Field("grpo", description="Preset for the parts below; `rft-engine plugins` lists them.")
    advantage: PartSettings = Field(
        {"type": "group_normalized"}, description="How much better than expected a rollout did."
    )
    ratio: PartSettings = Field({"type": "token"}, description="How far the policy moved: per token or per sequence.")
    objective: PartSettings = Field({"type": "clip"}, description="What is maximised per token.")
    aggregation: PartSettings = Field({"type": "sequence"}, description="How much each token weighs.")
    correction: PartSettings | None = Field(
        None, description="Weights for rollouts of an older policy or an inexact sampler; null for none."
    )
    kl: Annotated[KlSettings, BeforeValidator(_weight)] = Field(
        KlSettings(), description="Penalty for leaving a reference policy; a number is its weight."
    )
    entropy: float = Field(
        0.0, ge=0, description="Weight of the mean entropy per token, which is added to what is maximised."
    )
    critic: CriticSettings | None = Field(None, description="Trains a critic, for the advantage gae.")
    old_logprobs: Literal["auto", "sampler", "trainer"] = Field(
        "auto",
        description="What ratios are taken against: the sampler's log-probabilities, or the trainer's own before the step. "
        "auto: the sampler's, but the trainer's where top_p < 1 or with a correction.",
    )
    zero_variance: Literal["keep", "drop"] = Field(
        "keep",
        description="Groups whose rewards are all equal teach nothing. keep: their tokens count in the aggregation; drop: they do not.",
    )
    on_truncated: Literal["grade", "mask", "zero"] = Field(
        "grade",
        description="Rollouts cut off at max_tokens: trained on by their grade, left out of the loss but not of the baseline, or by a reward of 0.",
    )
    overlong: OverlongSettings | None = Field(None, description="A soft penalty for answers close to max_tokens.")
    updates_per_step: int = Field(
        1, ge=1, description="Optimizer steps per batch: the groups are split into that many parts."
    )
    epochs_per_batch: int = Field(1, ge=1, description="How often each batch is gone through.")
    max_logprob_diff: float | None = Field(
        None,
        gt=0,
        description="Stop before the update when the mean difference between log-probabilities of sampler and trainer is larger.",
    )

    @model_validator(mode="after")
    def _fits(self) -> PolicyGradientConfig:
        if self.correction is not None and self.old_logprobs == "sampler":
            raise ValueError(
                "a correction compares the sampler's log-probabilities with the trainer's, so old_logprobs: sampler "
                "leaves it nothing to do; set old_logprobs: trainer, or drop the correction"
            )
        if (self.advantage["type"] == "gae") != (self.critic is not None):
            raise ValueError("the advantage gae and a critic need each other; set both, or neither")
        self._check_kl()
        return self

    def _check_kl(self) -> None:
        kl = self.kl
        if kl.in_reward and kl.unbiased:
            raise ValueError("kl.unbiased is for a penalty in the loss; drop it, or kl.in_reward")
        if kl.weight > 0 and kl.estimator["type"] == "k1" and not (kl.in_reward or kl.unbiased):
            raise ValueError(
                "in the loss, k1 pushes nowhere: its gradient is 0 on average; use k2 or k3, kl.unbiased or kl.in_reward"
            )


def models_of(config: PolicyGradientConfig) -> dict[str, str]:
    """Folders of other models, by key."""
    return {} if config.kl.reference is None else {"kl.reference": config.kl.reference}


def parts_of(config: PolicyGradientConfig) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The parts that the settings name, by key: role and settings."""
    named: dict[str, tuple[str, Mapping[str, Any]]] = {
        "advantage": ("advantage", config.advantage),
        "ratio": ("ratio", config.ratio),
        "objective": ("objective", config.objective),
        "aggregation": ("aggregation", config.aggregation),
        "kl.estimator": ("kl", config.kl.estimator),
    }
    if config.correction is not None:
        named["correction"] = ("correction", config.correction)
    return named
