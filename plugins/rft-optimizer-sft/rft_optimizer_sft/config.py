"""Settings of `optimizer: {type: sft}`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from rft_core.template import variables
from rft_torch.settings import TrainerConfig


class SftConfig(TrainerConfig):
    """Supervised fine-tuning: the model learns to answer each row's messages with the target."""

    target: str = Field(description="Template of the wanted completion over the row, such as {{item.answer}}.")

    on_long_row: Literal["error", "drop"] = Field(
        "error", description="Stop at a row that is longer than the model reads, or leave it out and count it."
    )

    @field_validator("target")
    @classmethod
    def _only_item(cls, target: str) -> str:
        for variable in variables(target):
            if not variable.startswith("item"):
                raise ValueError(
                    f"a target knows the row alone, so {{{{{variable}}}}} has no value here; use {{{{item.…}}}}"
                )
        return target


def target_variables(config: SftConfig) -> tuple[str, ...]:
    """Template variables that every row must have."""
    return variables(config.target)
