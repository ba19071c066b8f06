"""Settings of `model: {type: tiny_llama}`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rft_core.specs import ComponentConfig


class CharacterTokenizer(ComponentConfig):
    """One token per character."""

    type: Literal["characters"]
    alphabet: str = Field(min_length=1, description="The characters the model knows; any other is read as <unk>.")

    @field_validator("alphabet")
    @classmethod
    def _distinct(cls, value: str) -> str:
        twice = sorted({character for character in value if value.count(character) > 1})
        if twice:
            raise ValueError(f"the alphabet names {twice[0]!r} more than once; name each character once")
        return value


class PhraseTokenizer(ComponentConfig):
    """One token per phrase between separators, and one per separator."""

    type: Literal["phrases"]
    separators: tuple[str, ...] = Field(
        ("; ", ", ", "\n", ": "), min_length=1, description="Where a text is cut; of two that fit, the longer one."
    )
    corpus: tuple[str, ...] = Field(
        min_length=1, description="JSONL files (relative to the run file) whose texts make the vocabulary."
    )
    extra: tuple[str, ...] = Field(
        (), description="Fields of their rows, such as `gene` or `target.name`, that are read beside `messages`."
    )

    @field_validator("separators")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("a separator must not be empty")
        return value


class TinyLlamaConfig(ComponentConfig):
    """A Llama with random weights: for examples, tests and tasks that are learnt from nothing."""

    hidden_size: int = Field(128, ge=8, description="Width of the model; a multiple of `heads`.")
    layers: int = Field(2, ge=1, description="Transformer layers.")
    heads: int = Field(4, ge=1, description="Attention heads.")
    kv_heads: int | None = Field(None, ge=1, description="Key-value heads, a divisor of `heads`; all by default.")
    intermediate_size: int | None = Field(
        None, ge=1, description="Width of the feed-forward layers; 3 × hidden_size by default."
    )
    max_context: int = Field(256, ge=2, description="Most tokens of a prompt with its completion.")
    tied_embeddings: bool = Field(
        False, description="Use one matrix for input and output embeddings; small vocabularies learn faster with two."
    )
    init_std: float = Field(
        0.06,
        gt=0,
        description="Standard deviation of the weights; transformers' 0.02 is for large models, and small ones learn slowly from it.",
    )
    seed: int = Field(0, ge=0, description="Seed of the weights.")
    tokenizer: Annotated[
        CharacterTokenizer | PhraseTokenizer, Field(discriminator="type", description="How text is cut into tokens.")
    ]
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu", description="Where the model runs; auto takes CUDA where there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of the weights while running."
    )

    @model_validator(mode="after")
    def _divides(self) -> TinyLlamaConfig:
        if self.hidden_size % self.heads or self.hidden_size // self.heads % 2:
            raise ValueError(f"hidden_size {self.hidden_size} must be an even multiple of heads {self.heads}")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")
        return self
