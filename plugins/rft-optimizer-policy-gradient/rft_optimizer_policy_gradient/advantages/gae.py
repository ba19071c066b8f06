"""Generalised advantage estimation, arXiv 1506.02438, equation 16; with a critic, the advantage of PPO.

    δ_t = reward_t + gamma · V_{t+1} − V_t         V after the last token is 0
    A_t = δ_t + gamma · lambda · A_{t+1}

Then, with `whiten`, (A − mean(A)) / (std(A) + eps) over the tokens of the batch, as every PPO for
language models does. The reward of a token is its KL penalty (`kl.in_reward`) and, at the last token, the
grader's.

Edge cases: a batch whose rewards are all equal cannot say what is better and gives exactly 0, whatever the
critic expected; groups of one do; a rollout without values is a ValueError (there is no critic).
"""

from __future__ import annotations

from pydantic import Field

from rft_core.specs import ComponentConfig
from rft_optimizer_policy_gradient.advantages.batch import normalized
from rft_optimizer_policy_gradient.scored import Advantage, Groups, Values, all_equal


class GaeSettings(ComponentConfig):
    """Settings of `gae`."""

    gamma: float = Field(1.0, ge=0, le=1, description="Discount per token.")
    lam: float = Field(0.95, ge=0, le=1, description="λ: 1 trusts the rewards alone, 0 the critic alone.")
    whiten: bool = Field(True, description="Shift and scale the batch's advantages to mean 0 and standard deviation 1.")
    eps: float = Field(1e-8, gt=0, description="Added to the standard deviation.")


def gae(groups: Groups, settings: GaeSettings) -> list[list[Advantage]]:
    """Advantages per token from a critic's values."""
    found: list[list[Values]] = []
    for group in groups:
        found.append([])
        for scored in group:
            if scored.values_T is None:
                raise ValueError("the advantage 'gae' needs a critic's values; set optimizer.critic")
            found[-1].append(gae_of(scored.per_token(), scored.values_T, settings.gamma, settings.lam))
    if all_equal(groups):
        return [[0.0] * len(group) for group in groups]
    if settings.whiten:
        return normalized(found, settings.eps)
    return [list(group) for group in found]


def gae_of(rewards_T: Values, values_T: Values, gamma: float, lam: float) -> Values:
    """A_t of one rollout."""
    advantages_T = values_T.copy()
    following = value_after = 0.0
    for t in range(len(values_T) - 1, -1, -1):
        delta = rewards_T[t] + gamma * value_after - values_T[t]
        advantages_T[t] = following = delta + gamma * lam * following
        value_after = values_T[t]
    return advantages_T
