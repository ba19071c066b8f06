"""Settings of the components, apart from them: numpy is imported where one is built."""

from __future__ import annotations

from pydantic import Field

from rft_core import ComponentConfig


class ScriptedConfig(ComponentConfig):
    """Settings of `scripted`."""

    vocab_size: int = Field(256, ge=2, description="Tokens are below this number.")
    tokens: int = Field(8, ge=1, description="Tokens of a completion, cut to max_tokens.")
    delay_s: float = Field(0.0, ge=0, description="Time one unit takes.")
    shuffle_s: float = Field(0.0, ge=0, description="Up to this much more, by the unit and the process.")
    fault: str = Field("", description="How answers are spoilt: `positive_logprob`, `short`, `raise` or `hang_once`.")
    jitter: bool = Field(False, description="The same unit gives other rollouts each time, as a GPU may.")
    calls_file: str = Field("", description="Each computed unit appends its id to this file.")


class NumbersConfig(ComponentConfig):
    """A model that needs no settings."""


class MomentumConfig(ComponentConfig):
    """Settings of `test_momentum`."""

    work_s: float = Field(0.0, ge=0, description="How long a step takes at least.")
    build_s: float = Field(0.0, ge=0, description="How long it takes to build.")
    falling: bool = Field(False, description="Steps grow smaller towards the run's end, as with a schedule.")
    fault: str = Field(
        "", description="What goes wrong in step 3: `raise` or `nan`; `clash`: a metric has one of the engine's names."
    )
    jitter: bool = Field(False, description="Every step adds rounding noise of its own, as a GPU may.")
    claims_bitwise: bool = Field(False, description="Say that it repeats itself, whether or not it does.")
