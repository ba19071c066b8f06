"""Where the model lies that a run file names: in a folder of its own, in a run or in a checkpoint. Without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rft_core.errors import ModelError
from rft_core.weights import ADAPTER_FILE, writes_nothing

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
INSIDE = ("final", "optimizer/policy", ".")
"""Where weights are in a run that has ended, in a checkpoint, and in a folder of their own."""


def find_weights(path: Path) -> Path | None:
    """The folder of the weights at `path`; None if it is neither of the three."""
    folders = ((path / inner).resolve() for inner in INSIDE)
    return next((folder for folder in folders if any(folder.glob("*.safetensors"))), None)


def find_language_model(path: Path) -> tuple[Path, Path | None]:
    """The folder of a model, and that of an adapter over it, if it is one.

    ModelError if there is none at `path`, a run that has not ended, a model that writes nothing, or an adapter whose
    base is not on this machine.
    """
    folder = find_weights(path)
    if folder is None:
        if (path / "journal").is_dir():
            raise ModelError(f"the run {path} has not ended, so it has no model yet; let it end, or name a checkpoint")
        if (path / "config.json").is_file():
            raise ModelError(next(folder_problems(path)))
        raise ModelError(f"there is no model in {path}; name a model folder, a run that has ended, or a checkpoint")
    if writes_nothing(folder):
        raise ModelError(f"the model in {folder} says how good a text is and writes none; name a language model")
    if not (folder / ADAPTER_FILE).is_file():
        _check_loadable(folder)
        return folder, None
    base = base_of(folder)
    if base is None or not base.is_dir():
        raise ModelError(
            f"{folder} is an adapter over {base or 'a model that it does not name'}, which is no folder here; bring its "
            "base there, or merge the two with `rft-engine export --merge` and name what that wrote"
        )
    _check_loadable(base)
    return base, folder


def _check_loadable(folder: Path) -> None:
    """A tokenizer is not asked for: the policy's writes the tokens."""
    for problem in folder_problems(folder, tokenizer=False):
        raise ModelError(problem)


def folder_problems(folder: Path, *, tokenizer: bool = True) -> Iterator[str]:
    """What keeps a Hugging Face folder from being loaded: missing config, weights or tokenizer, pickled weights."""
    if (folder / "journal").is_dir():
        yield f"{folder} is a run, not a model folder; give the model that it began with, and set init_from to the run"
        return
    if (folder / ADAPTER_FILE).is_file():
        yield f"{folder} holds an adapter, not a model; give its base model, and set init_from to this folder"
        return
    if not (folder / "config.json").is_file():
        yield f"the model folder {folder} has no config.json; give the path of a Hugging Face model folder"
        return
    if not any(folder.glob("*.safetensors")):
        if any(any(folder.glob(pattern)) for pattern in PICKLED):
            yield f"the model folder {folder} holds only pickled weights, which can run code when read; convert them to safetensors"
        else:
            yield f"the model folder {folder} holds no safetensors weights; fetch the model again"
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            yield f"{index} cannot be read; fetch the model again"
            return
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            yield f"the model folder {folder} lacks {len(missing)} of {len(names)} weight files, such as {missing[0]}; fetch the model again"
    if tokenizer and not (folder / "tokenizer.json").is_file():
        yield f"the model folder {folder} has no tokenizer.json; fetch the model again, with its fast tokenizer"


SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
"""Keys of a config.json that say which model a folder cannot be."""


def shape_of(folder: Path) -> dict[str, Any]:
    """What the config.json of a model says that no other size or architecture does; {} if it cannot be read."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        values = {**values, **values.get("text_config", {})}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return {key: values[key] for key in SHAPE if key in values}


def vocabulary_of(folder: Path) -> Any:
    """The tokens of a model's tokenizer but for the added ones, in the form of its tokenizer.json; None if it cannot be
    read."""
    try:
        return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def base_of(adapter: Path) -> Path | None:
    """The model that an adapter was trained over, by its own word."""
    try:
        settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        return Path(settings["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
