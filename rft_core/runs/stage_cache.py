"""Keeps the result of a stage, so that the same warm start is not trained twice.

The key covers all that decides the stage's bits: its settings, the plugins that provide the
components, the data, the model it begins from, and the versions of the software.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import structlog

from rft_core.canonical import digest
from rft_core.config.run_file import RunConfig
from rft_core.errors import StorageError
from rft_core.registry import Registry
from rft_core.runs.assembly import cache_dir, grader_version, model_digest, other_model_digests
from rft_core.runs.hosted import Sources
from rft_core.runs.versions import versions
from rft_core.storage.files import sha256_file, storage, write_json
from rft_core.storage.rundir import RunDir
from rft_core.types import ModelRef
from rft_core.weights import digest_of

log = structlog.get_logger(__name__)

IGNORED = {"name", "runs_dir", "cache", "observers", "budget"}


MODEL_FILES = {".json", ".jinja", ".txt", ".model"}
"""Beside the weights: the config, the tokenizer, the chat template."""


def key_of(config: RunConfig, sources: Sources, model: ModelRef, registry: Registry, base_dir: Path) -> str:
    """Name of the stage's result in the cache."""
    settings = {k: v for k, v in config.model_dump(mode="json").items() if k not in IGNORED}
    files = {p.name: sha256_file(p) for p in sorted(model.path.iterdir()) if p.suffix in MODEL_FILES}
    return digest(
        {
            "settings": settings,
            "optimizer": registry.digest_of("optimizer", config.optimizer),
            "other_models": other_model_digests(registry, config, base_dir),
            "sampler": registry.digest_of("sampler", config.sampler_component),
            "grader": None if config.grader is None else grader_version(registry, config.grader, base_dir),
            "data": [source.fingerprint() for source in (sources.train, sources.validation, sources.test) if source],
            "model": [digest_of(model.path), files, None if model.adapter is None else model_digest(model.adapter)],
            "versions": dict(versions()),
        }
    )


def take(key: str, run_dir: RunDir) -> dict[str, Any] | None:
    """Put a kept result into the stage's directory; None if there is none, or it is damaged."""
    entry = cache_dir() / "stages" / key
    if not (entry / "summary.json").exists():
        return None
    summary: dict[str, Any] = json.loads((entry / "summary.json").read_text(encoding="utf-8"))
    if digest_of(entry / "final") != "sha256:" + summary["final_weights_sha256"]:
        shutil.rmtree(entry, ignore_errors=True)
        return None
    temporary = run_dir.path / ".final.tmp"
    with storage("copy a cached stage", run_dir.path):
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(entry / "final", temporary)
        shutil.rmtree(run_dir.final, ignore_errors=True)
        temporary.rename(run_dir.final)
    summary = {**summary, "cached": True}
    run_dir.write_summary(summary)
    return summary


def keep(key: str, run_dir: RunDir) -> None:
    """Keep a finished stage's result. Does nothing when it is kept already, or was stopped. A cache that
    cannot be written is no reason to fail a run that succeeded."""
    summary = run_dir.read_summary()
    stages = cache_dir() / "stages"
    if summary is None or summary.get("status") != "succeeded" or (stages / key).exists():
        return
    try:
        with storage("keep a stage", stages):
            stages.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".stage-", dir=stages))
            try:
                shutil.copytree(run_dir.final, temporary / "final")
                write_json(temporary / "summary.json", summary)
                temporary.rename(stages / key)
            except OSError:
                if not (stages / key).exists():  # another run has kept the same result meanwhile
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except StorageError as error:
        log.warning("stage_not_cached", error=str(error))
