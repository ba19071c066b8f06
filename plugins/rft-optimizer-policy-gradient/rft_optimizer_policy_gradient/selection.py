"""Which rollouts of a step take part, and with which reward.

What each outcome does (counted in `dropped`):

* `score`, `sample_invalid`: carries a reward; in the baseline and in the update;
* `abstained`, `grader_error`, `timed_out`: in neither; the rest of the group goes on without it;
* `group_too_small`: a reward of which the estimator can say nothing, as of one alone in its group;
* `zero_variance` (with `zero_variance: drop`): of a group whose rewards are all equal;
* `truncated` (with `on_truncated: mask`): in the baseline, not in the update;
* `empty`: no sampled token: in the baseline, nothing to update.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rft_core.types import GradedGroup, Rollout
from rft_optimizer_policy_gradient.config import OverlongSettings, PolicyGradientConfig


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rollout with a reward."""

    rollout: Rollout
    reward: float
    """As trained on: penalties for length are taken off, penalties for KL are not."""
    sub_rewards: Mapping[str, float]
    left_out: str | None
    """Why it is in the baseline alone; None if it can be updated on."""
    name: str
    """For error messages: the row's key and the number of the sample, as `rft-engine samples` shows them."""


def candidates(
    groups: Sequence[GradedGroup], config: PolicyGradientConfig, max_tokens: int, dropped: Counter[str]
) -> list[list[Candidate]]:
    """The rollouts of each group that have a reward; the others are counted in `dropped`. ValueError if a
    group's grades do not match its rollouts."""
    return [_of_group(graded, config, max_tokens, dropped) for graded in groups]


def _of_group(
    graded: GradedGroup, config: PolicyGradientConfig, max_tokens: int, dropped: Counter[str]
) -> list[Candidate]:
    found: list[Candidate] = []
    if len(graded.grades) != len(graded.group.rollouts):
        raise ValueError(
            f"group {graded.group.ordinal} has {len(graded.group.rollouts)} rollouts and {len(graded.grades)} grades"
        )
    for rollout, grade in zip(graded.group.rollouts, graded.grades, strict=True):
        if grade.reward is None:
            dropped[str(grade.outcome)] += 1
            continue
        truncated = rollout.finish_reason == "length"
        reward = 0.0 if truncated and config.on_truncated == "zero" else grade.reward
        if config.overlong is not None:
            reward -= overlong_penalty(rollout.completion_tokens, max_tokens, config.overlong)
        left_out = None
        if truncated and config.on_truncated == "mask":
            left_out = "truncated"
        elif rollout.completion_tokens == 0:
            left_out = "empty"
        name = f"{graded.group.item.key} sample {rollout.sample}"
        found.append(Candidate(rollout, reward, grade.sub_rewards, left_out, name))
    return found


def overlong_penalty(tokens: int, max_tokens: int, settings: OverlongSettings) -> float:
    """penalty · clip((tokens − (max_tokens − buffer)) / buffer, 0, 1): DAPO, arXiv 2503.14476, equation 13."""
    over = tokens - (max_tokens - settings.buffer_tokens)
    return settings.penalty * min(max(over / settings.buffer_tokens, 0.0), 1.0)
