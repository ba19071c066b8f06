"""Components with known behaviour, for tests: a scripted sampler, and graders that work or misbehave."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import (
    BuildContext,
    GraderSpec,
    ModelSource,
    ModelSourceSpec,
    Optimizer,
    OptimizerSpec,
    Sampler,
    SamplerSpec,
    hookimpl,
)
from rft_test_plugin.config import MomentumConfig, NumbersConfig, ScriptedConfig
from rft_test_plugin.graders import GRADERS


def _scripted(config: ScriptedConfig, context: BuildContext) -> Sampler:
    from rft_test_plugin.sampler import ScriptedSampler

    return ScriptedSampler(config, context)


def _numbers(config: NumbersConfig, context: BuildContext) -> ModelSource:
    from rft_test_plugin.momentum import Numbers

    return Numbers(config, context)


def _momentum(config: MomentumConfig, context: BuildContext) -> Optimizer:
    from rft_test_plugin.momentum import Momentum

    return Momentum(config, context)


@hookimpl
def rft_samplers() -> Iterable[SamplerSpec]:
    return [
        SamplerSpec(
            name="scripted",
            config=ScriptedConfig,
            build=_scripted,
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
    return [
        ModelSourceSpec(name="test_numbers", config=NumbersConfig, build=_numbers, summary="A model of 64 numbers.")
    ]


@hookimpl
def rft_optimizers() -> Iterable[OptimizerSpec]:
    return [
        OptimizerSpec(
            name="test_momentum", config=MomentumConfig, build=_momentum, summary="Moves 64 numbers along the rewards."
        )
    ]
