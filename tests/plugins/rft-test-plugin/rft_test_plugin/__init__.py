"""Components with known behaviour, for tests: a scripted sampler, and graders that work or misbehave."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import GraderSpec, SamplerSpec, hookimpl
from rft_test_plugin.graders import GRADERS
from rft_test_plugin.sampler import ScriptedConfig, ScriptedSampler


@hookimpl
def rft_samplers() -> Iterable[SamplerSpec]:
    return [
        SamplerSpec(
            name="scripted",
            config=ScriptedConfig,
            build=ScriptedSampler,
            summary="Draws tokens by hashing the seed and the policy: no model, the same bits everywhere.",
        )
    ]


@hookimpl
def rft_graders() -> Iterable[GraderSpec]:
    return [
        GraderSpec(name=f"test_{name}", config=config, build=build, summary=summary)
        for name, config, build, summary in GRADERS
    ]
