"""The model source `tiny_llama`."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from rft_core.canonical import digest
from rft_core.errors import DataError
from rft_core.specs import BuildContext
from rft_core.types import ModelRef
from rft_tiny_llama.config import PhraseTokenizer, TinyLlamaConfig

FORMAT = 1
"""Raised when the same settings come to give another model."""


def build_source(config: TinyLlamaConfig, context: BuildContext) -> TinyLlamaSource:
    return TinyLlamaSource(config, base_dir=context.base_dir)


class TinyLlamaSource:
    """Makes a Llama with random weights, deterministic in its settings, as a Hugging Face folder."""

    def __init__(self, config: TinyLlamaConfig, *, base_dir: Path) -> None:
        self._config = config
        self._base_dir = base_dir

    def materialize(self, cache_dir: Path) -> ModelRef:
        """The folder `tiny-llama-<digest>` in `cache_dir`, made if it is not there.

        It appears whole or not at all: a second process that makes it at the same time makes the same
        files, and the first to finish wins. DataError if the tokenizer's corpus cannot be read.
        """
        from rft_torch.source import resolve_device, resolve_dtype

        files = self._corpus()
        folder = cache_dir.resolve() / f"tiny-llama-{self._digest(files)}"
        if not folder.is_dir():
            cache_dir.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache_dir))
            try:
                self._write(temporary, files)
                temporary.chmod(0o755)
                _rename(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        device = resolve_device(self._config.device)
        return ModelRef(path=folder, device=device, dtype=resolve_dtype(self._config.dtype, device))

    def _corpus(self) -> list[Path]:
        tokenizer = self._config.tokenizer
        return [self._base_dir / name for name in tokenizer.corpus] if isinstance(tokenizer, PhraseTokenizer) else []

    def _digest(self, files: list[Path]) -> str:
        settings = self._config.model_dump(exclude={"device", "dtype", "tokenizer"})
        tokenizer = self._config.tokenizer.model_dump(exclude={"corpus"})
        return digest([FORMAT, settings, tokenizer, [_sha256(file) for file in files]])[:16]

    def _write(self, folder: Path, files: list[Path]) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from rft_tiny_llama.vocabulary import build_tokenizer
        from rft_torch.weights import publish_full

        config = self._config
        tokenizer = build_tokenizer(config.tokenizer, files, config.max_context)
        shape = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size or 3 * config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads or config.heads,
            max_position_embeddings=config.max_context,
            initializer_range=config.init_std,
            tie_word_embeddings=config.tied_embeddings,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = LlamaForCausalLM(shape)
        # From a generator of its own: transformers draws from the global one, which threads share.
        generator = torch.Generator().manual_seed(config.seed)
        with torch.no_grad():
            for _, parameter in sorted(model.named_parameters()):
                if parameter.dim() > 1:  # the others are the norms' weights, which start at 1
                    parameter.normal_(0.0, config.init_std, generator=generator)
        model.config.architectures = [type(model).__name__]
        model.config.dtype = "float32"
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        publish_full(model, folder)
        tokenizer.save_pretrained(folder)


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first
            raise


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            f"the tokenizer's corpus {file} cannot be read ({error.strerror}); check model.tokenizer.corpus"
        ) from error
