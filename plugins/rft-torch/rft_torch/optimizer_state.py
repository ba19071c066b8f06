"""AdamW's state as one safetensors file: `exp_avg/<name>`, `exp_avg_sq/<name>` and `step/<name>` per parameter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rft_core.errors import IntegrityError

KEYS = ("exp_avg", "exp_avg_sq", "step")


def write(adamw: torch.optim.AdamW, parameters: Mapping[str, torch.nn.Parameter], file: Path) -> None:
    """Write the state of all parameters that have one; none has before the first update."""
    tensors = {
        f"{key}/{name}": adamw.state[parameter][key].detach().cpu().contiguous()
        for name, parameter in parameters.items()
        if parameter in adamw.state
        for key in KEYS
    }
    save_file(tensors, file, metadata={"format": "pt"})


def read(adamw: torch.optim.AdamW, parameters: Mapping[str, torch.nn.Parameter], file: Path) -> None:
    """Replace the state by the file's. IntegrityError if it is not the state of these parameters."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(
            f"the optimizer's state {file} cannot be read ({error}); resume from another checkpoint"
        ) from error
    expected = {f"{key}/{name}" for name in parameters for key in KEYS}
    if not tensors.keys() <= expected:
        raise IntegrityError(
            f"the optimizer's state {file} belongs to other parameters, such as {min(tensors.keys() - expected)}"
        )
    adamw.state.clear()
    for name, parameter in parameters.items():
        if f"step/{name}" not in tensors:
            continue
        for key in KEYS[:2]:
            if f"{key}/{name}" not in tensors or tensors[f"{key}/{name}"].shape != parameter.shape:
                raise IntegrityError(f"the optimizer's state {file} does not fit the parameter {name}")
        adamw.state[parameter] = {key: tensors[f"{key}/{name}"].to(parameter.device) for key in KEYS}
