"""Evaluations: a split sampled and graded under one policy version, and what changed between two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rft_core.clock import StepClock
from rft_core.protocols import DataSource
from rft_core.runs.collect import Drawing, draw_for_run, record_groups, stored_groups
from rft_core.runs.planning import draws_of_split, items_of
from rft_core.runs.run import Run
from rft_core.runs.step_metrics import tokens_of
from rft_core.stats import Interval, mean_interval, paired_p_value
from rft_core.storage.journal import Record
from rft_core.types import GradedGroup, Outcome, WeightRef

Split = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One split under one policy version, row by row."""

    step: int
    split: str
    rewards: Mapping[int, float] = field(default_factory=dict)
    """Mean reward of each row that has a graded completion, by row index."""
    sub_rewards: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """The same for each grader inside a `multi`."""
    clusters: Mapping[int, Hashable] | None = None
    truncated: float = 0.0
    """Share of completions that hit the token limit."""
    completion_tokens: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)
    """Completions whose outcome is not `score`, by outcome."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the optimizer measured without sampling, such as a loss."""

    @property
    def reward_mean(self) -> float | None:
        return sum(self.rewards.values()) / len(self.rewards) if self.rewards else None

    def interval(self, seed: int, of: Mapping[int, float] | None = None) -> Interval | None:
        values = self.rewards if of is None else of
        rows = sorted(values)
        return mean_interval([values[r] for r in rows], self.clusters_of(rows), seed=seed)

    def clusters_of(self, rows: Sequence[int]) -> list[Hashable] | None:
        """The cluster of each row; None when rows stand for themselves."""
        return None if self.clusters is None else [self.clusters[r] for r in rows]


def evaluate(run: Run, step: int) -> Evaluation | None:
    """Evaluate the validation rows under the current weights, which are those of `step`; None without
    such rows. What an earlier process stored is read, not repeated. A file that was lost is sampled again
    where the weights of its step are still at hand; else its rows are missing from the answer."""
    source = run.sources.validation
    if source is None:
        return None
    cluster_by = run.config.validation.cluster_by
    record = run.journal.last("evaluation", step)
    if record is not None:
        metrics = record.data["metrics"]
        groups = stored_groups(run, "evaluation", step, "validation")
        policy = None
        if groups is None and run.samples_validation:
            policy = run.current_policy() if run.policy_number == record.data["policy"] else run.kept_policy(step)
        if policy is not None:
            with run.serving(policy):
                groups = _sample(run, step, "validation", source, policy)
            evaluation = summarise(groups, step=step, split="validation", cluster_by=cluster_by, metrics=metrics)
            changed = {**record.data, "reward_mean": evaluation.reward_mean}
            record_groups(run, "evaluation", step, "validation", groups, changed)
            return evaluation
        return summarise(groups or (), step=step, split="validation", cluster_by=cluster_by, metrics=metrics)
    run.phase("validating")
    metrics = dict(run.optimizer.validate(items_of(draws_of_split(len(source)), source)))
    data: dict[str, Any] = {"policy": run.policy_number, "metrics": metrics}
    if not run.samples_validation:
        run.journal.append(Record(kind="evaluation", step=step, data=data))
        evaluation = Evaluation(step=step, split="validation", metrics=metrics)
    else:
        groups = _sample(run, step, "validation", source, run.current_policy())
        evaluation = summarise(groups, step=step, split="validation", cluster_by=cluster_by, metrics=metrics)
        data |= {"reward_mean": evaluation.reward_mean}
        record_groups(run, "evaluation", step, "validation", groups, data)
        run.sampled_tokens += tokens_of(groups)
    run.journal.commit()
    return evaluation


def evaluate_test(run: Run, step: int) -> Evaluation:
    """Evaluate the test rows under the weights of a step that are kept on disk. Called at the end alone."""
    source = run.sources.test
    assert source is not None
    groups = stored_groups(run, "test", step, "test")
    if groups is None:
        policy = run.kept_policy(step)
        assert policy is not None
        with run.serving(policy):
            groups = _sample(run, step, "test", source, policy)
        record_groups(run, "test", step, "test", groups, {"policy": policy.number})
        run.journal.commit()
    return summarise(groups, step=step, split="test", cluster_by=run.config.validation.cluster_by)


def _sample(run: Run, step: int, split: Split, source: DataSource, policy: WeightRef) -> tuple[GradedGroup, ...]:
    draws = draws_of_split(len(source))
    section = run.config.validation
    drawing = Drawing(
        draws=draws,
        items=items_of(draws, source),
        purpose=split,
        policy=policy,
        sampling=run.validation_sampling(),
        samples=section.eval_samples,
        unit_size=section.unit_size,
    )
    return draw_for_run(run, drawing, StepClock())


