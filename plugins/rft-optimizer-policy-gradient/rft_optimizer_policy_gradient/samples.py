"""Selected rollouts as token rows, each with what the objective needs per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rft_optimizer_policy_gradient.selection import Learned
from rft_torch.batching import TokenRow, token_row


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout of an update."""

    row: TokenRow
    behaviour: tuple[float, ...]
    """Log-probability of each wanted token by the sampler."""
    old: tuple[float, ...]
    """Log-probability of each wanted token that the ratio is taken against; () for those of this very pass."""
    advantage: float
    weight: float
    """Of each of its tokens in the loss."""
    name: str


def part_samples(
    part: Sequence[Learned], aggregation: Literal["token", "sequence"], *, everything: bool, share_prompt: bool
) -> list[Sample]:
    """The samples of one update that can move the weights.

    Weights are 1/Σ|o| (`token`: DAPO's equation 8, arXiv 2503.14476) or 1/(G·|o_i|) (`sequence`: GRPO's
    equation 3, arXiv 2402.03300) over all rollouts of the part. Those with an advantage of exactly 0
    count in these sums but are not computed, unless `everything` is wanted (a KL penalty moves them too).
    """
    tokens = sum(learned.rollout.completion_tokens for learned in part)
    samples = []
    for learned in part:
        if learned.advantage == 0.0 and not everything:
            continue
        own = learned.rollout.completion_tokens
        weight = 1 / tokens if aggregation == "token" else 1 / (len(part) * own)
        samples.append(_sample(learned, weight, share_prompt))
    return samples


def with_old(sample: Sample, old: Sequence[float]) -> Sample:
    return replace(sample, old=tuple(old))


def _sample(learned: Learned, weight: float, share_prompt: bool) -> Sample:
    ids: list[int] = []
    wanted: list[int] = []
    behaviour: list[float] = []
    for segment in learned.rollout.segments:
        if segment.trained:
            if segment.logprobs is None or len(segment.logprobs) != len(segment.token_ids):
                raise ValueError(f"{learned.name} has a trained segment without one log-probability per token")
            wanted.extend(range(len(ids), len(ids) + len(segment.token_ids)))
            behaviour.extend(segment.logprobs)
        ids.extend(segment.token_ids)
    try:
        row = token_row(ids, wanted, share_prompt=share_prompt)
    except ValueError as error:
        raise ValueError(f"{learned.name} cannot be trained on: {error}") from None
    return Sample(row, tuple(behaviour), tuple(behaviour), learned.advantage, weight, learned.name)
