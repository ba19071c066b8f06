"""Stops a run when a grader failed to give too many grades, and says why it failed."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rft_core.boundary import clean_text
from rft_core.errors import IntegrityError, StorageError, TooManyErrorsError
from rft_core.runs.run import Run
from rft_core.storage.store import read_table
from rft_core.types import Outcome

ERROR_WINDOW = 3
"""Steps over which the share of failed grades is taken."""
MOST_SHOWN = 200
"""Characters of a grader's message in the error."""
FAILED = (Outcome.GRADER_ERROR.value, Outcome.TIMED_OUT.value)
COLUMNS = ["item_key", "outcome", "error_kind", "message", "faults"]
_DIGITS = re.compile(r"\d+")


def stop_on_errors(run: Run, done: int) -> None:
    """TooManyErrorsError when a grader failed to give too many grades of the last steps: its fault, not the sample's."""
    steps = range(max(1, done - ERROR_WINDOW + 1), done + 1)
    records = {step: run.journal.last("rollouts", step) for step in steps}
    counts = {step: r.aside for step, r in records.items() if r is not None and "grades" in r.aside}
    grades = sum(of_step["grades"] for of_step in counts.values())
    failures: Counter[str] = Counter()
    for of_step in counts.values():
        failures.update(of_step.get("failures", {"": of_step["failed_grades"]}))
    worst, failed = max(failures.items(), key=lambda named: named[1], default=("", 0))
    limit = run.config.grading.max_error_rate
    if failed > limit * grades:
        by = f" by '{worst}'" if worst else ""
        raise TooManyErrorsError(
            f"{failed / grades:.0%} of the grades{by} of the last {len(counts)} steps failed, more than "
            f"grading.max_error_rate = {limit:.0%}; most often: {_most_often(run, list(counts), worst)}; read more with "
            f"'rft-engine samples {shlex.quote(str(run.run_dir.path))} --worst', mend the grader, then {_go_on(run, done)}"
        )


def _most_often(run: Run, steps: Sequence[int], grader: str) -> str:
    """`no such key (train.jsonl:3)`: the message that most of the failed grades have, but for its numbers, and a row
    with it."""
    seen: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in _failed(run, steps):
        faults = dict(row["faults"] or {"": row["error_kind"]})
        if grader not in faults:
            continue
        said = row["message"] if grader == next(iter(faults)) else None  # of several that failed, the first one's
        message = clean_text(" ".join((said or faults[grader] or row["outcome"]).split()), MOST_SHOWN)
        reason = _DIGITS.sub("0", message)
        seen[reason] += 1
        first.setdefault(reason, f"{message} ({row['item_key']})")
    return first[seen.most_common(1)[0][0]] if seen else "their rollouts are not stored any more"


def _failed(run: Run, steps: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What is stored of each grade that failed."""
    for step in steps:
        try:
            table = read_table(run.run_dir.rollout_file("train", step), COLUMNS)
        except (StorageError, IntegrityError):
            continue
        yield from (row for row in table.to_pylist() if row["outcome"] in FAILED)


def _go_on(run: Run, done: int) -> str:
    """What to do when the grader is mended. After the last step there is something to do only in more steps."""
    path, training, values = run.run_dir.path, run.config.training, run.run_dir.read_config()
    root = path.parent.parent if "stage" in values else path  # the last stage is the run itself
    resume = f"rft-engine resume {shlex.quote(str(root))}"
    if done < run.total_steps:
        return f"'{resume}'"
    more = done + ERROR_WINDOW
    if training.steps is not None:
        longer = f"training.steps={more}"
    else:
        longer = f"training.epochs={math.ceil(more * training.batch_size / len(run.sources.train))}"
    stage = f"stages.{run.lineage}." if "stages" in values["run_file"] else ""
    return f"let the run take more steps: '{resume} --set {stage}{longer}'"
