"""The loop: sample → grade → optimise → validate. This file is the run, top to bottom.

A step counts once its update is in the journal and synced; everything before that is done again,
with the same result, by whoever resumes. Nothing here knows what a component is or where it runs.
`failpoints.hit` names an instant at which a test may kill the process; in a run it does nothing.
"""

from __future__ import annotations

from rft_core import failpoints
from rft_core.clock import StepClock
from rft_core.errors import IntegrityError, StopRequested, TooManyErrorsError
from rft_core.runs.collect import collect_step
from rft_core.runs.evaluation import Evaluation, evaluate, line_of
from rft_core.runs.failed_grades import ERROR_WINDOW, stop_on_errors
from rft_core.runs.recovery import recover, restore_metrics, train_batch, update_record
from rft_core.runs.run import Run
from rft_core.runs.step_metrics import sampling_line, step_line, time_line
from rft_core.runs.validation_history import ValidationHistory
from rft_core.storage import checkpoint
from rft_core.storage.journal import Record


def train(run: Run) -> int:
    """Run the stage from where it stands to its end. Returns the last step.

    StopRequested on a polite stop, with a checkpoint on disk; TooManyErrorsError likewise."""
    done = recover(run)
    restore_metrics(run, done)
    run.emit("run_started", run_dir=str(run.run_dir.path), run_id=run.run_id, total_steps=run.total_steps, step=done)
    history = ValidationHistory(run)
    resumed_at = done
    try:
        settle(run, done, history)
        while done < run.total_steps and not history.stalled:
            run.check_stop()
            take_step(run, done + 1)
            done += 1
            settle(run, done, history)
            if done - resumed_at >= ERROR_WINDOW:  # whoever resumes may have mended the grader
                stop_on_errors(run, done)
        stop_on_errors(run, done)
    except (StopRequested, TooManyErrorsError):
        save(run, done, history)
        raise
    if history.stalled:
        save(run, done, history)
    return done


def settle(run: Run, step: int, history: ValidationHistory) -> None:
    """What is due after a step: validation, a checkpoint. Does nothing that was done before."""
    config = run.config
    at_end = step == run.total_steps
    validated = at_end or step % config.validation.eval_interval == 0
    if validated:
        history.seen(validate(run, step))
    among_best = validated and step in history.best_steps(config.checkpoints.keep_best)
    if at_end or among_best or step % (config.checkpoints.interval or config.validation.eval_interval) == 0:
        save(run, step, history)


def take_step(run: Run, step: int) -> None:
    """One round of sample, grade, update."""
    clock = StepClock()
    plan(run, step)
    groups = collect_step(run, step, clock) if run.optimizer.needs == "rollouts" else ()
    run.phase("training")
    failpoints.hit("update.before")
    with clock.measure("train"):
        report = run.optimizer.step(train_batch(run, step, groups, run.total_steps))
    failpoints.hit("update.after")
    run.policy_changed(report.policy)
    run.finish_storing()
    sampled = sampling_line(run.journal.last("rollouts", step))
    run.sampled_tokens += sampled.get("sampled_tokens", 0)
    failpoints.hit("update.before_journal")
    run.journal.append(update_record(step, report, run.total_steps))
    failpoints.hit("update.before_fsync")
    run.journal.commit()
    failpoints.hit("update.after_fsync")
    clock.finish()
    line = step_line(step, groups, report, run.sampled_tokens) | sampled
    line |= time_line(clock, sampled.get("sampled_tokens", 0), run.elapsed_s)
    if run.ledger is not None:
        line["cost_usd_total"] = run.ledger.spend().cost_usd
    run.run_dir.log_metrics(line)
    run.emit("step_finished", **line)
    for sentence in report.alarms:
        run.alarm(step, sentence)


def plan(run: Run, step: int) -> None:
    """Journal which rows the step draws, unless an earlier process did. IntegrityError if it drew others."""
    draws = run.draws(step)
    data = {"first_ordinal": draws[0].ordinal, "indices": [draw.index for draw in draws]}
    planned = run.journal.last("plan", step)
    if planned is not None:
        if dict(planned.data) != data:
            raise IntegrityError(
                f"step {step} would draw other rows than the journal planned: the software changed; "
                "go on where the run began, or start a new one with init_from"
            )
        return
    failpoints.hit("plan.before_journal")
    run.journal.append(Record(kind="plan", step=step, data=data))
    failpoints.hit("plan.after_journal")


def validate(run: Run, step: int) -> Evaluation | None:
    """Evaluate the validation rows and tell everyone."""
    evaluation = evaluate(run, step)
    if evaluation is not None:
        run.emit("evaluation_finished", **line_of(evaluation))
    return evaluation


def save(run: Run, step: int, history: ValidationHistory) -> None:
    """Write a checkpoint of `step` and drop those that are neither last nor among the best."""
    if step == 0:
        return
    run.phase("saving")
    path = checkpoint.save(run.run_dir, step, run.optimizer)
    failpoints.hit("checkpoint.before_journal")
    saved = run.journal.last("checkpoint")
    if saved is None or saved.step != step:
        run.journal.append(Record(kind="checkpoint", step=step))
        run.journal.new_segment()
    checkpoint.prune(run.run_dir, {step, *history.best_steps(run.config.checkpoints.keep_best)})
    run.emit("checkpoint_saved", step=step, path=str(path))
