"""Where a reward model lies, without torch: in a run, in a checkpoint, or in a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rft_core.errors import ModelError
from rft_core.model_folders import INSIDE, base_of, find_weights
from rft_core.weights import ADAPTER_FILE
from rft_preference.config import RewardGraderConfig

PATTERNS = ("*.safetensors", "*.json", "*.jinja")


def files_of(config: RewardGraderConfig) -> tuple[str, ...]:
    """Patterns of the files that decide a reward: weights, tokenizer, template, settings. The base model of an
    adapter is among them by its path alone."""
    return tuple(str(Path(config.path) / folder / pattern) for folder in INSIDE for pattern in PATTERNS)


def find_reward_model(path: str, base_dir: Path) -> tuple[Path, Path | None]:
    """The folder of a reward model's weights, and that of an adapter over it, if it is one.

    ModelError if there is nothing at `path`, a run that has not ended, a language model, or an adapter whose
    base is not on this machine.
    """
    given = base_dir / Path(path).expanduser()
    folder = find_weights(given)
    if folder is None:
        raise ModelError(_nothing(given))
    if not (folder / ADAPTER_FILE).is_file():
        _check_kind(folder, _json(folder / "config.json").get("architectures"))
        return folder, None
    settings = _json(folder / "adapter_config.json")
    if settings.get("task_type") != "SEQ_CLS":
        raise ModelError(f"the adapter {folder} is of a language model, which gives no rewards; {_ADVICE}")
    base = base_of(folder)
    if base is None or not base.is_dir():
        raise ModelError(
            f"the reward model {folder} is an adapter over {base or 'a model that it does not name'}, which is no folder here; "
            "bring its base model there"
        )
    return base, folder


_ADVICE = "name a run of the optimizer reward_model, one of its checkpoints, or a sequence classifier with one label"


def _check_kind(folder: Path, architectures: Any) -> None:
    names = [str(name) for name in architectures or ()]
    if not any(name.endswith("ForSequenceClassification") for name in names):
        what = names[0] if names else "model of no named architecture"
        raise ModelError(f"{folder} holds a {what}, which gives no rewards; {_ADVICE}")


def _nothing(given: Path) -> str:
    if (given / "journal").is_dir():
        return (
            f"the run {given} has not ended, so it has no reward model yet; let it end, or name one of its checkpoints"
        )
    return f"there is no reward model in {given}; {_ADVICE}"


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read ({error}); make or fetch the reward model again") from error
    return values if isinstance(values, dict) else {}
