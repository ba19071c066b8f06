"""AdamW's state as one safetensors file: `<key>/<name>` per parameter, such as `exp_avg/<name>` and `step/<name>`.

AdamW in 8 bits has keys of its own: `state1` and `state2` with their scales and code books, where a parameter is large
enough to be quantised.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rft_core.errors import IntegrityError

MOMENTS = {False: ("exp_avg", "exp_avg_sq"), True: ("state1", "state2")}
"""Of torch's AdamW, and of that in 8 bits: two tensors of the parameter's shape."""
SCALES = ("absmax1", "absmax2", "qmap1", "qmap2")


def write(adamw: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], file: Path) -> None:
    """Write the state of all parameters that have one; none has before the first update."""
    tensors = {
        f"{key}/{name}": torch.as_tensor(value, dtype=None if isinstance(value, torch.Tensor) else torch.float32)
        .detach()
        .cpu()
        .clone(memory_format=torch.contiguous_format)  # 8-bit parameters share a code book, which files cannot
        for name, parameter in parameters.items()
        for key, value in adamw.state.get(parameter, {}).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})


def read(adamw: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], file: Path) -> None:
    """Replace the state by the file's. IntegrityError if it is not the state of these parameters, or that of the
    other kind of AdamW."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(
            f"the optimizer's state {file} cannot be read ({error}); resume from another checkpoint"
        ) from error
    small = not isinstance(adamw, torch.optim.AdamW)
    if any(key.startswith(f"{MOMENTS[not small][0]}/") for key in tensors):
        raise IntegrityError(f"the optimizer's state {file} was kept in other bits; make optimizer.adamw_8bit agree")
    moments = MOMENTS[small]
    keys = (*moments, "step", *(SCALES if small else ()))
    expected = {f"{key}/{name}" for name in parameters for key in keys}
    if not tensors.keys() <= expected:
        raise IntegrityError(
            f"the optimizer's state {file} belongs to other parameters, such as {min(tensors.keys() - expected)}"
        )
    adamw.state.clear()
    for name, parameter in parameters.items():
        if f"step/{name}" not in tensors:
            continue
        for key in moments:
            if f"{key}/{name}" not in tensors or tensors[f"{key}/{name}"].shape != parameter.shape:
                raise IntegrityError(f"the optimizer's state {file} does not fit the parameter {name}")
        found = {key: tensors[f"{key}/{name}"].to(parameter.device) for key in keys if f"{key}/{name}" in tensors}
        adamw.state[parameter] = {**found, "step": int(found["step"])} if small else found
