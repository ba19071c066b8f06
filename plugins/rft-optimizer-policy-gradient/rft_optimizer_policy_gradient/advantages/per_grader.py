"""Each grader normalised by itself before they are added: GDPO, arXiv 2601.05242, section 3.

    A_i,k = (r_i,k − mean_k) / (std_k + eps)      per group, for each sub-reward k
    A_i   = Σ_k weight_k · A_i,k                  then (A − mean(A)) / (std(A) + eps) over the batch

Two graders whose rewards add up to the same sum are told apart, and a grader with a small range is not
drowned by one with a large range. Sub-rewards are those of a `multi` grader.

Edge cases: a sub-reward that is equal throughout its group adds exactly 0; a rollout alone in its group
has no advantage; a rollout without sub-rewards is a ConfigError. The reward itself, and so the formula of
`multi`, is not used, nor is KL in the reward.
"""

from __future__ import annotations

from pydantic import Field

from rft_core.errors import ConfigError
from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.advantages.group import GroupNormalizedSettings, group_normalized
from rft_optimizer_policy_gradient.scored import Advantage, Groups, Scored, standard_deviation


class PerGraderSettings(ComponentConfig):
    """Settings of `per_grader_normalized`."""

    weights: dict[str, float] = Field({}, description="Weight of each grader by its name; 1 by default.")
    eps: float = Field(1e-6, gt=0, description="Added to standard deviations.")


def per_grader_normalized(groups: Groups, settings: PerGraderSettings) -> list[list[Advantage]]:
    """The weighted sum of each grader's own group-normalised advantage, normalised over the batch."""
    names = sorted({name for group in groups for scored in group for name in scored.sub_rewards})
    _check(groups, names, settings)
    sums: list[list[float | None]] = [[None if len(group) < 2 else 0.0 for _ in group] for group in groups]
    for name in names:
        alone = [[Scored(reward=s.sub_rewards[name], tokens=s.tokens) for s in group] for group in groups]
        own = group_normalized(alone, GroupNormalizedSettings(eps=settings.eps))
        weight = settings.weights.get(name, 1.0)
        for row, found in zip(sums, own, strict=True):
            for i, advantage in enumerate(found):
                row[i] = None if advantage is None else (row[i] or 0.0) + weight * float(advantage)
    return _over_the_batch(sums, settings.eps)


def _check(groups: Groups, names: list[str], settings: PerGraderSettings) -> None:
    for group in groups:
        for scored in group:
            if not names or scored.sub_rewards.keys() != set(names):
                lacks = sorted(set(names) - scored.sub_rewards.keys())
                raise ConfigError(
                    f"the advantage 'per_grader_normalized' needs the rewards of each grader, and a rollout lacks "
                    f"{', '.join(lacks) or 'all of them'}; use a grader of type multi",
                    where="optimizer.advantage",
                )
    if unknown := sorted(settings.weights.keys() - set(names)) if names else []:
        raise ConfigError(
            f"'{unknown[0]}' is none of the graders {', '.join(names)}; mend the name",
            where="optimizer.advantage.weights",
        )


def _over_the_batch(sums: list[list[float | None]], eps: float) -> list[list[Advantage]]:
    every = [a for row in sums for a in row if a is not None]
    if len(every) < 2 or min(every) == max(every):
        return [[None if a is None else 0.0 for a in row] for row in sums]
    scale = standard_deviation(every) + eps  # the mean is 0 already, as that of every group is
    return [[None if a is None else a / scale for a in row] for row in sums]
