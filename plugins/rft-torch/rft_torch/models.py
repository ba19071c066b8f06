"""Models and tokenizers from local Hugging Face folders, with errors a user can act on.

Only safetensors weights are read, and no code of a model repository is ever run.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rft_core.errors import ModelError
from rft_core.types import ModelRef
from rft_core.weights import writes_nothing
from rft_torch.prompts import encode_completion, encode_prompt, eos_ids
from rft_torch.source import PretrainedConfig, PretrainedSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = [
    "PretrainedConfig",
    "PretrainedSource",
    "encode_completion",
    "encode_prompt",
    "eos_ids",
    "load_model",
    "load_tokenizer",
    "quiet",
]

DTYPES = ("float32", "bfloat16", "float16")
TO_FIT = "Free the device, set model.dtype: bfloat16, or take a smaller model."
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and warnings, which would be the only output of an otherwise silent load (what
    weights lack is an error of our own, or a head that is meant to be new), and without the FutureWarnings of the
    libraries below, which are for those who write code against them. bitsandbytes, which peft imports where it is
    installed, then warns of a faster kernel that is not."""
    from transformers.utils import logging

    kernels = getLogger("bitsandbytes.backends.cpu.ops")
    shown, verbosity, level = logging.is_progress_bar_enabled(), logging.get_verbosity(), kernels.level
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    kernels.setLevel(ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        kernels.setLevel(level)
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
    ModelError if the folder is missing, incomplete, damaged, or holds only pickled weights; and for a model that writes
    nothing, whose logits are not finite, or whose predictions look ahead at later tokens, as those of BERT-like
    encoders do.
    """
    from transformers import AutoModelForCausalLM

    check_folder(ref.path)
    if writes_nothing(ref.path):
        raise ModelError(
            f"the model in {ref.path} is a reward model or another classifier, which says how good a text is and writes "
            "none; give a language model, or use it as grader: {type: reward_model, path: …}"
        )
    model, missing = from_folder(AutoModelForCausalLM, ref, quantize)
    if missing:
        raise ModelError(
            f"the weights in {ref.path} lack {len(missing)} tensors, such as {min(missing)}; fetch the model again"
        )
    make_ready(model, ref, trainable=trainable, quantize=quantize)
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


def make_ready(model: PreTrainedModel, ref: ModelRef, *, trainable: bool, quantize: str | None) -> None:
    """Move the model to its device and into eval mode, say which parameters are trained, and give it the adapter of
    `ref`, in place. ComponentError if the device has no room; ModelError for an adapter that does not fit, and for a
    model whose answers cannot be used."""
    from rft_torch.memory import enough_memory

    with enough_memory(f"the weights of {ref.path}", TO_FIT):
        if not getattr(model, "is_quantized", False):  # those are where they belong, and refuse to move
            model.to(device(ref))
        model.eval()
    model.requires_grad_(trainable and quantize is None)
    if ref.adapter is not None:
        from rft_torch.weights import load_adapter

        load_adapter(model, ref.adapter, trainable=trainable)
    check_answers(model, ref)


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
    # who asks checks the length, and says which row is too long
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
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


def check_answers(model: PreTrainedModel, ref: ModelRef) -> None:
    """ModelError if what the model says on a few tokens is not finite, or depends on a later token. transformers
    offers some encoders as causal models, which they are only with `is_decoder` set."""
    import torch

    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]], device=model.device) % vocabulary
    with torch.no_grad():
        if model.get_output_embeddings() is None:  # a head of another kind
            said = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        else:
            said = model(input_ids=ids, use_cache=False).logits
    if not said.isfinite().all():
        raise not_finite(model, ref)
    first, second = said[:, :3].float()
    if vocabulary > 5 and not torch.allclose(first, second, rtol=1e-2, atol=1e-2):  # far more than rounding
        raise ModelError(
            f"the model in {ref.path} looks ahead at later tokens, so it cannot be trained to generate text; give a causal "
            "language model (one that is an encoder, such as BERT, is causal only with is_decoder: true in its config.json)"
        )


def not_finite(model: PreTrainedModel, ref: ModelRef) -> ModelError:
    """What to say of a model that computes NaN or infinity. Reads all weights, which takes longer than to load them."""
    named = (*model.named_parameters(), *model.named_buffers())
    bad = next((name for name, tensor in named if tensor.is_floating_point() and not tensor.isfinite().all()), None)
    if bad is None:
        return ModelError(
            f"the model in {ref.adapter or ref.path} computes numbers that are not finite in {ref.dtype}, although its "
            "weights are; load it in another dtype, or take an earlier checkpoint if it was trained too fast"
        )
    folder = ref.path
    if ref.adapter is not None:
        from rft_torch.lora import in_adapter

        folder = ref.adapter if in_adapter(bad, model.peft_config["default"].modules_to_save) else ref.path
        bad = bad.replace(".default", "").replace(".base_layer", "")  # as the file has it
    return ModelError(
        f"the tensor {bad} in {folder} holds numbers that are not finite; fetch the model again, or train it again"
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
        if (file := _damaged(path)) is not None:
            raise ModelError(
                f"the file {file} was cut short or damaged; fetch the model again, or train it again"
            ) from error
        detail = " ".join(str(error).split()).partition(". ")[0][:300]
        raise ModelError(
            f"the model in {path} cannot be loaded ({type(error).__name__}: {detail}); fetch it again, or take another"
        ) from error


def _damaged(path: Path) -> Path | None:
    """The first file that is no JSON by its name, or whose tensors do not fit their header."""
    from safetensors import SafetensorError, safe_open

    for file in sorted((*path.glob("*.json"), *path.glob("*.safetensors"))):
        try:
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
                continue
            with safe_open(file, framework="pt"):
                pass
        except (OSError, ValueError, SafetensorError):
            return file
    return None
