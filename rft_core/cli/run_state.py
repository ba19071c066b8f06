"""What a run directory says about its run, read without disturbing whoever works in it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rft_core.canonical import digest
from rft_core.errors import RunDirError
from rft_core.storage import checkpoint
from rft_core.storage.rundir import RunDir

Status = Literal["succeeded", "stopped", "failed", "running", "interrupted"]
ROUTINE = frozenset(
    {
        "run_started",
        "step_finished",
        "evaluation_finished",
        "checkpoint_saved",
        "run_finished",
        "worker_started",
    }
)
"""Events of a run without trouble; all others are worth knowing."""
LATEST = 5
"""Events of one kind that `show` tells in full."""


def is_locked(run_dir: RunDir) -> bool:
    """Whether a process works in the directory. The shared lock it tries is held for an instant."""
    try:
        handle = (run_dir.path / "lock").open("r")
    except OSError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def stage_dirs(run_dir: RunDir) -> list[RunDir]:
    """The stages before the last, in order; the last is the run directory itself."""
    folder = run_dir.path / "stages"
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if (p / "config.json").exists()]
    return [RunDir(p) for p in sorted(found, key=lambda p: (_number(p.name), p.name))]


def _number(name: str) -> int:
    head = name.partition("-")[0]
    return int(head) if head.isdigit() else 0


def status_of(run_dir: RunDir, *, locked: bool | None = None) -> Status:
    """`interrupted` means that nobody works on a run that did not end: it can be resumed."""
    if is_locked(run_dir) if locked is None else locked:
        return "running"
    summary = run_dir.read_summary()
    if summary is not None:
        went_on = summary["status"] != "succeeded" and _last_step(run_dir) > summary.get("steps", 0)
        found: Status = "interrupted" if went_on else summary["status"]
        return found
    for stage in stage_dirs(run_dir):
        ended = stage.read_summary()
        if ended is not None and ended["status"] != "succeeded":
            return status_of(stage, locked=False)
    return "interrupted"


def _last_step(run_dir: RunDir) -> int:
    line = last_metrics(run_dir)
    return 0 if line is None else int(line["step"])


def last_metrics(run_dir: RunDir) -> dict[str, Any] | None:
    """The line of the last step; reads the end of the file only."""
    for text in reversed(_tail(run_dir.metrics)):
        try:
            line: dict[str, Any] = json.loads(text)
        except ValueError:
            continue  # a torn line
        return line
    return None


def _tail(path: Path, size: int = 65536) -> list[bytes]:
    try:
        with path.open("rb") as handle:
            handle.seek(0, 2)
            start = max(0, handle.tell() - size)
            handle.seek(start)
            lines = handle.read().splitlines()
    except OSError:
        return []
    return lines[1:] if start else lines


def events_of(run_dir: RunDir, *kinds: str) -> list[dict[str, Any]]:
    """Events of these kinds from events.jsonl. Lines of other kinds are passed over unparsed."""
    marks = [f'"event": "{kind}"'.encode() for kind in kinds]
    return [e for e in _read_events(run_dir, marks) if e.get("event") in kinds]


def notable_events(run_dir: RunDir) -> dict[str, dict[str, Any]]:
    """What went wrong or was mended, by kind: how often, and the latest in full."""
    found: dict[str, dict[str, Any]] = {}
    for event in _read_events(run_dir, None):
        kind = str(event.get("event"))
        if kind not in ROUTINE:
            entry = found.setdefault(kind, {"count": 0, "latest": []})
            entry["count"] += 1
            entry["latest"] = [*entry["latest"], event][-LATEST:]
    return found


def _read_events(run_dir: RunDir, marks: list[bytes] | None) -> list[dict[str, Any]]:
    routine = [f'"event": "{kind}"'.encode() for kind in ROUTINE]
    events = []
    try:
        handle = run_dir.events.open("rb")
    except OSError:
        return []
    with handle:
        for line in handle:
            head = line[:120]
            wanted = any(m in head for m in marks) if marks is not None else not any(m in head for m in routine)
            if wanted:
                try:
                    events.append(json.loads(line))
                except ValueError:
                    continue  # a torn line
    return events


def overview(run_dir: RunDir) -> dict[str, Any]:
    """One line of `rft-engine runs`."""
    started = events_of(run_dir, "run_started")
    evaluations = [e for e in events_of(run_dir, "evaluation_finished") if e.get("split") == "validation"]
    values = [_score(e) for e in evaluations]
    summary = run_dir.read_summary()
    total = started[-1]["total_steps"] if started else (summary or {}).get("steps")
    return {
        "name": run_dir.path.name,
        "path": str(run_dir.path),
        "status": status_of(run_dir),
        "steps": max(_last_step(run_dir), (summary or {}).get("steps", 0)),
        "total_steps": total,
        "validation_before": values[0] if values else None,
        "validation_after": values[-1] if values else None,
        "validation_metric": "loss" if evaluations and evaluations[0].get("reward_mean") is None else "reward",
        "started_at": started[0]["time"] if started else run_dir.config.stat().st_mtime,
        "updated_at": max(p.stat().st_mtime for p in (run_dir.config, run_dir.events, run_dir.summary) if p.exists()),
    }


def _score(event: Mapping[str, Any]) -> float | None:
    value = event.get("reward_mean")
    return value if value is not None else event.get("loss")


def details(path: Path) -> dict[str, Any]:
    """Everything that `rft-engine show` tells."""
    run_dir = RunDir.open(path)
    config = run_dir.read_config()
    return {
        **overview(run_dir),
        "run_id": config.get("run_id"),
        "config_sha256": digest(config.get("resolved", config.get("run_file"))),
        "stages": [
            {**overview(stage), "name": stage.read_config().get("stage", stage.path.name)}
            for stage in stage_dirs(run_dir)
        ],
        "summary": run_dir.read_summary(),
        "last_metrics": last_metrics(run_dir),
        "checkpoints": checkpoint.steps(run_dir),
        "events": notable_events(run_dir),
    }


def listed(folder: Path) -> list[dict[str, Any]]:
    """All runs in a folder, the newest first. A directory that cannot be read is listed with its problem."""
    from rft_core import api

    found = []
    for run_dir in api.runs(folder):
        try:
            found.append(overview(run_dir))
        except (RunDirError, KeyError, TypeError, ValueError) as error:
            found.append(
                {"name": run_dir.path.name, "path": str(run_dir.path), "status": "unreadable", "problem": str(error)}
            )
    return found
