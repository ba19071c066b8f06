"""From rewards to advantages: asks the estimator, and checks its answer. Legend: T trained tokens of a rollout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rft_core.errors import BadReplyError, NumericsError
from rft_core.specs import Part
from rft_optimizer_policy_gradient.parts import sizes_of
from rft_optimizer_policy_gradient.samples import Traced
from rft_optimizer_policy_gradient.scored import Advantage, Scored, Values
from rft_optimizer_policy_gradient.selection import Candidate


@dataclass(frozen=True, slots=True)
class Judged:
    """A rollout that takes part in the update."""

    traced: Traced
    advantages_T: Values
    rewards_T: Values
    """Penalties where they arise, the grader's reward at the last token."""


@dataclass(frozen=True, slots=True)
class Judgement:
    groups: tuple[tuple[Judged, ...], ...]
    """Rollouts that take part, by group; those with advantages of exactly 0 are here too."""
    sizes: tuple[float, ...]
    """Mean size of the advantages of each rollout that has one, whether it takes part or not."""
    zero_variance_groups: int
    """Groups with at least two rewards, all of them equal."""
    graded_groups: int
    """Groups with a reward."""
    by_rewards: bool
    """Whether advantages are of rewards, and not of what a teacher says."""

    def parts(self, count: int) -> list[list[tuple[Judged, ...]]]:
        """The groups in order, split into `count` parts whose sizes differ by one group at most."""
        n = len(self.groups)
        bounds = [n * i // count for i in range(count + 1)]
        return [list(self.groups[a:b]) for a, b in pairwise(bounds)]

    def alarms(self, dropped: Counter[str]) -> tuple[str, ...]:
        """Why the objective moves nothing, if so. `dropped` says what was left out."""
        judged = [judged for group in self.groups for judged in group]
        if any(one.advantages_T.any() for one in judged):
            return ()
        if judged:
            equal, graded = self.zero_variance_groups, self.graded_groups
            why = f": the rewards of {equal} of {graded} groups are all equal" if equal and self.by_rewards else ""
            return (f"every advantage of the step is 0, so the objective moved nothing{why}",)
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
        return (f"nothing was learned: no rollout was left to learn from ({reasons or 'there was none'})",)


Penalty = Callable[[Traced], Values]
"""What KL costs each token of a rollout, in units of reward."""


def judge(
    groups: Sequence[Sequence[tuple[Candidate, Traced | None]]],
    estimate: Part,
    dropped: Counter[str],
    *,
    penalty: Penalty | None,
    drop_zero_variance: bool,
) -> Judgement:
    """Advantages of all rollouts with a reward; those that do not take part are counted in `dropped`.

    NumericsError, naming the rollouts, if an advantage is not finite; BadReplyError if the estimator's answer
    does not fit what it was given.
    """
    scored = [[_scored(candidate, traced, penalty) for candidate, traced in group] for group in groups]
    answers: list[list[Advantage]] = estimate(scored)
    if sizes_of(answers) != [len(group) for group in groups]:
        raise BadReplyError(
            f"the advantage '{estimate.name}' answered another number of advantages than rewards, or no lists of them"
        )
    kept: list[tuple[Judged, ...]] = []
    sizes: list[float] = []
    for group, rewards, row in zip(groups, scored, answers, strict=True):
        judged, of_group = _of_group(group, rewards, row, dropped, estimate.name)
        sizes += of_group
        equal = _equal_rewards(group) and (not any(of_group) or estimate.reads == "rewards")
        if drop_zero_variance and equal and of_group:
            dropped["zero_variance"] += len(judged)
        elif judged:
            kept.append(judged)
    return Judgement(
        tuple(kept),
        tuple(sizes),
        zero_variance_groups=sum(map(_equal_rewards, groups)),
        graded_groups=sum(map(bool, groups)),
        by_rewards=estimate.reads != "teacher",
    )


def _equal_rewards(group: Sequence[tuple[Candidate, Traced | None]]) -> bool:
    return len(group) > 1 and len({candidate.reward for candidate, _ in group}) == 1


def _scored(candidate: Candidate, traced: Traced | None, penalty: Penalty | None) -> Scored:
    gap_T = values_T = penalty_T = None
    if traced is not None:
        gap_T = np.subtract(traced.reference_T, traced.old_T) if traced.reference_T and traced.old_T else None
        values_T = np.asarray(traced.values_T) if traced.values_T else None
        penalty_T = penalty(traced) if penalty is not None else None
    elif candidate.left_out == "empty":
        gap_T = values_T = np.zeros(0)
    return Scored(
        reward=candidate.reward,
        tokens=candidate.rollout.completion_tokens,
        sub_rewards=candidate.sub_rewards,
        penalty_T=penalty_T,
        values_T=values_T,
        gap_T=gap_T,
    )


def _of_group(
    group: Sequence[tuple[Candidate, Traced | None]],
    scored: Sequence[Scored],
    row: Sequence[Advantage],
    dropped: Counter[str],
    estimator: str,
) -> tuple[tuple[Judged, ...], list[float]]:
    """The rollouts that take part, and the mean size of each advantage there is."""
    judged: list[Judged] = []
    sizes: list[float] = []
    for (candidate, traced), rewards, advantage in zip(group, scored, row, strict=True):
        if advantage is None:
            dropped["group_too_small"] += 1
            continue
        advantages_T = _checked(advantage, candidate, estimator)
        sizes.append(float(np.abs(advantages_T).mean()) if advantages_T.size else 0.0)
        if candidate.left_out is not None:
            dropped[candidate.left_out] += 1
        elif traced is not None:
            judged.append(Judged(traced, advantages_T, rewards.per_token()))
    return tuple(judged), sizes


def _checked(advantage: Advantage, candidate: Candidate, estimator: str) -> Values:
    """advantages_T: a number for every token."""
    tokens = candidate.rollout.completion_tokens
    try:
        given = np.asarray(advantage, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):  # a text, ragged lists, a tensor with a gradient
        what = f"a {type(advantage).__name__} that is no number"
    else:
        what = f"an array of shape {given.shape}" if given.shape not in ((), (tokens,)) else ""
    if what:
        raise BadReplyError(
            f"the advantage '{estimator}' answered {what} for {candidate.name}; it must answer a number, or one for each "
            f"of its {tokens} tokens"
        )
    if not np.isfinite(given).all():
        raise NumericsError(
            f"the advantage '{estimator}' of {candidate.name} is not finite; the update was not made: look at the rewards "
            "of its group"
        )
    return np.broadcast_to(given, (tokens,))
