"""How much each token weighs in the loss of an update. The weights of an update add up to about 1.

With R rollouts in G groups, T_i trained tokens of rollout i:

    token          1 / Σ_j T_j              every token the same; BNPO and DAPO in TRL, token-mean in verl
    group_token    1 / (G · Σ_{j in i's group} T_j)    as DAPO is written: arXiv 2503.14476, equation 8
    sequence       1 / (R · T_i)            every rollout the same: GRPO, arXiv 2402.03300, equation 3
    constant       1 / (R · length)         a fixed length: Dr. GRPO, arXiv 2503.20783, section 3.2

Rollouts with an advantage of 0 count in R, G and the sums, as do tokens that a correction masks; what was
left out before (no grade, truncated under `on_truncated: mask`) does not.

Edge cases: `sequence` favours short right answers and long wrong ones, which `constant` was made against.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from rft_core.specs import ComponentConfig, NoSettings

Counts = Sequence[Sequence[int]]
"""T_i of the rollouts of each group; none is 0."""
Weights = list[list[float]]


class ConstantSettings(ComponentConfig):
    """Settings of `constant`."""

    length: int | None = Field(None, ge=1, description="Tokens to divide by; sampling.max_tokens by default.")


def token(counts: Counts, max_tokens: int, settings: NoSettings) -> Weights:
    tokens = sum(map(sum, counts))
    return [[1 / tokens for _ in group] for group in counts]


def group_token(counts: Counts, max_tokens: int, settings: NoSettings) -> Weights:
    groups = sum(bool(group) for group in counts)
    return [[1 / (groups * sum(group)) for _ in group] for group in counts]


def sequence(counts: Counts, max_tokens: int, settings: NoSettings) -> Weights:
    rollouts = sum(map(len, counts))
    return [[1 / (rollouts * own) for own in group] for group in counts]


def constant(counts: Counts, max_tokens: int, settings: ConstantSettings) -> Weights:
    rollouts = sum(map(len, counts))
    return [[1 / (rollouts * (settings.length or max_tokens)) for _ in group] for group in counts]
