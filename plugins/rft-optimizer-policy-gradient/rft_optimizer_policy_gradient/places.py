"""Where the model in `kl.reference` lies, without torch: in a folder, or in the run that made it."""

from __future__ import annotations

import json
from pathlib import Path

from rft_core.errors import ConfigError
from rft_core.weights import ADAPTER_FILE

WHERE = "optimizer.kl.reference"


def find_reference(path: str, base_dir: Path) -> tuple[Path, Path | None]:
    """The folder of a model, and that of an adapter over it, if it is one.

    ConfigError if there is no model at `path`, a run that has not ended, or an adapter whose base is not here.
    """
    given = (base_dir / Path(path).expanduser()).resolve()
    folder = given / "final" if (given / "final").is_dir() else given
    if (folder / ADAPTER_FILE).is_file():
        return _base_of(folder), folder
    if not (folder / "config.json").is_file() or (folder / "journal").is_dir():
        raise ConfigError(_nothing(given), where=WHERE)
    return folder, None


def _nothing(given: Path) -> str:
    if (given / "journal").is_dir():
        return f"the run {given} has not ended, so it has no model yet; let it end, or name another model"
    return f"there is no model folder {given}; give the folder of a model with the policy's tokenizer, or a run"


def _base_of(adapter: Path) -> Path:
    """The model that the run trained an adapter over."""
    try:
        settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        base = Path(settings["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if base is None or not base.is_dir():
        raise ConfigError(
            f"the reference {adapter} is an adapter over {base or 'a model that it does not name'}, which is no folder here; "
            "bring its base there, or merge the two with `rft-engine export --merge` and name what that wrote",
            where=WHERE,
        )
    return base
