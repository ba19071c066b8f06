"""Where the model lies that a run file names: in a folder of its own, in a run or in a checkpoint. Without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rft_core.errors import ModelError
from rft_core.weights import ADAPTER_FILE, writes_nothing

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
        raise ModelError(f"there is no model in {path}; name a model folder, a run that has ended, or a checkpoint")
    if writes_nothing(folder):
        raise ModelError(f"the model in {folder} says how good a text is and writes none; name a language model")
    if not (folder / ADAPTER_FILE).is_file():
        return folder, None
    base = base_of(folder)
    if base is None or not base.is_dir():
        raise ModelError(
            f"{folder} is an adapter over {base or 'a model that it does not name'}, which is no folder here; bring its "
            "base there, or merge the two with `rft-engine export --merge` and name what that wrote"
        )
    return base, folder


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
