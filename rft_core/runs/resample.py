"""Groups that teach nothing, replaced by groups of other rows: dynamic sampling, DAPO (arXiv 2503.14476, section 3.2).

A group whose rewards are all equal, or that has fewer than two, has no better and no worse answers. With
`training.resample: n` its place in the step is drawn anew up to n times, each time with another row, and the
first group that says something takes it. Rows and seeds follow from the place and the attempt, so that a
resumed run draws the same. The same row is not drawn again: that would learn from lucky answers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rft_core.runs.planning import Draw, redraw
from rft_core.types import GradedGroup

Draws = Callable[[Sequence[Draw]], tuple[GradedGroup, ...]]
"""Samples and grades, in order."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The groups of a step, and what was sampled for it in vain."""

    groups: tuple[GradedGroup, ...]
    discarded: tuple[GradedGroup, ...] = ()
    replaced: tuple[tuple[int, Draw], ...] = ()
    """Places in the step, and the draw that took them in the place of the planned one."""


def says_nothing(graded: GradedGroup) -> bool:
    """Whether no rollout of the group is better than another, as far as there are rewards."""
    rewards = [grade.reward for grade in graded.grades if grade.reward is not None]
    return len(rewards) < 2 or min(rewards) == max(rewards)


def collect_resampling(draws: Sequence[Draw], draw: Draws, *, attempts: int, rows: int, seed: int) -> Collected:
    """Sample the draws, then up to `attempts` times other rows in the place of groups that say nothing."""
    groups = list(draw(draws))
    discarded: list[GradedGroup] = []
    used = {d.index for d in draws}
    replaced: dict[int, Draw] = {}
    for attempt in range(1, attempts + 1):
        dead = [position for position, graded in enumerate(groups) if says_nothing(graded)]
        if not dead:
            break
        others = [redraw(draws[position], attempt, rows, seed, used) for position in dead]
        for position, other, found in zip(dead, others, draw(others), strict=True):
            if says_nothing(found):
                discarded.append(found)
            else:
                discarded.append(groups[position])
                groups[position] = found
                replaced[position] = other
    return Collected(groups=tuple(groups), discarded=tuple(discarded), replaced=tuple(sorted(replaced.items())))
