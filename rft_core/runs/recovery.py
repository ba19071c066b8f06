"""Puts a run back where it was: the last whole checkpoint, then the stored steps since, replayed.

A step counts when its update is in the journal. Steps past the checkpoint are trained again from
their stored rollouts, which costs no sampling and no grading, and each must give the report that the
journal holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rft_core import failpoints
from rft_core.clock import StepClock
from rft_core.errors import IntegrityError
from rft_core.runs.assembly import other_model_digests
from rft_core.runs.collect import collect_step, stored_groups
from rft_core.runs.evaluation import evaluate
from rft_core.runs.planning import items_of
from rft_core.runs.run import Run
from rft_core.runs.step_metrics import sampling_line, step_line
from rft_core.runs.versions import versions
from rft_core.storage import checkpoint
from rft_core.storage.journal import Record
from rft_core.types import GradedGroup, ModelRef, TrainBatch, TrainReport
from rft_core.weights import digest_of


def recover(run: Run) -> int:
    """Bring the optimizer to the last step that counts, and return it; 0 for a new run.

    IntegrityError if what is stored is not what was written, or does not give the same update again though
    every component says that it repeats itself. Where one does not, as on a GPU, the run goes on from the
    new update and logs `replay_differs`: still each rollout is trained on once."""
    failpoints.hit("recover.opened")
    if run.journal.cut_bytes:
        run.run_dir.log_event("journal_tail_cut", bytes=run.journal.cut_bytes)
    _check_same_run(run)
    last = run.journal.steps_done
    if last == 0:
        return 0
    start = 0
    if checkpoint.steps(run.run_dir):
        start, faults = checkpoint.latest_whole(run.run_dir, last)
        for fault in faults:
            run.run_dir.log_event("checkpoint_passed_over", fault=fault)
        run.optimizer.load(run.run_dir.checkpoint(start) / "optimizer")
        run.policy_changed(run.policy_at(start))
        failpoints.hit("recover.checkpoint_loaded")
        _restore_evaluation(run, start)
    for step in range(start + 1, last + 1):
        run.check_signal()
        run.phase(f"replaying step {step}")
        _replay(run, start, step)
        failpoints.hit("recover.step_replayed")
    return last


def train_batch(run: Run, step: int, groups: Sequence[GradedGroup], total_steps: int) -> TrainBatch:
    """What the optimizer gets for a step: groups, or the items where it needs labels or pairs."""
    items = items_of(run.draws(step), run.sources.train) if run.optimizer.needs != "rollouts" else ()
    return TrainBatch(step=step, total_steps=total_steps, groups=tuple(groups), items=items)


def update_record(step: int, report: TrainReport, total_steps: int) -> Record:
    """What the journal holds of an update: everything the optimizer reported, and how long the run was to
    be, which a schedule follows and an extension changes."""
    data: Mapping[str, object] = {
        "policy": report.policy,
        "metrics": dict(report.metrics),
        "trained_tokens": report.trained_tokens,
        "dropped": dict(report.dropped),
    }
    return Record(kind="update", step=step, data=data, aside={"total_steps": total_steps})


def restore_metrics(run: Run, done: int) -> None:
    """Make metrics.jsonl hold one line for each step that counts, and no other.

    A process can die between the moment a step counts and the moment its line is written, and a replay can
    give another update where components do not repeat themselves. What the line says of the step follows
    from the journal and the rollout store. Its times are lost."""
    records = run.journal.records
    sampled = {
        (record.kind, record.step): int(record.aside.get("sampled_tokens", 0))
        for record in records
        if record.kind in ("rollouts", "evaluation")
    }
    updates = Counter(record.step for record in records if record.kind == "update")
    lines = run.run_dir.read_lines(run.run_dir.metrics)
    kept = {line["step"]: line for line in lines if updates[line.get("step", 0)] == 1}

    def total(step: int) -> int:
        """Tokens sampled when the line of `step` is written: its own, and of the evaluations before it."""
        return sum(
            n
            for (kind, s), n in sampled.items()
            if (kind == "rollouts" and s <= step) or (kind == "evaluation" and s < step)
        )

    elapsed_s = 0.0
    for step in range(1, done + 1):
        if step not in kept:
            groups = stored_groups(run, "rollouts", step, "train") or ()
            line = step_line(step, groups, _report_of(run, step), total(step))
            kept[step] = line | sampling_line(run.journal.last("rollouts", step)) | {"elapsed_s": elapsed_s}
        elapsed_s = kept[step]["elapsed_s"]
    run.run_dir.rewrite_metrics(kept[step] for step in range(1, done + 1))
    run.sampled_tokens = sum(n for (kind, s), n in sampled.items() if kind != "rollouts" or s <= done)


def _report_of(run: Run, step: int) -> TrainReport:
    """What the optimizer reported of a step, as the journal holds it."""
    record = run.journal.last("update", step)
    assert record is not None
    data = record.data
    return TrainReport(
        metrics=data["metrics"], trained_tokens=data["trained_tokens"], policy=data["policy"], dropped=data["dropped"]
    )


def _replay(run: Run, start: int, step: int) -> None:
    expected = run.journal.last("update", step)
    assert expected is not None
    # What a power cut tore is sampled again, under the weights it was sampled with, and must be the same.
    groups = collect_step(run, step, StepClock()) if run.optimizer.needs == "rollouts" else ()
    total_steps = int(expected.aside.get("total_steps", run.total_steps))
    report = run.optimizer.step(train_batch(run, step, groups, total_steps))
    run.finish_storing()
    if update_record(step, report, total_steps).data != expected.data:
        if run.optimizer.bitwise and not _resampled(run, start, step):
            raise IntegrityError(
                f"training step {step} again gave another update than the journal recorded: the software, the number "
                "of threads or the processor changed; go on where the run began, or start a new one with init_from"
            )
        run.run_dir.log_event("replay_differs", step=step, metrics=dict(report.metrics))
        run.journal.append(update_record(step, report, total_steps))
    run.policy_changed(report.policy)
    _restore_evaluation(run, step)


def _resampled(run: Run, start: int, step: int) -> bool:
    """Whether other rollouts took the place of stored ones that were lost, in a step after `start`."""
    stored = [record.step for record in run.journal.records if record.kind == "rollouts"]
    return any(stored.count(s) > 1 for s in range(start + 1, step + 1))


def _restore_evaluation(run: Run, step: int) -> None:
    """Sample an evaluation again whose file did not survive, while its weights are at hand."""
    if run.journal.last("evaluation", step) is not None:
        evaluate(run, step)


def _check_same_run(run: Run) -> None:
    """Journal what the run is, or make sure that it is still the same.

    Data and model are the run: IntegrityError when they changed. Of what surrounds them, such as the
    software, a change is noted in events.jsonl; where it changes bits, the replay of a step tells."""
    data = {
        "seed": run.config.seed,
        "data": {
            split: None if (source := run.sources.of(split)) is None else source.fingerprint()
            for split in ("train", "validation", "test")
        },
        "model": _model_digest(run.model),
    }
    if others := other_model_digests(run.registry, run.config, run.base_dir):
        data["other models"] = others
    around = {
        "versions": dict(versions()),
        "grader": run.grader_version,
        "sampler": None if run.samplers is None else run.samplers.info.fingerprint,
    }
    first = run.journal.last("run")
    if first is None:
        aside = {"run_id": run.run_id, "initial_policy": run.policy.digest if run.policy is not None else None}
        run.journal.append(Record(kind="run", step=0, data=data, aside={**aside, **around}))
        run.journal.commit()
        return
    for key, value in data.items():
        if key in first.data and first.data[key] != value:
            raise IntegrityError(
                f"the {key} of the run in {run.run_dir.path} changed since it began; restore the files, "
                "or start a new run with init_from"
            )
    changed = {
        key: {"was": first.aside.get(key), "is": value}
        for key, value in around.items()
        if first.aside.get(key) != value
    }
    if changed:
        run.run_dir.log_event("run_changed", **changed)


def _model_digest(model: ModelRef) -> list[str]:
    """Digests of the weights that the run starts from: the base, and the adapter over it."""
    return [digest_of(folder) for folder in (model.path, model.adapter) if folder is not None]
