"""Components with known behaviour, for tests: a scripted sampler, and graders that work or misbehave."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import GraderSpec, ModelSourceSpec, OptimizerSpec, SamplerSpec, hookimpl
from rft_test_plugin.graders import GRADERS
from rft_test_plugin.momentum import Momentum, MomentumConfig, Numbers, NumbersConfig
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
        GraderSpec(
            name=f"test_{name}",
            config=config,
            build=build,
            summary=summary,
            deterministic=lambda _, name=name: name not in ("noisy", "paid"),
            costly=lambda _, name=name: name == "paid",
            needs_tokens=lambda _, name=name: name not in ("text_length", "blind"),
        )
        for name, config, build, summary in GRADERS
    ]


@hookimpl
def rft_model_sources() -> Iterable[ModelSourceSpec]:
    return [ModelSourceSpec(name="test_numbers", config=NumbersConfig, build=Numbers, summary="A model of 64 numbers.")]


@hookimpl
def rft_optimizers() -> Iterable[OptimizerSpec]:
    return [
        OptimizerSpec(
            name="test_momentum", config=MomentumConfig, build=Momentum, summary="Moves 64 numbers along the rewards."
        )
    ]
