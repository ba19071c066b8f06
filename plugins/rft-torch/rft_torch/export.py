"""The command `export`, and the same from Python: a checkpoint as a plain Hugging Face folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rft_core.errors import ModelError, RunDirError
from rft_core.types import ModelRef
from rft_core.weights import ADAPTER_FILE

if TYPE_CHECKING:
    import torch

STEP = re.compile(r"step-(\d+)")
TOLERANCE = 1e-4
"""Largest difference between logits of the merged model and of base and adapter, in float32, as a share of
the largest logit; of 1, where all are smaller."""
PROBE_TOKENS = 16
TRAINED_DTYPE = "float32"


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--checkpoint", default="last", show_default=True, help="step-000010, a step number, best or last.")
@click.option("--merge", is_flag=True, help="Merge a LoRA adapter into its base model.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
def export(run_dir: Path, checkpoint: str, merge: bool, out: Path) -> None:
    """Write a checkpoint of RUN_DIR as a Hugging Face folder that transformers, peft and vLLM load.

    A model is written in model.dtype; checkpoints and final/ hold it in float32.
    """
    done = export_checkpoint(run_dir, out, checkpoint=checkpoint, merge=merge)
    if done["difference"] is not None:
        click.echo(f"merged {done['checkpoint']} into its base: largest difference in logits {done['difference']:.2e}")
    else:
        click.echo(f"copied the {done['kind']} of {done['checkpoint']}")
    click.echo(str(out))


def export_checkpoint(run_dir: Path, out: Path, *, checkpoint: str = "last", merge: bool = False) -> dict[str, Any]:
    """What the command does, without its words. Returns `out`, the name of the `checkpoint`, the `kind` of what
    `out` holds (`model` or `adapter`), and the largest `difference` in logits if an adapter was merged, else None.

    RunDirError for a run, a checkpoint or an `out` that does not do; ModelError if merging changes the model.
    """
    base = _base_model(run_dir)
    source = find_checkpoint(run_dir, checkpoint)
    policy = source / "optimizer" / "policy"
    if not policy.is_dir():
        raise RunDirError(f"the checkpoint {source} holds no policy; choose another one")
    if out.exists() and any(out.iterdir()):
        raise RunDirError(f"the folder {out} is not empty; choose a new one for --out")
    out.mkdir(parents=True, exist_ok=True)
    adapter = (policy / ADAPTER_FILE).exists()
    difference = None
    if adapter and merge:
        difference = merge_adapter(base, policy, out)
    elif adapter:
        _copy_adapter(policy, out, base.path)
    else:
        _copy_model(policy, out, base.dtype)
    kind = "adapter" if adapter and not merge else "model"
    return {"out": str(out), "checkpoint": source.name, "kind": kind, "difference": difference}


def find_checkpoint(run_dir: Path, name: str) -> Path:
    """The checkpoint folder that `name` means. RunDirError, with the choices, if there is none."""
    folder = run_dir / "checkpoints"
    steps = {int(m[1]): path for path in folder.glob("step-*") if (m := STEP.fullmatch(path.name)) and path.is_dir()}
    if not steps:
        raise RunDirError(f"{run_dir} has no checkpoints; give the folder of a run that has saved one")
    summary = _json(run_dir / "summary.json") if (run_dir / "summary.json").exists() else {}
    if name == "last":
        wanted = max(steps)
    elif name == "best":
        wanted = int(summary.get("best_step") or max(steps))
    else:
        digits = STEP.fullmatch(name)
        if not digits and not name.isdigit():
            raise RunDirError(f"'{name}' is not a checkpoint; use step-000010, a step number, best or last")
        wanted = int(digits[1] if digits else name)
    if wanted not in steps:
        kept = ", ".join(steps[step].name for step in sorted(steps))
        raise RunDirError(f"{run_dir} keeps no checkpoint of step {wanted}; choose from {kept}")
    return steps[wanted]


def merge_adapter(base: ModelRef, adapter: Path, out: Path) -> float:
    """Write base and adapter as one model to `out`; returns the largest difference in logits on random
    tokens. ModelError, and nothing usable in `out`, if it is over `TOLERANCE` of their scale.

    Merged and compared in float32; stored in the base's dtype.
    """
    import torch

    from rft_torch.lora import merge
    from rft_torch.models import load_model, quiet
    from rft_torch.scalar import config_of, is_scalar, load_scalar_model
    from rft_torch.weights import copy_side_files, publish_full, write_config

    load = load_scalar_model if _json(adapter / "adapter_config.json").get("modules_to_save") else load_model
    with quiet():
        model = load(ModelRef(path=base.path, dtype="float32", adapter=adapter))
        before = _probe(model)
        merge(model)
        difference = float((_probe(model) - before).abs().max())
    limit = TOLERANCE * max(1.0, float(before.abs().max()))
    if not difference <= limit:
        raise ModelError(
            f"merging {adapter} changed logits by {difference:.2e}, more than {limit:.2e}; export it without --merge"
        )
    publish_full(model, out, dtype=getattr(torch, base.dtype))
    copy_side_files(adapter, out, config=False)
    (out / "adapter_config.json").unlink(missing_ok=True)
    # the base of a model with a scalar head may be a language model
    config = config_of(model) if is_scalar(model) else _json(base.path / "config.json")
    write_config(_in_dtype(config, base.dtype), out)
    copy_side_files(base.path, out)
    return difference


def _probe(model: Any) -> torch.Tensor:
    """Logits on a few random tokens; of a model with a head of one output, that head's at every position."""
    import torch

    from rft_torch.scalar import is_scalar, scalar_values

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.config.get_text_config().vocab_size, (2, PROBE_TOKENS), generator=generator)
    with torch.no_grad():
        if is_scalar(model):
            hidden_NH = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state.flatten(0, 1)
            return scalar_values(model, hidden_NH)
        logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits


def _copy_adapter(policy: Path, out: Path, base: Path) -> None:
    """Copy an adapter; its config gets the path of its base model."""
    for file in sorted(policy.iterdir()):
        shutil.copyfile(file, out / file.name)
    config = {**_json(out / "adapter_config.json"), "base_model_name_or_path": str(base)}
    (out / "adapter_config.json").write_text(
        json.dumps(config, indent=2, sort_keys=True) + os.linesep, encoding="utf-8"
    )


def _copy_model(policy: Path, out: Path, dtype: str) -> None:
    """Copy a whole model in `dtype`, which its config then says."""
    from rft_torch.weights import cast, write_config

    for file in sorted(policy.iterdir()):
        if file.suffix == ".safetensors" and dtype != TRAINED_DTYPE:
            cast(file, out / file.name, dtype)
        else:
            shutil.copyfile(file, out / file.name)
    write_config(_in_dtype(_json(out / "config.json"), dtype), out)


def _in_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """A model's config that says `dtype`, by the name that transformers gave it before 5.0 too where it is used."""
    return {**config, "dtype": dtype, **({"torch_dtype": dtype} if "torch_dtype" in config else {})}


def _base_model(run_dir: Path) -> ModelRef:
    """The model the run started from, as its config.json says."""
    if not (run_dir / "config.json").exists():
        raise RunDirError(f"{run_dir} is not the folder of a run: it has no config.json")
    found = _json(run_dir / "config.json").get("resolved_model")
    if not isinstance(found, dict) or "path" not in found:
        raise RunDirError(f"{run_dir / 'config.json'} does not say which model the run started from")
    return ModelRef(path=Path(found["path"]), dtype=str(found.get("dtype", "float32")))


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(f"{file} cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise RunDirError(f"{file} does not hold a JSON object")
    return value
