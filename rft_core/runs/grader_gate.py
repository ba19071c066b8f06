"""Refuses to begin a run whose grader fails its check, before anything is paid for what it would teach.

A verdict is kept by grader, rows and version of the rules: the next run with the same asks nothing. A grader
that is not deterministic, such as a judge, may cost money and is not asked unbidden.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft_core.canonical import digest
from rft_core.config.run_file import RunConfig, RunFile
from rft_core.errors import ConfigError
from rft_core.registry import Registry
from rft_core.runs import grader_check
from rft_core.runs.assembly import cache_dir, grader_version, is_deterministic, open_source
from rft_core.runs.run import Listener
from rft_core.runs.versions import versions
from rft_core.storage.files import write_json

ROWS = 256
"""Rows that the check may look at."""
BUDGET_S = 15.0
TOLD = 3
"""Findings in the error, at most."""
BEARABLE = {"slow"}
"""Errors of the check that only cost time."""


def refuse_bad_graders(run_file: RunFile, registry: Registry, listeners: Sequence[Listener]) -> None:
    """ConfigError for a grader that a stage would learn from, and that fails its check."""

    def tell(kind: str, **values: Any) -> None:
        for listener in listeners:
            listener(kind, values)

    for name, config in run_file.stages:
        if config.grader is None or not config.grading.check or not _learns_from_grades(registry, config):
            continue
        grader = str(config.grader.get("name") or config.grader["type"])
        if not is_deterministic(registry, config.grader):
            tell("grader_checked", stage=name, grader=grader, verdict="not asked: it may cost money")
            continue
        tell("phase", waits_for="checking the grader")
        verdict = _verdict(registry, config, run_file.base_dir)
        tell("grader_checked", stage=name, grader=grader, verdict="bad" if verdict.errors else "sound")
        if verdict.errors:
            raise ConfigError(
                f"the grader '{grader}' fails its check: {verdict.told()}. Mend it (all answers that were tried are in "
                f"{verdict.file}), or begin anyway with --set grading.check=false",
                where="grader" if len(run_file.stages) == 1 else f"stage {name}: grader",
            )


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What a check came to, as `file` holds it."""

    report: Mapping[str, Any]
    file: Path

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        return [f for f in self.report["findings"] if f["severity"] == "error" and f["kind"] not in BEARABLE]

    def told(self) -> str:
        more = f", and {len(self.errors) - TOLD} more" if len(self.errors) > TOLD else ""
        return "; ".join(f"{f['kind']}: {f['message']}" for f in self.errors[:TOLD]) + more


def _verdict(registry: Registry, config: RunConfig, base_dir: Path) -> _Verdict:
    """From the cache, or by asking the grader now."""
    assert config.grader is not None
    source = open_source(registry, config, "train", base_dir)
    assert source is not None
    key = digest([grader_version(registry, config.grader, base_dir), source.fingerprint(), dict(versions())])
    file = cache_dir() / "checks" / f"{key.removeprefix('sha256:')}.json"
    try:
        return _Verdict(report=json.loads(file.read_text(encoding="utf-8")), file=file)
    except (OSError, ValueError):
        pass  # not asked yet, or a damaged file
    items = [source.item(i) for i in grader_check.spread_over(len(source), ROWS)]
    worker = config.grading.worker.model_copy(update={"in_process": False, "count": 1})
    options = grader_check.Options(budget_s=BUDGET_S, worker=worker)
    report = grader_check.check(registry, config.grader, items, base_dir=base_dir, options=options).to_json()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, report)
    return _Verdict(report=report, file=file)


def _learns_from_grades(registry: Registry, config: RunConfig) -> bool:
    spec = registry.registered("optimizer", config.optimizer["type"]).spec
    return spec.needs == "rollouts"  # type: ignore[union-attr]
