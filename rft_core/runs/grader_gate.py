"""The check of a grader that a run would learn from, before anything is paid for what it would teach.

A verdict is kept by grader, rows and version of the rules: the next run with the same asks nothing. A grader
that is not deterministic, such as a judge, may cost money and is not asked unbidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from rft_core.canonical import digest
from rft_core.config.run_file import RunConfig
from rft_core.errors import StorageError
from rft_core.protocols import DataSource
from rft_core.registry import Registry
from rft_core.runs import grader_check
from rft_core.runs.assembly import cache_dir, grader_version, is_deterministic, learns_from_grades
from rft_core.runs.versions import versions
from rft_core.storage.files import storage, write_json

log = structlog.get_logger(__name__)

ROWS = 256
"""Rows that the check may look at."""
LEAST_ROWS = 4
"""With fewer, what a grader makes of right and wrong cannot be seen."""
BUDGET_S = 15.0
TOLD = 3
"""Findings in the error, at most."""
BEARABLE = frozenset({"slow", "ignores_item"})
"""Errors of the check that do not refuse a run: what costs time alone, and grading form alone, which may be meant."""
OF_KNOWLEDGE = frozenset({"hackable", "length", "repetition", "listing", "reference_not_best", "reference_unrewarded"})
"""Errors that say nothing of a grader that is not about knowledge."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check came to."""

    word: Literal["sound", "bad", "not asked"]
    reason: str = ""


def judge(registry: Registry, config: RunConfig, train: DataSource, base_dir: Path) -> Verdict | None:
    """The verdict on the grader of a stage; None if the stage learns from no grades, or asks for no check."""
    if config.grader is None or not config.grading.check or not learns_from_grades(registry, config):
        return None
    if not is_deterministic(registry, config.grader):
        return Verdict(word="not asked", reason="it may cost money")
    if len(train) < LEAST_ROWS:
        return Verdict(word="not asked", reason=f"{len(train)} rows are too few")
    report, kept = _report(registry, config, config.grader, train, base_dir)
    told = list(_errors(report))
    if not told:
        return Verdict(word="sound")
    more = f", and {len(told) - TOLD} more" if len(told) > TOLD else ""
    grader = str(config.grader.get("name") or config.grader["type"])
    return Verdict(
        word="bad",
        reason=f"the grader '{grader}' fails its check: {'; '.join(told[:TOLD])}{more}. Mend it"
        f"{f' (all that was tried is in {kept})' if kept else ''}, or begin anyway with --set grading.check=false",
    )


def _report(
    registry: Registry, config: RunConfig, grader: Mapping[str, Any], train: DataSource, base_dir: Path
) -> tuple[Mapping[str, Any], Path | None]:
    """The report of the check, from the cache or by asking the grader now, and the file that holds it. A cache
    that cannot be written is no reason to refuse a run."""
    key = digest(
        [grader_version(registry, grader, base_dir), train.fingerprint(), config.grading.target, dict(versions())]
    )
    file = cache_dir() / "checks" / f"{key.removeprefix('sha256:')}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8")), file
    except (OSError, ValueError):
        pass  # not asked yet, or a damaged file
    items = [train.item(i) for i in grader_check.spread_over(len(train), ROWS)]
    worker = config.grading.worker.model_copy(update={"in_process": False, "count": 1})
    options = grader_check.Options(budget_s=BUDGET_S, worker=worker, target=config.grading.target)
    report = grader_check.check(registry, grader, items, base_dir=base_dir, options=options).to_json()
    try:
        with storage("keep a verdict", file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, report)
    except StorageError as error:
        log.warning("verdict_not_kept", error=str(error))
        return report, None
    return report, file


def _errors(report: Mapping[str, Any]) -> Iterator[str]:
    """The errors that refuse a run, with the first failure's own words where the grader failed."""
    errors = [f for f in report["findings"] if f["severity"] == "error"]
    of_form = any(f["kind"] == "ignores_item" for f in errors)
    for finding in errors:
        if finding["kind"] in BEARABLE or (of_form and finding["kind"] in OF_KNOWLEDGE):
            continue
        notes = [e["note"] for e in finding["evidence"] if e["note"]] if finding["kind"].startswith("fails") else []
        yield f"{finding['kind']}: {finding['message']}" + (f" ({notes[0]})" if notes else "")
