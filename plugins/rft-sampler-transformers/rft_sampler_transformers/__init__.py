"""The sampler `transformers`: causal language models with keys and values in every layer, and addressed randomness."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core.hookspecs import hookimpl
from rft_core.protocols import Sampler
from rft_core.specs import BuildContext, SamplerSpec
from rft_sampler_transformers.config import TransformersSamplerConfig


@hookimpl
def rft_samplers() -> Iterable[SamplerSpec]:
    """The sampler `transformers`."""
    yield SamplerSpec(
        name="transformers",
        config=TransformersSamplerConfig,
        build=_build,
        summary="Samples with transformers on CPU or one GPU; bitwise reproducible on CPU",
    )


def _build(config: TransformersSamplerConfig, context: BuildContext) -> Sampler:
    from rft_sampler_transformers.sampler import build_sampler

    return build_sampler(config, context)