def summarise(
    groups: Sequence[GradedGroup],
    *,
    step: int,
    split: str,
    cluster_by: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Evaluation:
    """Per-row means of what was graded; rows without any grade are left out and counted."""
    rewards: dict[int, list[float]] = defaultdict(list)
    sub_rewards: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    clusters: dict[int, Hashable] = {}
    errors: dict[str, int] = defaultdict(int)
    truncated = tokens = rollouts = 0
    for graded in groups:
        row = graded.group.item.index
        if cluster_by is not None:
            clusters[row] = str(graded.group.item.row[cluster_by])
        for rollout, grade in zip(graded.group.rollouts, graded.grades, strict=True):
            rollouts += 1
            truncated += rollout.finish_reason == "length"
            tokens += rollout.completion_tokens
            if grade.outcome is not Outcome.SCORE:
                errors[grade.outcome.value] += 1
            if grade.reward is None:
                continue
            rewards[row].append(grade.reward)
            for name, value in grade.sub_rewards.items():
                sub_rewards[name][row].append(value)
    return Evaluation(
        step=step,
        split=split,
        rewards={row: sum(v) / len(v) for row, v in rewards.items()},
        sub_rewards={n: {row: sum(v) / len(v) for row, v in rows.items()} for n, rows in sub_rewards.items()},
        clusters=clusters if cluster_by is not None else None,
        truncated=truncated / max(1, rollouts),
        completion_tokens=tokens / max(1, rollouts),
        errors=dict(errors),
        metrics=dict(metrics or {}),
    )


def line_of(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as flat values for metrics.jsonl and observers."""
    values: dict[str, Any] = {**evaluation.metrics, "step": evaluation.step, "split": evaluation.split}
    if evaluation.reward_mean is not None:
        values |= {
            "reward_mean": evaluation.reward_mean,
            "truncated": evaluation.truncated,
            "completion_tokens_mean": evaluation.completion_tokens,
            "rows": len(evaluation.rewards),
        }
        for name, rows in evaluation.sub_rewards.items():
            values[f"grader/{name}_mean"] = sum(rows.values()) / len(rows)
    return values | {f"errors_{kind}": count for kind, count in evaluation.errors.items()}


def compare(before: Evaluation, after: Evaluation, *, seed: int) -> dict[str, Any] | None:
    """What changed, row by row, over the rows that both evaluated: mean gain with interval and p-value,
    of the reward and of each grader inside it."""
    gain = _gain(before, before.rewards, after.rewards, seed)
    if gain is None:
        return None
    parts = {
        name: _gain(before, rows, after.sub_rewards[name], seed)
        for name, rows in before.sub_rewards.items()
        if name in after.sub_rewards
    }
    return {**gain, "graders": {name: part for name, part in parts.items() if part is not None}}


def _gain(
    evaluation: Evaluation, before: Mapping[int, float], after: Mapping[int, float], seed: int
) -> dict[str, Any] | None:
    rows = sorted(before.keys() & after.keys())
    if not rows:
        return None
    differences = [after[r] - before[r] for r in rows]
    clusters = evaluation.clusters_of(rows)
    interval = mean_interval(differences, clusters, seed=seed)
    assert interval is not None
    return {
        "mean": interval.mean,
        "ci95": interval.ci95,
        "p_value": paired_p_value(differences, clusters, seed=seed),
        "rows": len(rows),
        "improved": sum(d > 0 for d in differences),
        "worsened": sum(d < 0 for d in differences),
        "unchanged": sum(d == 0 for d in differences),
    }


def report_of(evaluation: Evaluation, *, seed: int) -> dict[str, Any]:
    """The evaluation with intervals, as summary.json holds it."""
    interval = evaluation.interval(seed)
    values: dict[str, Any] = {
        "step": evaluation.step,
        "reward_mean": None if interval is None else interval.mean,
        "ci95": None if interval is None else interval.ci95,
        "rows": len(evaluation.rewards),
        "truncated": evaluation.truncated,
        "completion_tokens_mean": evaluation.completion_tokens,
        "errors": dict(evaluation.errors),
        "metrics": dict(evaluation.metrics),
        "graders": {},
    }
    for name, rows in evaluation.sub_rewards.items():
        sub = evaluation.interval(seed, rows)
        if sub is not None:
            values["graders"][name] = {"mean": sub.mean, "ci95": sub.ci95}
    return values
