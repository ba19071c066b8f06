"""Learn the best answer of each group and no other: best-of-n, or RAFT (arXiv 2304.06767).

    A_i = 1 for the rollout with the highest reward of its group, 0 for the others

With the objective `reinforce` this is supervised fine-tuning on the best of n samples of the current
policy: the cheap baseline that every other algorithm has to beat.

Edge cases: of several best ones the first counts; where all rewards are equal none is better and all are
0; `at_least` leaves out groups whose best is not good enough; a rollout alone in its group has no advantage.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.scored import Advantage, Groups, per_group


class BestSettings(ComponentConfig):
    """Settings of `best`."""

    at_least: float | None = Field(None, description="The lowest reward that is learned from; null learns from any.")


def best(groups: Groups, settings: BestSettings) -> list[list[Advantage]]:
    """1 for the first of the best, 0 for the rest."""

    def chosen(rewards: Sequence[float]) -> list[float]:
        top = max(rewards)
        if settings.at_least is not None and top < settings.at_least:
            return [0.0] * len(rewards)
        return [float(i == rewards.index(top)) for i in range(len(rewards))]

    return per_group(groups, chosen)
