"""The sampler `transformers`: see `TransformersSampler`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rft_core.canonical import canonical_json, digest
from rft_core.errors import ComponentError, ConfigError, DataError, IntegrityError, ModelError
from rft_core.specs import BuildContext
from rft_core.types import ModelRef, Prompt, Rollout, SampledUnit, SamplerInfo, SampleUnit, Segment, WeightRef
from rft_sampler_transformers.config import TransformersSamplerConfig
from rft_sampler_transformers.decode import Decoding, Drawn, Limits, Row
from rft_sampler_transformers.stops import Decoder
from rft_torch.memory import enough_memory
from rft_torch.models import eos_ids, load_model, load_tokenizer
from rft_torch.prompts import check_length, encode_prompt
from rft_torch.weights import load_adapter, load_full

PACKAGES = ("rft-sampler-transformers", "rft-torch", "transformers", "tokenizers", "peft", "numpy")
"""Whose version may change a rollout's bits; torch names its build itself."""

TO_FIT = "Lower sampler.max_batch, sampler.max_cache_bytes or sampler.prefill_tokens, or free the device."


def build_sampler(config: TransformersSamplerConfig, context: BuildContext) -> TransformersSampler:
    """The sampler for the run's model. ConfigError if the hosting process names no model."""
    if context.model is None:
        raise ConfigError("the sampler 'transformers' needs a model; set `model:` in the run file", where="sampler")
    return TransformersSampler(config, context.model)


class TransformersSampler:
    """Draws rollouts with a causal language model of transformers.

    Each distinct prompt of a unit is run through the model once; its keys and values are copied to the
    rows of its group. The token at position t of the rollout with seed s is the inverse of the
    cumulative (temperature, top-p) distribution at the uniform number `draws.uniforms` gives for
    (s, t): it depends on no other row, but for the rounding of the matrix products that rows share.

    A rollout's log-probabilities are those of the distribution sampled from; greedy ones (temperature 0)
    those of the plain distribution at temperature 1. The token that ends a completion is one of its
    tokens, and not in its text. A stop string is cut off the text together with all that follows; the
    tokens that spell it stay.

    On CPU the same unit, weights and fingerprint give the same bits, in any process.

    Errors: DataError for a prompt that leaves no room for a completion; IntegrityError for a unit that
    asks for weights other than those loaded; ComponentError for weights whose logits are not finite.
    """

    def __init__(self, config: TransformersSamplerConfig, model: ModelRef) -> None:
        self._config = config
        self._model = load_model(model)
        self._tokenizer = load_tokenizer(model.path)
        self._weights: WeightRef | None = None
        self._kind: str | None = None
        shape = self._model.config.get_text_config()
        self._max_context = _max_context(shape, model.path)
        self._limits = Limits(
            layers=int(shape.num_hidden_layers),
            vocab_size=int(self._model.get_output_embeddings().weight.shape[0]),
            max_batch=config.max_batch,
            max_cache_bytes=config.max_cache_bytes,
            token_bytes=_token_bytes(shape, self._model.dtype),
            prefill_tokens=config.prefill_tokens,
            eos=frozenset(eos_ids(self._model, self._tokenizer)),
        )
        self._decoder = Decoder(self._tokenizer, self._limits.vocab_size)
        self._window = _attention_window(shape, model.path)

    def info(self) -> SamplerInfo:
        device = self._model.device
        build = {
            "versions": {name: version(name) for name in PACKAGES},
            "torch": torch.__version__,
            "machine": platform.machine(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
            "dtype": str(self._model.dtype),
            "config": self._config.model_dump(),
        }
        return SamplerInfo(
            bitwise=device.type == "cpu",
            fingerprint=digest(build)[:16],
            vocab_size=self._limits.vocab_size,
            max_context=self._max_context,
        )

    def load_policy(self, weights: WeightRef) -> None:
        """Copy the weights into the live model. A sampler serves whole weights or adapters over the base
        that it was built with, never the one after the other: IntegrityError."""
        if self._kind not in (None, weights.kind):
            raise IntegrityError(
                f"version {weights.number} is {weights.kind} weights, but this sampler has served {self._kind} ones; "
                "build another sampler for it"
            )
        self._kind = weights.kind
        self._weights = None  # a load that fails half-way must not go on under the old name
        load = load_full if weights.kind == "full" else load_adapter
        load(self._model, Path(weights.path))
        self._weights = weights

    @torch.inference_mode()
    def sample(self, unit: SampleUnit) -> SampledUnit:
        weights = self._loaded(unit)
        texts: dict[bytes, int] = {}
        numbers = [texts.setdefault(_identity(prompt), len(texts)) for prompt in unit.prompts]
        ids: list[list[int]] = []
        for prompt, number in zip(unit.prompts, numbers, strict=True):
            if number == len(ids):
                ids.append(self._encode(prompt))
        rows = [
            Row(prompt=number, seed=seed, limit=min(unit.sampling.max_tokens, self._max_context - len(ids[number])))
            for prompt, number in zip(unit.prompts, numbers, strict=True)
            for seed in prompt.seeds
        ]
        self._check_window(ids, rows)
        drawn = self._draw(unit, ids, rows) if rows else []
        finished = iter(self._rollouts(unit, numbers, ids, drawn, weights.number))
        return SampledUnit(
            request_id=unit.request_id,
            policy=weights.number,
            policy_digest=weights.digest,
            groups=tuple(tuple(next(finished) for _ in prompt.seeds) for prompt in unit.prompts),
        )

    def close(self) -> None:
        """Nothing is held but memory."""

    def _loaded(self, unit: SampleUnit) -> WeightRef:
        if self._weights is None or self._weights.digest != unit.policy.digest:
            serves = f"version {self._weights.number}" if self._weights else "none"
            raise IntegrityError(
                f"unit {unit.request_id} is for policy version {unit.policy.number} ({unit.policy.digest}), "
                f"but the sampler has loaded {serves}; load that version first"
            )
        return unit.policy

    def _encode(self, prompt: Prompt) -> list[int]:
        try:
            ids = encode_prompt(self._tokenizer, prompt.messages, prompt.tools)
            check_length(ids, self._max_context)
        except DataError as error:
            error.ordinal = prompt.ordinal
            raise
        return ids

    def _draw(self, unit: SampleUnit, ids: list[list[int]], rows: list[Row]) -> list[Drawn]:
        try:
            with enough_memory(f"unit {unit.request_id} of {len(rows)} rollouts", TO_FIT):
                return Decoding(self._model, self._decoder, self._limits, ids, rows, unit.sampling).run()
        except FloatingPointError as error:
            raise ComponentError(
                f"no token can be drawn from policy version {unit.policy.number}, because {error}: its weights have grown "
                "too far; lower optimizer.learning_rate and start anew, from an earlier checkpoint with init_from if one is kept"
            ) from error

    def _check_window(self, ids: list[list[int]], rows: list[Row]) -> None:
        longest = max((len(ids[row.prompt]) + row.limit for row in rows), default=0)
        if self._window is not None and longest > self._window:
            raise ModelError(
                f"the model attends to windows of {self._window} tokens, but a prompt and its completion may reach {longest}; "
                "lower sampling.max_tokens or choose a model without sliding windows"
            )

    def _rollouts(
        self, unit: SampleUnit, numbers: list[int], ids: list[list[int]], drawn: list[Drawn], policy: int
    ) -> list[Rollout]:
        eos = self._limits.eos
        texts = self._decoder.texts([d.tokens[:-1] if d.tokens[-1] in eos else d.tokens for d in drawn])
        segments = [Segment(role="prompt", token_ids=tuple(prompt)) for prompt in ids]
        where = [
            (prompt.ordinal, sample, seed, segments[number])
            for prompt, number in zip(unit.prompts, numbers, strict=True)
            for sample, seed in enumerate(prompt.seeds)
        ]
        return [
            Rollout(
                ordinal=ordinal,
                sample=sample,
                seed=seed,
                segments=(segment, _completion(one, policy)),
                text=text if one.cut is None else text[: one.cut],
                finish_reason=one.finish_reason,
            )
            for (ordinal, sample, seed, segment), one, text in zip(where, drawn, texts, strict=True)
        ]


def _completion(drawn: Drawn, policy: int) -> Segment:
    return Segment(
        role="assistant", token_ids=tuple(drawn.tokens), logprobs=tuple(drawn.logprobs), trained=True, policy=policy
    )


def _identity(prompt: Prompt) -> bytes:
    """Equal for prompts that come to the same tokens."""
    return canonical_json([[_plain(message) for message in prompt.messages], [_plain(tool) for tool in prompt.tools]])


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value)


