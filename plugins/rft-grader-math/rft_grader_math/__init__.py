"""The grader `math`: whether an answer and a reference are the same mathematics."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import BuildContext, Grader, GraderSpec, hookimpl
from rft_core.template import variables
from rft_grader_math.config import MathConfig


def _build(config: MathConfig, context: BuildContext) -> Grader:
    from rft_grader_math.grader import MathGrader

    return MathGrader(config)


def _variables(config: MathConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*variables(config.input), *variables(config.reference))))


@hookimpl
def rft_graders() -> Iterable[GraderSpec]:
    return [
        GraderSpec(
            name="math",
            config=MathConfig,
            build=_build,
            summary="1 if the answer in a text is mathematically equal to the reference, else 0.",
            variables=_variables,
            needs_tokens=lambda config: False,
        )
    ]
