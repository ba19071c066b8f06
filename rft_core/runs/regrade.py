"""Grades the rollouts of a run again with another grader, and says what would have been otherwise."""

from __future__ import annotations

import itertools
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rft_core.config.workers import WorkerConfig
from rft_core.errors import RunDirError
from rft_core.pools.pool import open_pool
from rft_core.registry import Registry
from rft_core.runs.planning import rollouts_digest
from rft_core.stats import rank_correlation
from rft_core.storage import store
from rft_core.storage.rundir import RunDir
from rft_core.types import Grade, GradedGroup, GradeUnit, Group

GROUPS_PER_UNIT = 16
Pair = tuple[Grade, Grade]
"""The stored grade of a rollout, and the new one."""


def regrade(
    run_dir: RunDir,
    grader: Mapping[str, Any],
    *,
    base_dir: Path,
    registry: Registry,
    split: str = "train",
    steps: Sequence[int] | None = None,
    workers: int = 1,
    timeout_s: float = 60.0,
    phase: Callable[[str], None] = lambda waits_for: None,
) -> dict[str, Any]:
    """What `grader` makes of the stored rollouts of a split, beside what the run's own grader did.

    The run is read only. RunDirError if it stored none; errors of the grader are grades, as in a run."""
    files = _files(run_dir, split, steps)
    run_id = f"regrade-{uuid.uuid4().hex}"
    per_step: list[dict[str, Any]] = []
    everything: list[list[list[Pair]]] = []
    with tempfile.TemporaryDirectory(prefix="rft-regrade-") as logs:
        pool = open_pool(
            "grader",
            grader,
            WorkerConfig(count=workers),
            run_id=run_id,
            base_dir=base_dir,
            log_dir=Path(logs),
            registry=registry,
        )
        with pool:
            for step, file in files:
                phase(f"grading step {step}")
                graded = store.from_table(store.read_table(file))
                futures = [pool.submit(unit) for unit in _units(graded, run_id, timeout_s)]
                fresh = [grades for future in futures for grades in future.result().grades]
                pairs = [list(zip(g.grades, new, strict=True)) for g, new in zip(graded, fresh, strict=True)]
                per_step.append({"step": step, **_means(pairs)})
                everything.append(pairs)
    groups = [group for pairs in everything for group in pairs]
    return {"run_dir": str(run_dir.path), "split": split, **_comparison(groups), "per_step": per_step}


def _files(run_dir: RunDir, split: str, steps: Sequence[int] | None) -> list[tuple[int, Path]]:
    prefix = "step-" if split == "train" else f"{split}-step-"
    found = {
        int(path.stem.removeprefix(prefix)): path
        for path in run_dir.rollouts.glob(f"{prefix}*.parquet")
        if path.stem.removeprefix(prefix).isdigit()
    }
    if not found:
        raise RunDirError(f"{run_dir.path} stored no rollouts of the {split} rows")
    wanted = sorted(found) if steps is None else list(steps)
    missing = [step for step in wanted if step not in found]
    if missing:
        raise RunDirError(
            f"{run_dir.path} stored no {split} rollouts of step {missing[0]}; it has steps {min(found)} to {max(found)}"
        )
    return [(step, found[step]) for step in wanted]


def _units(graded: Sequence[GradedGroup], run_id: str, timeout_s: float) -> Iterator[GradeUnit]:
    groups: tuple[Group, ...] = tuple(g.group for g in graded)
    for start in range(0, len(groups), GROUPS_PER_UNIT):
        part = groups[start : start + GROUPS_PER_UNIT]
        request_id = f"grade-{rollouts_digest(part)}"
        yield GradeUnit(request_id=request_id, run_id=run_id, groups=part, timeout_s=timeout_s)


def _means(groups: Sequence[Sequence[Pair]]) -> dict[str, float | None]:
    """Mean reward of each grader, over what it gave a reward."""
    result: dict[str, float | None] = {}
    for name, index in (("was", 0), ("is", 1)):
        rewards = [pair[index].reward for group in groups for pair in group]
        known = [reward for reward in rewards if reward is not None]
        result[name] = sum(known) / len(known) if known else None
    return result


def _comparison(groups: Sequence[Sequence[Pair]]) -> dict[str, Any]:
    both = [
        [(old.reward, new.reward) for old, new in group if old.reward is not None and new.reward is not None]
        for group in groups
    ]
    rewards = [pair for group in both for pair in group]
    ordered = flipped = lost_spread = 0
    for group in both:
        for (a_old, a_new), (b_old, b_new) in itertools.combinations(group, 2):
            if a_old != b_old:
                ordered += 1
                flipped += (a_old - b_old) * (a_new - b_new) < 0
        olds, news = {old for old, _ in group}, {new for _, new in group}
        lost_spread += len(olds) > 1 and len(news) == 1
    return {
        "rollouts": sum(len(group) for group in groups),
        "compared": len(rewards),
        **_means(groups),
        "rank_correlation": rank_correlation([old for old, _ in rewards], [new for _, new in rewards]),
        "changed": sum(old != new for old, new in rewards) / len(rewards) if rewards else None,
        "pairs": ordered,
        "flipped_pairs": flipped / ordered if ordered else None,
        "groups_that_lose_their_spread": lost_spread,
        "outcomes": dict(Counter(new.outcome.value for group in groups for _, new in group)),
    }
