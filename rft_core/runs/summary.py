"""The end of a stage: the test split, `final/`, summary.json."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rft_core import failpoints
from rft_core.runs.assembly import makes_policy
from rft_core.runs.evaluation import Evaluation, compare, evaluate, evaluate_test, report_of
from rft_core.runs.model_card import model_card
from rft_core.runs.run import Run
from rft_core.runs.validation_history import ValidationHistory
from rft_core.runs.versions import versions
from rft_core.storage import checkpoint
from rft_core.storage.files import fsync_folder, fsync_tree, storage, write_bytes
from rft_core.weights import digest_of


def finish(run: Run, done: int) -> dict[str, Any]:
    """Evaluate the test rows once, copy the result to `final/`, and say what came of the run."""
    best = next(iter(ValidationHistory(run).best_steps(1)), None)
    chosen = best if run.config.result == "best" and best is not None else done
    checkpoint.verify(run.run_dir, chosen)
    policy = run.run_dir.checkpoint(chosen) / "optimizer" / "policy"
    failpoints.hit("finish.before_test")
    test: tuple[Evaluation, Evaluation] | None = None
    if run.sources.test is not None and run.samplers is not None:
        test = (evaluate_test(run, 0), evaluate_test(run, chosen))
    failpoints.hit("finish.before_final")
    _copy_final(run, policy)
    summary = summarise_run(run, done, best, chosen, test)
    card = model_card(run.config, str(run.model.path), summary, writes=makes_policy(run.registry, run.config))
    write_bytes(run.run_dir.final / "README.md", card.encode())
    failpoints.hit("finish.before_summary")
    run.run_dir.write_summary(summary)
    failpoints.hit("finish.after_summary")
    run.emit("run_finished", **summary)
    return summary


def _copy_final(run: Run, policy: Path) -> None:
    temporary = run.run_dir.path / ".final.tmp"
    with storage("write final", run.run_dir.path):
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(policy, temporary)
        fsync_tree(temporary)
        shutil.rmtree(run.run_dir.final, ignore_errors=True)
        temporary.rename(run.run_dir.final)
        fsync_folder(run.run_dir.path)


def summarise_run(
    run: Run, done: int, best: int | None, chosen: int, test: tuple[Evaluation, Evaluation] | None
) -> dict[str, Any]:
    """The content of summary.json of a finished stage."""
    lines = list(run.run_dir.read_lines(run.run_dir.metrics))
    dropped: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for line in lines:
        dropped.update(line.get("dropped", {}))
        outcomes.update({k.removeprefix("outcome/"): n for k, n in line.items() if k.startswith("outcome/")})
    timed = [line for line in lines if "step_s" in line]  # one restored after a crash has no times
    wall = sum(line["step_s"] for line in timed)
    summary: dict[str, Any] = {
        "status": "succeeded",
        "run_id": run.run_id,
        "steps": done,
        "best_step": best,
        "result_step": chosen,
        "wall_s": run.wall_s,
        "stages": [*run.ended, {"stage": run.lineage, "steps": done, "wall_s": run.elapsed_s, "cached": False}],
        "final_weights_sha256": digest_of(run.run_dir.final).removeprefix("sha256:"),
        "journal_sha256": run.journal.canonical_sha256,
        "validation": _split_report(run, done, best),
        "test": None if test is None else _pair_report(run, *test),
        "engine_share": 1.0 - sum(line["component_s"] for line in timed) / wall if wall else None,
        "step_s_mean": wall / len(timed) if timed else None,
        "rollouts": sum(line.get("rollouts", 0) for line in lines),
        "sampled_tokens": sum(line.get("sampled_tokens", 0) for line in lines),
        "trained_tokens": sum(line.get("trained_tokens", 0) for line in lines),
        "dropped": dict(dropped),
        "zero_variance_groups": int(sum(line.get("zero_variance_groups", 0) for line in lines)),
        "outcomes": dict(outcomes),
        "alarms": _alarms(run),
        "spend": None if run.ledger is None else asdict(run.ledger.spend()),
        "versions": versions(),
    }
    return summary


def _alarms(run: Run) -> dict[str, Any] | None:
    """In how many steps something looked wrong, and what it was the last time."""
    found = {
        (line["step"], line["message"]): None  # a step that was done again after a crash says it again
        for line in run.run_dir.read_lines(run.run_dir.events)
        if line["event"] == "alarm"
    }
    if not found:
        return None
    step, message = max(found, key=lambda one: one[0])
    return {"steps": len({step for step, _ in found}), "last_step": step, "last": message}


def _split_report(run: Run, done: int, best: int | None) -> dict[str, Any] | None:
    if run.journal.last("evaluation", 0) is None:
        return None
    before, after = evaluate(run, 0), evaluate(run, done)
    assert before is not None
    assert after is not None
    report = _pair_report(run, before, after)
    if best is not None and (at_best := evaluate(run, best)) is not None:
        report["best"] = report_of(at_best, seed=run.config.seed)
    return report


def _pair_report(run: Run, before: Evaluation, after: Evaluation) -> dict[str, Any]:
    seed = run.config.seed
    return {
        "before": report_of(before, seed=seed),
        "after": report_of(after, seed=seed),
        "gain": compare(before, after, seed=seed),
    }
