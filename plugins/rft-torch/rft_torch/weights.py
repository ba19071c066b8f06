"""Reading and writing the policy's weights as safetensors.

Equal weights give equal bytes: names are sorted, tied tensors are stored once under their first name,
and the adapter's config is written with sorted keys.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rft_core.errors import ModelError
from rft_core.weights import ADAPTER_FILE, FULL_FILE
from rft_torch.models import quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_NAME = "default"
MODEL_CONFIGS = ("config.json", "generation_config.json")
PEFT_PREFIX = "base_model.model."
DORA = ("lora_magnitude_vector.weight", "lora_magnitude_vector")
"""The live name and peft's name in files of what DoRA learns beside the two matrices."""
ADAPTER_SCALES = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""Settings of an adapter that change what its tensors do. Its targets need no look: tensors have their names."""


def publish_full(model: PreTrainedModel, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write `folder/model.safetensors`. `dtype` casts floating tensors on the way; None keeps theirs."""
    _write(full_tensors(model), folder / FULL_FILE, dtype)


def publish_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapter as peft does: `adapter_model.safetensors` and `adapter_config.json`."""
    tensors = {PEFT_PREFIX + name: tensor for name, tensor in adapter_tensors(model).items()}
    _write(tensors, folder / ADAPTER_FILE, None)
    config = model.peft_config[ADAPTER_NAME].to_dict()
    config["inference_mode"] = True
    text = json.dumps(_plain(config), indent=2, sort_keys=True)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")


def load_full(model: PreTrainedModel, folder: Path) -> None:
    """Copy the weights in `folder` into the live model, in place. Optimizers, captured graphs and other
    holders of its parameters stay valid. ModelError if names or shapes differ."""
    file = folder / FULL_FILE
    _copy_into(full_tensors(model), _read(file), file)


def load_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> None:
    """Copy the adapter in `folder` into the live model's adapter, in place; a model without one gets it
    injected first (the model object stays the same). ModelError if they do not fit, in tensors or in scale."""
    file = folder / ADAPTER_FILE
    config = _adapter_config(folder, _heads(model))
    found = {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in _read(file).items()}
    if not hasattr(model, "peft_config"):
        from rft_torch.lora import inject

        try:
            inject(model, config, trainable=trainable)
        except ValueError as error:
            raise ModelError(f"the adapter {folder} does not fit the model: {error}") from error
    for name in ADAPTER_SCALES:
        live, given = (getattr(one, name) for one in (model.peft_config[ADAPTER_NAME], config))
        if live != given:
            raise ModelError(
                f"the adapter {folder} does not fit the model's: it has {name} {given}, and the model's {live}; "
                "give both the same lora settings"
            )
    _copy_into(adapter_tensors(model), found, file)


def full_tensors(model: PreTrainedModel) -> Mapping[str, torch.Tensor]:
    """The model's live parameters and saved buffers by sorted name; of tied ones only the first."""
    seen: set[tuple[int, int, Any]] = set()
    tensors: dict[str, torch.Tensor] = {}
    tied = _tied_names(model)
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        address = (tensor.data_ptr(), tensor.numel(), tensor.stride())
        if name in tied or (tensor.numel() and address in seen):
            continue
        seen.add(address)
        tensors[name] = tensor
    return tensors


def adapter_tensors(model: PreTrainedModel) -> Mapping[str, torch.Tensor]:
    """The live LoRA parameters, and those of a scalar head beside them, by sorted name, without the adapter's own
    name in it."""
    from rft_torch.lora import in_adapter

    whole = model.peft_config[ADAPTER_NAME].modules_to_save
    return {
        name.replace(f".{ADAPTER_NAME}.", ".").replace(*DORA): parameter
        for name, parameter in sorted(model.named_parameters())
        if in_adapter(name, whole)
    }


def cast(file: Path, out: Path, dtype: str) -> None:
    """Write the tensors of `file` to the file `out`, floating ones as `dtype`."""
    import torch

    _write(_read(file), out, getattr(torch, dtype))


def write_config(config: Mapping[str, Any], folder: Path) -> None:
    """Write `folder/config.json`."""
    (folder / MODEL_CONFIGS[0]).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def copy_side_files(source: Path, folder: Path, *, config: bool = True) -> None:
    """Copy what stands beside the weights: tokenizer and template files, and with `config` the model's
    and its generation config."""
    for file in sorted(source.iterdir()):
        wanted = file.suffix in {".json", ".jinja", ".txt", ".model"} and not file.name.endswith(".index.json")
        wanted = wanted and (config or file.name not in MODEL_CONFIGS)
        if wanted and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


def _tied_names(model: PreTrainedModel) -> set[str]:
    """Names that transformers ties to another one: `lm_head.weight` of a model with tied embeddings."""
    tied = getattr(model, "all_tied_weights_keys", None)
    return set(tied) if isinstance(tied, Mapping) else set()


def _write(tensors: Mapping[str, torch.Tensor], file: Path, dtype: torch.dtype | None) -> None:
    from safetensors.torch import save_file

    plain = {}
    for name, tensor in tensors.items():
        data = tensor.detach()
        if dtype is not None and data.is_floating_point():
            data = data.to(dtype)
        plain[name] = data.cpu().contiguous()
    save_file(plain, file, metadata={"format": "pt"})


def _read(file: Path) -> Mapping[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: Mapping[str, torch.Tensor] = load_file(file)
    except FileNotFoundError:
        raise ModelError(f"there is no weights file {file}") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the weights file {file} cannot be read ({error}); make or fetch it again") from error
    return loaded


def _copy_into(live: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], file: Path) -> None:
    import torch

    for what, names in (("lacks", live.keys() - found.keys()), ("has an unknown", found.keys() - live.keys())):
        if names:
            raise ModelError(f"the weights in {file} do not fit the model: the file {what} tensor {min(names)}")
    for name, tensor in live.items():
        if tensor.shape != found[name].shape:
            raise ModelError(
                f"the weights in {file} do not fit the model: {name} has shape {list(found[name].shape)}, not {list(tensor.shape)}"
            )
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(found[name])


def _heads(model: PreTrainedModel) -> list[str]:
    """Modules that an adapter of this model holds whole."""
    from rft_torch.scalar import is_scalar, named_head

    return [named_head(model)[0]] if is_scalar(model) else []


@quiet()  # because of what peft imports
def _adapter_config(folder: Path, heads: list[str]) -> Any:
    from peft import PeftConfig

    file = folder / ADAPTER_CONFIG
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        config = PeftConfig.from_peft_type(**values)
    except FileNotFoundError:
        raise ModelError(f"the adapter {folder} has no {ADAPTER_CONFIG}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"the adapter config {file} cannot be used ({type(error).__name__}: {error})") from error
    if config.peft_type != "LORA" or config.trainable_token_indices or list(config.modules_to_save or ()) != heads:
        extra = (
            f"with {heads[0]} beside it, as value and reward models have it,"
            if heads
            else "without extra trained modules"
        )
        raise ModelError(f"the adapter {folder} is not plain LoRA; only LoRA {extra} is supported here")
    return config


def _plain(value: Any) -> Any:
    """Config values as JSON: sets sorted, enums as their text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(getattr(value, "value", value))
