"""Weights for rollouts of another policy than the one the update starts from: w = π_old / π_behaviour.

`π_behaviour` is what the sampler says it drew from; `π_old` is the trainer's own policy before the step. They
differ where the rollouts are some versions old, or where sampler and trainer round differently. The loss
of each token is multiplied by

    truncated    min(w, max)                 TIS: arXiv 2505.24298 (decoupled PPO), and Yao et al. 2025,
                                             https://fengyao.notion.site/off-policy-rl
    masked       w where min ≤ w ≤ max, else 0     MIS and IcePop, arXiv 2510.18855

with w per token, or one per rollout: `sequence` is the product over its tokens, `geometric` their geometric
mean. Constants: no gradient.

Edge cases: on the policy itself w = 1 and nothing changes. A masked token counts in the aggregation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.tokens import Rows, exp_bounded

if TYPE_CHECKING:
    from torch import Tensor

Level = Literal["token", "sequence", "geometric"]


class TruncatedSettings(ComponentConfig):
    """Settings of `truncated`."""

    level: Level = Field("token", description="One weight per token, or one per rollout: product or geometric mean.")
    max: float = Field(2.0, gt=0, description="Largest weight.")


class MaskedSettings(ComponentConfig):
    """Settings of `masked`."""

    level: Level = Field("token", description="One weight per token, or one per rollout: product or geometric mean.")
    min: float = Field(0.5, ge=0, description="Smallest weight that counts.")
    max: float = Field(2.0, gt=0, description="Largest weight that counts.")

    @model_validator(mode="after")
    def _leaves_something(self) -> MaskedSettings:
        if self.min > self.max:
            raise ValueError(f"no weight is between min {self.min:g} and max {self.max:g}, so nothing would be learned")
        return self


def truncated(log_weight_N: Tensor, rows: Rows, settings: TruncatedSettings) -> Tensor:
    """weight_N of log π_old − log π_behaviour."""
    return _weight(log_weight_N, rows, settings.level).clamp(max=settings.max)


def masked(log_weight_N: Tensor, rows: Rows, settings: MaskedSettings) -> Tensor:
    """The same."""
    weight_N = _weight(log_weight_N, rows, settings.level)
    return weight_N.where((weight_N >= settings.min) & (weight_N <= settings.max), 0.0)


def _weight(log_weight_N: Tensor, rows: Rows, level: Level) -> Tensor:
    if level == "sequence":
        log_weight_N = rows.sum(log_weight_N)
    elif level == "geometric":
        log_weight_N = rows.mean(log_weight_N)
    return exp_bounded(log_weight_N)
