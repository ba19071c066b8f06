"""Named points at which a test can make the process die, to prove that a run survives it.

`RFT_FAILPOINT=name` kills the process with SIGKILL at the first visit of `name`, `name@3` at the
third. `RFT_FAILPOINT_LOG=file` appends every visited name, so that a test-suite can prove that each
point was reached. Without these variables a visit costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

NAMES = (
    "run.created",
    "run.config_written",
    "model.ready",
    "pools.started",
    "recover.opened",
    "recover.checkpoint_loaded",
    "recover.step_replayed",
    "plan.before_journal",
    "plan.after_journal",
    "collect.unit_sampled",
    "collect.unit_graded",
    "collect.before_store",
    "store.temporary_written",
    "store.renamed",
    "rollouts.before_journal",
    "rollouts.after_journal",
    "update.before",
    "update.after",
    "update.before_journal",
    "update.before_fsync",
    "update.after_fsync",
    "journal.half_record",
    "journal.new_segment",
    "publish.before",
    "publish.written",
    "publish.loaded",
    "evaluation.before_store",
    "evaluation.before_journal",
    "evaluation.after_journal",
    "checkpoint.before",
    "checkpoint.written",
    "checkpoint.synced",
    "checkpoint.renamed",
    "checkpoint.before_journal",
    "checkpoint.before_prune",
    "finish.before_test",
    "finish.before_final",
    "finish.before_summary",
    "finish.after_summary",
)

_armed, _, _nth = os.environ.get("RFT_FAILPOINT", "").partition("@")
_log = os.environ.get("RFT_FAILPOINT_LOG", "")
_visits: dict[str, int] = {}


def armed(name: str) -> bool:
    """Whether the process dies at a visit of this point: for points that must be prepared."""
    return name == _armed


def hit(name: str) -> None:
    """Visit a point. KeyError-like assertion for a name that is not in NAMES: our own bug."""
    if not _armed and not _log:
        return
    assert name in NAMES, name
    _visits[name] = _visits.get(name, 0) + 1
    if _log:
        with Path(_log).open("a") as handle:
            handle.write(name + "\n")
    if name == _armed and _visits[name] == int(_nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)
