"""The loop: sample → grade → optimise → validate. This file is the run, top to bottom.

A step counts once its update is in the journal and synced; everything before that is done again,
with the same result, by whoever resumes. Nothing here knows what a component is or where it runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from rft_core import failpoints
from rft_core.clock import StepClock
from rft_core.errors import ConfigError, StopRequested, TooManyErrorsError
from rft_core.runs.collect import collect_step
from rft_core.runs.evaluation import Evaluation, evaluate, line_of
from rft_core.runs.recovery import recover, restore_metrics, train_batch, update_record
from rft_core.runs.run import Run
from rft_core.runs.step_metrics import step_line, time_line, tokens_of
from rft_core.storage import checkpoint
from rft_core.storage.journal import Record
from rft_core.types import GradedGroup, Outcome

ERROR_WINDOW = 3
"""Steps over which the share of failed grades is taken."""


def train(run: Run) -> int:
    """Run the stage from where it stands to its end. Returns the last step.

    StopRequested on a polite stop, with a checkpoint on disk; TooManyErrorsError likewise."""
    done = recover(run)
    restore_metrics(run, done)
    run.emit("run_started", run_dir=str(run.run_dir.path), run_id=run.run_id, total_steps=run.total_steps, step=done)
    progress = Progress(run)
    errors: deque[float] = deque(maxlen=ERROR_WINDOW)
    try:
        settle(run, done, progress)
        while done < run.total_steps and not progress.stalled:
            run.check_stop()
            groups = take_step(run, done + 1)
            done += 1
            settle(run, done, progress)
            errors.append(error_rate(groups))
            stop_on_errors(run, errors)
    except (StopRequested, TooManyErrorsError):
        save(run, done, progress)
        raise
    if progress.stalled:
        save(run, done, progress)
    return done


def settle(run: Run, step: int, progress: Progress) -> None:
    """What is due after a step: validation, a checkpoint. Does nothing that was done before."""
    last = step == run.total_steps
    if last or step % run.config.validation.eval_interval == 0:
        progress.seen(validate(run, step))
    if last or step % progress.checkpoint_interval == 0:
        save(run, step, progress)


def take_step(run: Run, step: int) -> tuple[GradedGroup, ...]:
    """One round of sample, grade, update."""
    clock = StepClock()
    plan(run, step)
    groups = collect_step(run, step, clock) if run.optimizer.needs == "rollouts" else ()
    run.sampled_tokens += tokens_of(groups)
    run.phase("training")
    failpoints.hit("update.before")
    with clock.measure("train"):
        report = run.optimizer.step(train_batch(run, step, groups))
    failpoints.hit("update.after")
    run.policy_changed(report.policy)
    run.finish_storing()
    failpoints.hit("update.before_journal")
    run.journal.append(update_record(step, report))
    failpoints.hit("update.before_fsync")
    run.journal.commit()
    failpoints.hit("update.after_fsync")
    clock.finish()
    line = step_line(step, groups, report, run.sampled_tokens) | time_line(clock, groups, run.elapsed_s)
    run.run_dir.log_metrics(line)
    run.emit("step_finished", **line)
    return groups


def plan(run: Run, step: int) -> None:
    """Journal which rows the step draws, unless an earlier process did."""
    if run.journal.last("plan", step) is not None:
        return
    failpoints.hit("plan.before_journal")
    draws = run.draws(step)
    run.journal.append(
        Record(
            kind="plan", step=step, data={"first_ordinal": draws[0].ordinal, "indices": [draw.index for draw in draws]}
        )
    )
    failpoints.hit("plan.after_journal")


def validate(run: Run, step: int) -> Evaluation | None:
    """Evaluate the validation rows and tell everyone."""
    evaluation = evaluate(run, step)
    if evaluation is not None:
        run.emit("evaluation_finished", **line_of(evaluation))
    return evaluation


def save(run: Run, step: int, progress: Progress) -> None:
    """Write a checkpoint of `step` and drop those that are neither last nor among the best."""
    if step == 0:
        return
    run.phase("saving")
    path = checkpoint.save(run.run_dir, step, run.optimizer)
    failpoints.hit("checkpoint.before_journal")
    last = run.journal.last("checkpoint")
    if last is None or last.step != step:
        run.journal.append(Record(kind="checkpoint", step=step))
        run.journal.new_segment()
    checkpoint.prune(run.run_dir, {step, *progress.best_steps(run.config.checkpoints.keep_best)})
    run.emit("checkpoint_saved", step=step, path=str(path))


def error_rate(groups: Sequence[GradedGroup]) -> float:
    """Share of the grades that failed: the grader's fault, not the sample's."""
    grades = [grade for graded in groups for grade in graded.grades]
    failed = sum(g.outcome in (Outcome.GRADER_ERROR, Outcome.TIMED_OUT) for g in grades)
    return failed / len(grades) if grades else 0.0


def stop_on_errors(run: Run, recent: deque[float]) -> None:
    """TooManyErrorsError when too many grades of the last steps failed."""
    limit = run.config.grading.max_error_rate
    rate = sum(recent) / len(recent) if recent else 0.0
    if len(recent) == ERROR_WINDOW and rate > limit:
        raise TooManyErrorsError(
            f"{rate:.0%} of the grades of the last {ERROR_WINDOW} steps failed, more than grading.max_error_rate = {limit:.0%}; "
            f"read why with 'rft-engine samples {run.run_dir.path} --worst', mend the grader, "
            f"then 'rft-engine resume {run.run_dir.path}'"
        )


class Progress:
    """What the validation says so far: which steps were best, and whether to go on."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.scores: dict[int, float] = {}
        """Step → what improves: mean reward, or minus the loss."""
        for record in run.journal.records:
            if record.kind == "evaluation":
                self._add(record.step, record.data.get("reward_mean"), record.data["metrics"])

    @property
    def checkpoint_interval(self) -> int:
        return self.run.config.checkpoints.interval or self.run.config.validation.eval_interval

    def seen(self, evaluation: Evaluation | None) -> None:
        if evaluation is not None:
            self._add(evaluation.step, evaluation.reward_mean, evaluation.metrics)

    def _add(self, step: int, reward_mean: float | None, metrics: Mapping[str, float]) -> None:
        stopping = self.run.config.validation.early_stopping
        score = reward_mean
        if score is None or (stopping is not None and stopping.metric == "loss"):
            score = -metrics["loss"] if "loss" in metrics else None
        if score is not None:
            self.scores[step] = score
        elif stopping is not None:
            raise ConfigError(f"this run measures no validation {stopping.metric}", where="validation.early_stopping")

    def best_steps(self, count: int) -> list[int]:
        """The best `count` validated steps after the start, the best first; the earlier of equals."""
        return sorted((s for s in self.scores if s > 0), key=lambda s: (-self.scores[s], s))[:count]

    @property
    def stalled(self) -> bool:
        """Whether early stopping is asked for and the last evaluations brought nothing."""
        stopping = self.run.config.validation.early_stopping
        if stopping is None:
            return False
        best, since = float("-inf"), 0
        for step in sorted(self.scores):
            improved = self.scores[step] > best + stopping.min_delta
            best, since = (self.scores[step], 0) if improved else (best, since + 1)
        return since >= stopping.patience
