"""Small Llama models made from nothing, and procedural arithmetic tasks."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core.hookspecs import hookimpl
from rft_core.specs import DataSourceSpec, ModelSourceSpec
from rft_tiny_llama.arithmetic import ArithmeticConfig, build_arithmetic
from rft_tiny_llama.config import TinyLlamaConfig
from rft_tiny_llama.source import build_source


@hookimpl
def rft_model_sources() -> Iterable[ModelSourceSpec]:
    """The source `tiny_llama`."""
    yield ModelSourceSpec(
        name="tiny_llama",
        config=TinyLlamaConfig,
        build=build_source,
        summary="A small Llama with random weights and a tokenizer of its own, made on the spot",
    )


@hookimpl
def rft_data_sources() -> Iterable[DataSourceSpec]:
    """The source `arithmetic`."""
    yield DataSourceSpec(
        name="arithmetic",
        config=ArithmeticConfig,
        build=build_arithmetic,
        summary="Addition problems made by a rule, with worked and guessed solutions",
    )
