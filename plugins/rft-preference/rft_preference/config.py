"""Settings of the components of this package."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from rft_core.specs import ComponentConfig
from rft_core.template import variables
from rft_torch.settings import TrainerConfig


class PreferencesConfig(ComponentConfig):
    """`offset` and `limit` count the rows of the file, good and bad. Blank lines are no rows."""

    path: str = Field(min_length=1, description="A JSONL file; a relative path starts at the folder of the run file.")
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="Stop at a row that is no pair, or leave it out and count it."
    )
    offset: int = Field(0, ge=0, description="Pass over this many rows at the start of the file.")
    limit: int | None = Field(None, ge=1, description="Take at most this many rows; null takes all.")


class RolloutsConfig(ComponentConfig):
    """What a run sampled and graded, as rows to learn from."""

    path: str = Field(min_length=1, description="The run; a relative path starts at the folder of the run file.")
    choose: Literal["best", "pairs"] = Field(
        "best",
        description="best: the best completions of each prompt, as `completion` and `reward`; pairs: the best and the worst, as `chosen`, `rejected` and `margin`.",
    )
    per_prompt: int = Field(1, ge=1, description="With best: how many of each prompt.")
    min_reward: float | None = Field(None, description="Leave out completions that got less; not the rejected ones.")
    min_margin: float = Field(0.0, ge=0, description="With pairs: leave out those whose rewards differ by no more.")
    first_step: int = Field(1, ge=1, description="The first step of the run whose rollouts are taken.")
    last_step: int | None = Field(None, ge=1, description="The last one; null takes all.")

    @model_validator(mode="after")
    def _fits_choose(self) -> RolloutsConfig:
        if self.choose == "pairs" and self.per_prompt > 1:
            raise ValueError("per_prompt is for choose: best, and a prompt gives one pair; drop per_prompt")
        if self.choose == "best" and self.min_margin > 0:
            raise ValueError("min_margin is for choose: pairs; drop it, or set min_reward")
        return self


class PairsConfig(TrainerConfig):
    """What optimizers that learn from pairs share."""

    chosen: str = Field("{{item.chosen}}", description="Template over the row of the completion that is preferred.")
    rejected: str = Field("{{item.rejected}}", description="Template over the row of the other completion.")

    on_long_row: Literal["error", "drop"] = Field(
        "error", description="Stop at a pair that is longer than the model reads, or leave it out and count it."
    )

    @field_validator("chosen", "rejected", "margin", check_fields=False)
    @classmethod
    def _only_item(cls, template: str | None) -> str | None:
        for variable in variables(template or ""):
            if not variable.startswith("item"):
                raise ValueError(
                    f"a pair knows the row alone, so {{{{{variable}}}}} has no value here; use {{{{item.…}}}}"
                )
        return template

    @property
    def templates(self) -> dict[str, str]:
        """Of the two completions."""
        return {"chosen": self.chosen, "rejected": self.rejected}

    @property
    def variables(self) -> tuple[str, ...]:
        """Template variables that every row must have."""
        return tuple(dict.fromkeys((*variables(self.chosen), *variables(self.rejected))))


class DpoConfig(PairsConfig):
    """Direct preference optimisation: the policy learns to prefer what was preferred."""

    beta: float = Field(0.1, gt=0, description="How far the policy is held to the model the stage began with.")
    loss: Literal["sigmoid", "hinge", "ipo"] = Field(
        "sigmoid", description="sigmoid: arXiv 2305.18290; hinge: arXiv 2305.10425; ipo: arXiv 2310.12036."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of pairs taken to be labelled the wrong way round; for sigmoid alone."
    )

    @model_validator(mode="after")
    def _smooth_sigmoid(self) -> DpoConfig:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(f"label_smoothing is of the sigmoid loss; with {self.loss} leave it at 0")
        return self


class RewardModelConfig(PairsConfig):
    """A model that says how good a completion is, learned from pairs."""

    margin: str | None = Field(
        None, description="Template of a number: by how much the chosen reward should be the larger one."
    )
    center_rewards: float = Field(
        0.0, ge=0, description="Weight of a penalty that keeps the rewards of pairs around 0; 0.01 is usual."
    )

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().variables, *variables(self.margin or ""))))


class RewardGraderConfig(ComponentConfig):
    """The grade of a completion is what a reward model says of it:

    score = f((reward − shift) / scale)        f the logistic function, or with `normalize: none` nothing

    If prompt and completion together are longer than the model reads, it abstains: the completion is not trained on.
    """

    type: Literal["reward_model"] = "reward_model"
    name: str | None = Field(None, description="Shown in tables and curves.")
    path: str = Field(
        min_length=1,
        description="A run that trained a reward model, one of its checkpoints, or a folder of a sequence classifier with one label; relative to the run file.",
    )
    normalize: Literal["sigmoid", "none"] = Field(
        "sigmoid", description="sigmoid: scores from 0 to 1; none: rewards as they are, without bounds."
    )
    scale: float = Field(1.0, gt=0, description="Rewards are divided by this first: the spread that matters.")
    shift: float = Field(
        0.0, description="What is taken from rewards before: the reward whose score is to be 0.5 or 0."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs; auto takes CUDA.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Precision of the weights; auto is bfloat16 on CUDA and float32 on CPU."
    )
    threads: int | None = Field(
        None, ge=1, description="Threads of torch; those of the worker by default. Part of a score's bits on CPU."
    )
    batch_size: int = Field(
        1,
        ge=1,
        description="Completions of a group that are computed at once. With 1 a score depends on its completion alone, to the bit; more is faster on a GPU.",
    )
    pass_threshold: float | None = Field(
        None, description="Accepted for the contract's sake; it does not change the reward."
    )
