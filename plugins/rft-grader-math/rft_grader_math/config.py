"""Settings of the grader `math`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from rft_core import ComponentConfig
from rft_core.template import variables


class MathConfig(ComponentConfig):
    type: Literal["math"] = "math"
    name: str = Field("math", description="Shown in tables and curves.")
    input: str = Field("{{sample.output_text}}", description="Template of the text that holds the answer.")
    reference: str = Field(
        description="Template of the right answer, such as {{item.answer}}: LaTeX or a number, in \\boxed{} or alone."
    )
    extract: Literal["auto", "boxed", "last_number", "whole"] = Field(
        "auto",
        description="Where the answer stands: in the last \\boxed{}, in the last number, in the whole text;"
        " auto takes the box, or the last number if there is none.",
    )
    timeout_s: float = Field(
        2.0, gt=0, le=60, description="Longest one comparison may take; then it is killed and the grade is timed_out."
    )
    processes: int | None = Field(
        None, ge=1, le=64, description="How many processes compare at once; null for one a core, at most four."
    )
    pass_threshold: float | None = Field(
        None, description="Accepted for the contract's sake; it does not change the reward."
    )

    @field_validator("input", "reference")
    @classmethod
    def _compiles(cls, template: str) -> str:
        variables(template)
        return template
