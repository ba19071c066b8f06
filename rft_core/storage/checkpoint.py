"""Checkpoints: written beside, synced, sealed with a manifest of hashes, then renamed into place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from rft_core import failpoints
from rft_core.errors import IntegrityError
from rft_core.protocols import Optimizer
from rft_core.storage.files import fsync_folder, fsync_tree, sha256_file, storage, write_json
from rft_core.storage.rundir import RunDir

MANIFEST = "manifest.json"


def save(run_dir: RunDir, step: int, optimizer: Optimizer) -> Path:
    """Write the checkpoint of `step`; does nothing if a whole one is there. Returns its folder."""
    target = run_dir.checkpoint(step)
    if target.exists() and not problems(target):
        return target
    failpoints.hit("checkpoint.before")
    temporary = run_dir.checkpoints / f".{target.name}.tmp"
    with storage(f"write {target.name}", run_dir.checkpoints):
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        (temporary / "optimizer").mkdir(parents=True)
        optimizer.save(temporary / "optimizer")
        failpoints.hit("checkpoint.written")
        files = {str(p.relative_to(temporary)): sha256_file(p) for p in sorted(temporary.rglob("*")) if p.is_file()}
        write_json(temporary / MANIFEST, {"step": step, "files": files})
        fsync_tree(temporary)
        failpoints.hit("checkpoint.synced")
        temporary.rename(target)
        fsync_folder(run_dir.checkpoints)
        failpoints.hit("checkpoint.renamed")
    return target


def problems(folder: Path, *, within: str = "") -> str:
    """What is wrong with a checkpoint folder, or with what is `within` one of its folders; empty if it is whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            if not name.startswith(within):
                continue
            path = folder / name
            if not path.is_file():
                return f"{path} is missing"
            if sha256_file(path) != expected:
                return f"{path} is not what was written"
    except (OSError, ValueError, KeyError) as error:
        return f"its {MANIFEST} cannot be read ({error})"
    return ""


def verify(run_dir: RunDir, step: int) -> None:
    """IntegrityError unless the checkpoint of `step` is whole."""
    if fault := problems(run_dir.checkpoint(step)):
        raise IntegrityError(f"the checkpoint of step {step} is damaged: {fault}; restore it from a backup")


def steps(run_dir: RunDir) -> list[int]:
    """Steps of all checkpoint folders, ascending."""
    if not run_dir.checkpoints.is_dir():
        return []
    names = (p.name for p in run_dir.checkpoints.iterdir())
    return sorted(int(n.removeprefix("step-")) for n in names if n.startswith("step-") and n[5:].isdigit())


def latest_whole(run_dir: RunDir, up_to: int) -> tuple[int, list[str]]:
    """The newest whole checkpoint at or before step `up_to`, and the faults of newer ones.

    IntegrityError if none is whole although some are there."""
    faults: list[str] = []
    for step in reversed(steps(run_dir)):
        if step > up_to:
            continue
        if not (fault := problems(run_dir.checkpoint(step))):
            return step, faults
        faults.append(f"checkpoint step-{step:06d}: {fault}")
    raise IntegrityError(
        f"no whole checkpoint is left in {run_dir.checkpoints}: {'; '.join(faults) or f'none is of step {up_to} or before'}"
    )


def prune(run_dir: RunDir, keep: Iterable[int]) -> None:
    """Remove all checkpoints but those of the steps in `keep`."""
    failpoints.hit("checkpoint.before_prune")
    kept = set(keep)
    for step in steps(run_dir):
        if step not in kept:
            shutil.rmtree(run_dir.checkpoint(step), ignore_errors=True)
