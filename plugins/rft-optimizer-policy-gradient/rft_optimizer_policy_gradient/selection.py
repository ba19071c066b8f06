"""Which rollouts a step learns from, and with which advantage.

What each outcome does (counted in `dropped`):

* `score`, `sample_invalid`: carries a reward; in the group's baseline and in the update;
* `abstained`, `grader_error`, `timed_out`: in neither; the rest of the group goes on without it;
* `group_too_small`: a reward whose group has no second one: there is no baseline;
* `truncated` (with `on_truncated: mask`): in the baseline, not in the update;
* `empty`: no sampled token: in the baseline, nothing to update.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rft_core.types import GradedGroup, Rollout
from rft_optimizer_policy_gradient.advantage import group_centered, group_normalized
from rft_optimizer_policy_gradient.config import PolicyGradientConfig


@dataclass(frozen=True, slots=True)
class Learned:
    """A rollout that takes part in the update."""

    rollout: Rollout
    advantage: float

    @property
    def name(self) -> str:
        """For error messages."""
        return f"rollout {self.rollout.ordinal}/{self.rollout.sample}"


@dataclass(frozen=True, slots=True)
class Selection:
    groups: tuple[tuple[Learned, ...], ...]
    """Groups with a baseline; groups of equal rewards are here too, with advantages of exactly 0."""
    rewards: tuple[float, ...]
    """Of all rollouts that have one, as trained on."""
    advantages: tuple[float, ...]
    """Of all rollouts with a baseline."""
    zero_variance_groups: int
    dropped: Counter[str]

    def parts(self, count: int) -> list[list[Learned]]:
        """The groups in order, split into `count` parts whose sizes differ by one group at most."""
        n = len(self.groups)
        bounds = [n * i // count for i in range(count + 1)]
        return [[x for group in self.groups[a:b] for x in group] for a, b in pairwise(bounds)]


def select(groups: Sequence[GradedGroup], config: PolicyGradientConfig) -> Selection:
    """ValueError if a group's grades do not match its rollouts."""
    estimate = group_normalized if config.normalize_advantage else group_centered
    dropped: Counter[str] = Counter()
    kept: list[tuple[Learned, ...]] = []
    all_rewards: list[float] = []
    all_advantages: list[float] = []
    zero_variance = 0
    for graded in groups:
        rollouts, rewards = _rewarded(graded, config, dropped)
        all_rewards += rewards
        if len(rewards) < 2:
            dropped["group_too_small"] += len(rewards)
            continue
        advantages = estimate(rewards)
        all_advantages += advantages
        zero_variance += not any(advantages)
        kept.append(_updatable(rollouts, advantages, config, dropped))
    return Selection(tuple(kept), tuple(all_rewards), tuple(all_advantages), zero_variance, +dropped)


def _rewarded(
    graded: GradedGroup, config: PolicyGradientConfig, dropped: Counter[str]
) -> tuple[list[Rollout], list[float]]:
    """The group's rollouts that carry a reward, and the rewards."""
    rollouts: list[Rollout] = []
    rewards: list[float] = []
    if len(graded.grades) != len(graded.group.rollouts):
        raise ValueError(
            f"group {graded.group.ordinal} has {len(graded.group.rollouts)} rollouts and {len(graded.grades)} grades"
        )
    for rollout, grade in zip(graded.group.rollouts, graded.grades, strict=True):
        if grade.reward is None:
            dropped[str(grade.outcome)] += 1
            continue
        truncated = rollout.finish_reason == "length"
        rollouts.append(rollout)
        rewards.append(0.0 if truncated and config.on_truncated == "zero" else grade.reward)
    return rollouts, rewards


def _updatable(
    rollouts: Sequence[Rollout], advantages: Sequence[float], config: PolicyGradientConfig, dropped: Counter[str]
) -> tuple[Learned, ...]:
    learned = []
    for rollout, advantage in zip(rollouts, advantages, strict=True):
        if rollout.finish_reason == "length" and config.on_truncated == "mask":
            dropped["truncated"] += 1
        elif rollout.completion_tokens == 0:
            dropped["empty"] += 1
        else:
            learned.append(Learned(rollout, advantage))
    return tuple(learned)
