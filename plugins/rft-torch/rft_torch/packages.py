"""Packages that not every machine has and some settings need, looked for without importing torch."""

from __future__ import annotations

from importlib.util import find_spec

from rft_core.errors import ConfigError
from rft_torch.settings import TrainerConfig


def check_packages(config: TrainerConfig, where: str = "optimizer") -> None:
    """ConfigError if a package for what is wanted is missing. `where` is the key path of `config`."""
    if config.lora is not None and config.lora.quantize:
        _need(f"{where}.lora.quantize", "bitsandbytes", "accelerate")
    if config.adamw_8bit:
        _need(f"{where}.adamw_8bit", "bitsandbytes")


def _need(where: str, *packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed here; "
            f"run `pip install {' '.join(missing)}`, or leave it out",
            where=where,
        )