def _token_bytes(shape: Any, dtype: torch.dtype) -> int:
    """Memory for the keys and values of one token in all layers."""
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    size = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    return int(2 * shape.num_hidden_layers * heads * size * dtype.itemsize)


def _max_context(shape: Any, path: Path) -> int:
    """Most tokens of prompt and completion. ModelError for models that cannot be told where a row begins."""
    if shape.model_type == "bloom" or (shape.model_type == "falcon" and shape.alibi):
        raise ModelError(
            f"the model {path} of type {shape.model_type} takes its positions from a padding mask, which this sampler's "
            "batches do not have; choose a model with position ids"
        )
    longest: int | None = getattr(shape, "max_position_embeddings", None)
    if longest is None:
        raise ModelError(
            f"the model {path} does not say how many tokens it reads; set max_position_embeddings in its config.json"
        )
    return int(longest)


def _attention_window(shape: Any, path: Path) -> int | None:
    """Tokens that the narrowest attention layer sees, None if all. ModelError for models whose layers
    keep another state than keys and values of their own."""
    layer_types: list[str] | None = getattr(shape, "layer_types", None)
    kinds = set(layer_types or ())
    windowed = {"sliding_attention", "chunked_attention"}
    shares_layers: int | None = getattr(shape, "num_kv_shared_layers", None)
    if kinds - windowed - {"full_attention"} or shares_layers:
        raise ModelError(
            f"the model {path} has layers without keys and values of their own; this sampler needs plain attention layers"
        )
    sizes = [getattr(shape, name, None) for name in ("sliding_window", "attention_chunk_size")]
    narrow = [int(size) for size in sizes if size]
    if not narrow or (kinds and not kinds & windowed):
        return None
    return min(narrow)
