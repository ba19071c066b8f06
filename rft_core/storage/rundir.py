"""A run on disk: names, the lock, and the small files beside the journal."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rft_core.boundary import RESUME
from rft_core.errors import RftError, RunDirError
from rft_core.storage.files import storage, write_bytes, write_json

LOCK_PATIENCE_S = 1.0


class RunDir:
    """`runs/<name>/`. Holds an exclusive lock while open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.journal = path / "journal"
        self.events = path / "events.jsonl"
        self.metrics = path / "metrics.jsonl"
        self.ledger = path / "ledger.sqlite"
        self.logs = path / "logs"
        self.rollouts = path / "rollouts"
        self.weights = path / "weights"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.final = path / "final"
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], *, then: str = RESUME) -> RunDir:
        """A new run directory with its config.json, locked. It appears whole or not at all; RunDirError
        if the name is taken; StorageError, with `then` as what to do next, if it cannot be made."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with storage("make a run directory", path.parent, then):
            temporary.mkdir(parents=True)
            try:
                write_json(temporary / "config.json", config, then=then)
                temporary.rename(path)
            except OSError:
                if not path.exists():
                    raise
                raise RunDirError(
                    f"the run directory {path} exists; resume it with 'rft-engine resume {path}' or choose another --name"
                ) from None
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        run_dir = cls(path)
        run_dir.lock()
        return run_dir

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run directory, not locked. RunDirError if it is not one of ours."""
        run_dir = cls(path)
        if not run_dir.config.exists():
            kind = "holds no config.json" if path.is_dir() else "does not exist"
            raise RunDirError(f"{path} {kind}, so it is not a run directory; 'rft-engine runs' lists the runs")
        return run_dir

    def lock(self) -> None:
        """RunDirError when another process works in this directory."""
        with storage("lock the run directory", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / "lock").open("a+")
        if not _locked(handle):
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            handle.close()
            raise RunDirError(f"the run directory {self.path} is in use by {owner}; wait for it or stop it first")
        self._lock = handle
        with storage("write lock", self.path):
            handle.truncate(0)
            os.write(handle.fileno(), f"process {os.getpid()}\n".encode())  # closing writes no buffer again

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove_leftovers(self) -> None:
        """Remove what a killed process left under temporary names. Only for who holds the lock."""
        for folder in (self.path, self.rollouts, self.checkpoints):
            for left in folder.glob(".*.tmp") if folder.is_dir() else ():
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)

    def remove_unbegun(self) -> None:
        """Remove the directory if nothing of its run was ever recorded and nobody works in it, as after a start
        that was refused: its name is free. Any other folder stays, such as that of a model, which has a
        config.json too, or a run whose journal somebody took away."""
        if not self._is_unbegun():
            return
        try:
            self.lock()
        except RunDirError:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self.unlock()

    def _is_unbegun(self) -> bool:
        try:
            is_run = {"run_id", "run_file"} <= self.read_config().keys()
        except (OSError, ValueError, AttributeError, RftError):
            return False
        results = (self.final, *self.checkpoints.glob("*"), *self.rollouts.glob("*"))
        logs = (*self.journal.glob("*.log"), *self.path.glob("stages/*/journal/*.log"))
        return is_run and not any(path.exists() for path in results) and not any(log.stat().st_size for log in logs)

    def read_config(self) -> dict[str, Any]:
        return _read_json(self.config)

    def read_summary(self) -> dict[str, Any] | None:
        return _read_json(self.summary) if self.summary.exists() else None

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_json(self.summary, summary)

    def rollout_file(self, split: str, step: int) -> Path:
        return self.rollouts / (f"step-{step:06d}.parquet" if split == "train" else f"{split}-step-{step:06d}.parquet")

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    def log_event(self, kind: str, **values: object) -> None:
        """Append to events.jsonl: what happened, for people; never part of the run's hash."""
        self._append(self.events, {"time": round(time.time(), 3), "event": kind, **values})

    def log_metrics(self, values: Mapping[str, object]) -> None:
        self._append(self.metrics, values)

    def read_lines(self, path: Path) -> Iterator[dict[str, Any]]:
        """The whole lines of a .jsonl file of this run."""
        if not path.exists():
            return
        for line in path.read_bytes().split(b"\n"):
            try:
                values = json.loads(line)
            except ValueError:
                continue  # a line torn by a crash; the journal is the truth
            if isinstance(values, dict):
                yield values

    def rewrite_metrics(self, lines: Iterable[Mapping[str, object]]) -> None:
        """Replace metrics.jsonl, whole or not at all."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_bytes(self.metrics, text.encode())

    def _append(self, path: Path, values: Mapping[str, object]) -> None:
        with storage(f"append to {path.name}", self.path), path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")


def _locked(handle: IO[str]) -> bool:
    """Whether the exclusive lock was free, or became so in a moment: `rft-engine runs` holds it for an instant."""
    end_s = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end_s:
                return False
            time.sleep(0.02)
        else:
            return True


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return values
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path} cannot be read: {error}; restore it from a backup") from None
