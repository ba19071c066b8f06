"""The model that `init_from` names: where it is, whether it is whole, and whether it is the one that `model` describes."""

from __future__ import annotations

from pathlib import Path

from rft_core.errors import ModelError
from rft_core.model_folders import base_of, find_weights, shape_of, vocabulary_of
from rft_core.runs.assembly import model_of
from rft_core.storage import checkpoint
from rft_core.storage.rundir import RunDir
from rft_core.types import ModelRef
from rft_core.weights import ADAPTER_FILE, digest_of


def init_path(init_from: str, base_dir: Path) -> Path:
    """What `init_from` names: relative to the run file, or else to where the engine was started."""
    path = base_dir / init_from
    return path if path.exists() or not Path(init_from).exists() else Path(init_from)


def start_weights(init_from: str, base_dir: Path) -> Path:
    """The folder that `init_from` means: a run directory's result or newest checkpoint, a checkpoint's policy, or
    itself. ModelError if there are no weights."""
    path = init_path(init_from, base_dir)
    newest = max((path / "checkpoints").glob("step-*"), default=path)
    folder = find_weights(path) or find_weights(newest)
    if folder is None:
        raise ModelError(
            f"init_from: {path} holds no weights; name a run directory, one of its checkpoints/step-… folders, or a model folder"
        )
    return folder


def start_model(init_from: str, base_dir: Path, base: ModelRef) -> ModelRef:
    """The model that `init_from` names, over `base` or in its place. ModelError if a run wrote other weights than lie there,
    which is known by reading all of them, or if it is another model than `base`."""
    weights = start_weights(init_from, base_dir)
    _check_checkpoint(weights)
    _check_result(weights)
    check_same_model(weights, base.path)
    return model_of(weights, base)


def _check_checkpoint(policy: Path) -> None:
    checkpoint_of = policy.parent.parent
    if not (checkpoint_of / checkpoint.MANIFEST).is_file():
        return
    if fault := checkpoint.problems(checkpoint_of, within="optimizer/policy/"):
        raise ModelError(
            f"init_from: the checkpoint {checkpoint_of} is damaged: {fault}; take another one, or restore it from a backup"
        )


def _check_result(policy: Path) -> None:
    if policy.name != "final":
        return
    summary = RunDir(policy.parent).read_summary() or {}
    wrote = summary.get("final_weights_sha256")
    if wrote is not None and digest_of(policy) != f"sha256:{wrote}":
        raise ModelError(
            f"init_from: the weights in {policy} are not those that the run ended with; restore them from a backup, or name one "
            "of its checkpoints"
        )


def check_same_model(weights: Path, base: Path) -> None:
    """ModelError if the folders hold models of another shape or with other tokens, as far as they say."""
    trained_over = base_of(weights) if (weights / ADAPTER_FILE).is_file() else None
    theirs, ours = shape_of(trained_over or weights), shape_of(base)
    differing = [key for key in theirs.keys() & ours.keys() if theirs[key] != ours[key]]
    if differing:
        what = ", ".join(f"{key}: {theirs[key]} and not {ours[key]}" for key in sorted(differing))
    elif _other_vocabulary(weights, base):
        what = "its tokenizer has other tokens"
    else:
        return
    raise ModelError(
        f"init_from: {weights} holds another model than 'model' describes ({what}); give both the same model, or drop init_from"
    )


def _other_vocabulary(weights: Path, base: Path) -> bool:
    theirs, ours = vocabulary_of(weights), vocabulary_of(base)
    return theirs is not None and ours is not None and theirs != ours
