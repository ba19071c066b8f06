"""One line of metrics.jsonl: what a step did, by the field's usual names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from rft_core.clock import StepClock
from rft_core.types import GradedGroup, TrainReport


def step_line(
    step: int, groups: Sequence[GradedGroup], report: TrainReport, clock: StepClock, elapsed_s: float, sampled: int
) -> dict[str, Any]:
    """Flat JSON values; rewards over the rollouts that have one, counts over all."""
    line: dict[str, Any] = {"step": step, **report.metrics}
    grades = [grade for graded in groups for grade in graded.grades]
    rollouts = [rollout for graded in groups for rollout in graded.group.rollouts]
    rewards = [grade.reward for grade in grades if grade.reward is not None]
    if rollouts:
        tokens = sum(r.completion_tokens for r in rollouts)
        line |= {
            "reward_mean": sum(rewards) / len(rewards) if rewards else None,
            "rollouts": len(rollouts),
            "completion_tokens_mean": tokens / len(rollouts),
            "sampled_tokens": tokens,
            "truncated": sum(r.finish_reason == "length" for r in rollouts) / len(rollouts),
            "sampled_tokens_per_s": tokens / max(clock.component_s("sample"), 1e-9),
        }
    sums: dict[str, list[float]] = defaultdict(list)
    for grade in grades:
        for name, value in (*grade.sub_rewards.items(), *grade.metrics.items()):
            sums[name].append(value)
    line |= {f"grader/{name}_mean": sum(values) / len(values) for name, values in sums.items()}
    outcomes = Counter(grade.outcome.value for grade in grades if grade.reward is None)
    kinds = Counter(grade.error_kind for grade in grades if grade.error_kind is not None)
    line |= {f"outcome/{name}": count for name, count in outcomes.items()}
    line |= {f"error/{name}": count for name, count in kinds.items()}
    return line | {
        "trained_tokens": report.trained_tokens,
        "dropped": dict(report.dropped),
        "step_s": clock.wall_s,
        "sample_s": clock.component_s("sample"),
        "grade_s": clock.component_s("grade"),
        "train_s": clock.component_s("train"),
        "component_s": clock.component_s(),
        "engine_share": clock.engine_share,
        "elapsed_s": elapsed_s,
        "sampled_tokens_total": sampled,
    }
