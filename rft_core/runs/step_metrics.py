"""One line of metrics.jsonl: what a step did and where its time went, by the field's usual names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from rft_core.clock import StepClock
from rft_core.storage.journal import Record
from rft_core.types import Grade, GradedGroup, Outcome, TrainReport


def tokens_of(groups: Sequence[GradedGroup]) -> int:
    """Completion tokens that were sampled for these groups."""
    return sum(rollout.completion_tokens for graded in groups for rollout in graded.group.rollouts)


def failed_grades(groups: Sequence[GradedGroup]) -> int:
    """Grades that failed: the grader's fault, not the sample's."""
    return sum(grade.failed for graded in groups for grade in graded.grades)


def failures_by_grader(groups: Sequence[GradedGroup]) -> dict[str, int]:
    """How many grades each grader failed to give, by its name; one that stands alone has none."""
    failed = [grade for graded in groups for grade in graded.grades if grade.failed]
    return dict(Counter(name for grade in failed for name in (grade.faults or {"": ""})))


def step_line(step: int, groups: Sequence[GradedGroup], report: TrainReport, sampled_total: int) -> dict[str, Any]:
    """What came of a step, as flat JSON values: rewards over the rollouts that have one, counts over all.
    Follows from the journal and the rollout store, so that a line can be made again."""
    line: dict[str, Any] = {**report.metrics, "step": step}
    grades = [grade for graded in groups for grade in graded.grades]
    rollouts = [rollout for graded in groups for rollout in graded.group.rollouts]
    rewards = [grade.reward for grade in grades if grade.reward is not None]
    if rollouts:
        tokens = tokens_of(groups)
        line |= {
            "reward_mean": sum(rewards) / len(rewards) if rewards else None,
            "rollouts": len(rollouts),
            "completion_tokens_mean": tokens / len(rollouts),
            "truncated": sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
        }
    sums: dict[str, list[float]] = defaultdict(list)
    for grade in grades:
        for name, value in (*grade.sub_rewards.items(), *grade.metrics.items()):
            sums[name].append(value)
    line |= {f"grader/{name}_mean": sum(values) / len(values) for name, values in sums.items()}
    line |= {f"outcome/{name}": count for name, count in outcomes_of(grades).items()}
    line |= {f"error/{name}": count for name, count in _errors(grades).items()}
    line |= {f"invalid/{name}": count for name, count in _invalid(grades).items()}
    return line | {
        "trained_tokens": report.trained_tokens,
        "dropped": dict(report.dropped),
        "sampled_tokens_total": sampled_total,
    }


def sampling_line(record: Record | None) -> dict[str, Any]:
    """What the journal says of a step's sampling: all tokens, also those of groups that were replaced."""
    if record is None:
        return {}
    line = {"sampled_tokens": int(record.aside.get("sampled_tokens", 0))}
    return line | ({"replaced_groups": len(record.data["replaced"])} if "replaced" in record.data else {})


def outcomes_of(grades: Sequence[Grade]) -> Counter[str]:
    """How many grades were no plain score, by outcome."""
    return Counter(grade.outcome.value for grade in grades if grade.outcome is not Outcome.SCORE)


def _errors(grades: Sequence[Grade]) -> Counter[str]:
    """Failures by kind; behind the name of the grader, where several go into a grade."""
    failed = [grade for grade in grades if grade.failed]
    alone = Counter(grade.error_kind or "unnamed" for grade in failed if not grade.faults)
    return alone + Counter(f"{name}/{kind}" for grade in failed for name, kind in grade.faults.items())


def _invalid(grades: Sequence[Grade]) -> Counter[str]:
    return Counter(grade.error_kind or "unnamed" for grade in grades if grade.outcome is Outcome.SAMPLE_INVALID)


def time_line(clock: StepClock, sampled_tokens: int, elapsed_s: float) -> dict[str, Any]:
    """Where the time of a step went: known to the process that took it alone."""
    sample_s = clock.component_s("sample")
    speed = {"sampled_tokens_per_s": sampled_tokens / sample_s} if sample_s > 0 else {}
    return speed | {
        "step_s": clock.wall_s,
        "sample_s": sample_s,
        "grade_s": clock.component_s("grade"),
        "train_s": clock.component_s("train"),
        "component_s": clock.component_s(),
        "engine_share": clock.engine_share,
        "elapsed_s": elapsed_s,
    }
