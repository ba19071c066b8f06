"""Models and tokenizers from local Hugging Face folders, with errors a user can act on.

Only safetensors weights are read, and no code of a model repository is ever run.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rft_core.errors import ModelError
from rft_core.types import ModelRef
from rft_torch.prompts import encode_prompt, eos_ids
from rft_torch.source import PretrainedConfig, PretrainedSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["PretrainedConfig", "PretrainedSource", "encode_prompt", "eos_ids", "load_model", "load_tokenizer", "quiet"]

DTYPES = ("float32", "bfloat16", "float16")
TO_FIT = "Free the device, set model.dtype: bfloat16, or take a smaller model."
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and warnings, which would be the only output of an otherwise silent load (what
    weights lack is an error of our own, or a head that is meant to be new), and without the FutureWarnings of the
    libraries below, which are for those who write code against them."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


@quiet()
def load_model(ref: ModelRef, *, trainable: bool = False, quantize: str | None = None) -> PreTrainedModel:
    """The causal language model at `ref`, on its device, in its dtype, in eval mode.

    Attention is torch's scaled_dot_product_attention, which is exact, needs no extra package and has
    a fast causal path; in architectures without it (Gemma 2, GPT-OSS, GPT-J), transformers' own. Eval mode holds for training as well: it turns off every dropout of the base
    model, so that the trainer's log-probabilities are those of the sampler's policy.

    `trainable` says which parameters require gradients: all (the adapter's if `ref` has one), or none. With
    `quantize: 4bit` linear layers are kept as NF4, and can only be trained by an adapter.
    ModelError if the folder is missing, incomplete, or holds only pickled weights, or if the model's
    predictions look ahead at later tokens, as those of BERT-like encoders do.
    """
    from transformers import AutoModelForCausalLM

    check_folder(ref.path)
    model, missing = from_folder(AutoModelForCausalLM, ref, quantize)
    if missing:
        raise ModelError(
            f"the weights in {ref.path} lack {len(missing)} tensors, such as {min(missing)}; fetch the model again"
        )
    place(model, ref)
    check_causal(model, ref.path)
    model.requires_grad_(trainable and quantize is None)
    if ref.adapter is not None:
        from rft_torch.weights import load_adapter

        load_adapter(model, ref.adapter, trainable=trainable)
    return model


def from_folder(
    kind: Any, ref: ModelRef, quantize: str | None = None, **settings: Any
) -> tuple[PreTrainedModel, set[str]]:
    """What an Auto class of transformers makes of the folder, in the wanted dtype, and which tensors its weights
    lack. ModelError if that is nothing. Draws no random numbers of the caller's."""
    import torch

    if quantize is not None:
        from rft_torch.quantized import four_bits, keep_trainable

        settings |= four_bits(getattr(torch, ref.dtype), device(ref))

    if ref.dtype not in DTYPES:
        raise ModelError(
            f"the model {ref.path} cannot be loaded as '{ref.dtype}'; choose a dtype from {', '.join(DTYPES)}"
        )
    device(ref)  # before the weights are read
    with _as_model_error(ref.path), torch.random.fork_rng(devices=[]):
        model, info = kind.from_pretrained(
            ref.path,
            dtype=getattr(torch, ref.dtype),
            attn_implementation=None,  # sdpa or else eager, whatever the config says
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **settings,
        )
    if quantize is not None:
        keep_trainable(model)
    return model, set(info.get("missing_keys", ()))


def place(model: PreTrainedModel, ref: ModelRef) -> None:
    """Move the model to its device and into eval mode, in place. ComponentError if it does not fit."""
    from rft_torch.memory import enough_memory

    with enough_memory(f"the weights of {ref.path}", TO_FIT):
        if not getattr(model, "is_quantized", False):  # those are where they belong, and refuse to move
            model.to(device(ref))
        model.eval()


@quiet()
def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The fast tokenizer in the folder `path`. ModelError if there is none."""
    from transformers import AutoTokenizer

    if not path.is_dir():
        raise ModelError(
            f"there is no model folder {path}; give the path of a folder with config.json and tokenizer files"
        )
    with _as_model_error(path):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True, use_fast=True)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"the tokenizer in {path} has no tokenizer.json; only fast tokenizers are supported")
    return tokenizer


def check_folder(path: Path) -> None:
    """ModelError unless `path` looks like a Hugging Face folder with safetensors weights."""
    if not path.is_dir():
        raise ModelError(
            f"there is no model folder {path}; give the path of a folder with config.json and safetensors weights"
        )
    if not (path / "config.json").is_file():
        if (path / "adapter_config.json").is_file():
            raise ModelError(
                f"{path} holds an adapter, not a model; name its base model, or merge the two with `rft-engine export --merge`"
            )
        raise ModelError(f"the model folder {path} has no config.json; give the path of a Hugging Face model folder")
    if any(path.glob("*.safetensors")):
        return
    if any(found for pattern in PICKLED for found in path.glob(pattern)):
        raise ModelError(
            f"the model folder {path} holds only pickled weights, which can run code when read; convert them to safetensors"
        )
    raise ModelError(f"the model folder {path} holds no safetensors weights; fetch the model again")


def check_causal(model: PreTrainedModel, path: Path) -> None:
    """ModelError if what the model says at a position depends on a later token. transformers offers some
    encoders as causal models, which they are only with `is_decoder` set."""
    import torch

    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=model.device) % vocabulary
    with torch.no_grad():
        if model.get_output_embeddings() is None:  # a head of another kind
            said = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        else:
            said = model(input_ids=ids, use_cache=False).logits
    first, second = said[:, :3].float()
    if vocabulary > 5 and not torch.allclose(first, second, rtol=1e-2, atol=1e-2):  # far more than rounding
        raise ModelError(
            f"the model in {path} looks ahead at later tokens, so it cannot be trained to generate text; give a causal "
            "language model (one that is an encoder, such as BERT, is causal only with is_decoder: true in its config.json)"
        )


def device(ref: ModelRef) -> Any:
    import torch

    try:
        found = torch.device(ref.device)
    except RuntimeError:
        raise ModelError(f"'{ref.device}' is not a device for the model {ref.path}; choose cpu or cuda") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"the model {ref.path} is to run on '{ref.device}', but torch sees no CUDA device here; set device: cpu or auto"
        )
    return found


@contextmanager
def _as_model_error(path: Path) -> Iterator[None]:
    """What transformers raises on a broken or unknown folder, as one ModelError."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        json.JSONDecodeError,
        SafetensorError,
    ) as error:
        if isinstance(error, ModelError):
            raise
        detail = " ".join(str(error).split())[:300]
        raise ModelError(f"the model in {path} cannot be loaded ({type(error).__name__}: {detail})") from error
