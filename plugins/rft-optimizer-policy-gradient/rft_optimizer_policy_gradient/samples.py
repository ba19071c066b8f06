"""Rollouts as token rows, each with what the objective needs per token. Legend: T trained tokens of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rft_optimizer_policy_gradient.scored import Values
from rft_optimizer_policy_gradient.selection import Candidate
from rft_torch.batching import TokenRow, token_row


@dataclass(frozen=True, slots=True)
class Traced:
    """A rollout that can be computed, and what was said of its tokens before the update."""

    row: TokenRow
    behaviour_T: Sequence[float]
    """Log-probability of each trained token by the sampler."""
    name: str
    old_T: Sequence[float] = ()
    """By the trainer before the step; () where nobody asked."""
    reference_T: Sequence[float] = ()
    """By the reference policy; () where nobody asked."""
    values_T: Sequence[float] = ()
    """What the critic expects before each token; () without one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout of an update."""

    traced: Traced
    advantages_T: Values
    weight: float
    """Of each of its tokens in the loss."""


def traced(candidate: Candidate, *, share_prompt: bool) -> Traced:
    """The rollout as a token row. ValueError if it cannot be trained on."""
    ids: list[int] = []
    wanted: list[int] = []
    behaviour: list[float] = []
    for segment in candidate.rollout.segments:
        if segment.trained:
            if segment.logprobs is None or len(segment.logprobs) != len(segment.token_ids):
                raise ValueError(f"{candidate.name} has a trained segment without one log-probability per token")
            wanted.extend(range(len(ids), len(ids) + len(segment.token_ids)))
            behaviour.extend(segment.logprobs)
        ids.extend(segment.token_ids)
    try:
        row = token_row(ids, wanted, share_prompt=share_prompt)
    except ValueError as error:
        raise ValueError(f"{candidate.name} cannot be trained on: {error}") from None
    return Traced(row, behaviour, candidate.name)
