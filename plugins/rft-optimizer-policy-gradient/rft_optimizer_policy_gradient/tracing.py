"""Rollouts as token rows, with what is said of their tokens before the update: by the trainer itself, the reference
and the critic.

One pass without gradients for each that is asked, over micro-batches of all rows of the step. Legend: N trained
tokens of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rft_core.errors import DataError
from rft_optimizer_policy_gradient.critic import Critic
from rft_optimizer_policy_gradient.reference import Reference
from rft_optimizer_policy_gradient.samples import Traced, traced
from rft_optimizer_policy_gradient.selection import Candidate
from rft_torch.batching import TokenRow
from rft_torch.long_rows import context_of
from rft_torch.trainer import Trainer

Group = list[tuple[Candidate, Traced | None]]
Plan = Callable[[Sequence[TokenRow]], list[list[int]]]
"""Which rows are computed together: indices per micro-batch, every row once."""
PerToken = Callable[[Sequence[TokenRow]], Tensor]
"""values_N of the wanted tokens of some rows, ordered by row, then by position."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracer:
    """Who is asked."""

    trainer: Trainer
    temperature: float
    asks_trainer: bool
    """For its own log-probabilities before the update."""
    reference: Reference | None
    critic: Critic | None
    by_token: bool
    """Whether advantages differ between the tokens of a rollout: those of a rollout that is in the baseline alone
    are then needed too."""

    def trace(self, found: Sequence[Sequence[Candidate]]) -> list[Group]:
        """None for a rollout without tokens, and for one that is only in a baseline of whole rollouts. DataError,
        naming it, for one that cannot be computed."""
        groups = [[(c, self._row(c)) for c in group] for group in found]
        rows = [t for group in groups for _, t in group if t is not None]
        self._check_lengths(rows)
        known = iter(self._asked(rows))
        return [[(c, None if t is None else next(known)) for c, t in group] for group in groups]

    def _check_lengths(self, rows: Sequence[Traced]) -> None:
        readers = {"model": context_of(self.trainer.model)}
        if self.reference is not None:
            readers[f"reference {self.reference.name}"] = self.reference.context
        longest = max(rows, key=lambda row: len(row.row.ids), default=None)
        for who, limit in readers.items():
            if longest is not None and limit is not None and len(longest.row.ids) > limit:
                raise DataError(
                    f"{longest.name} has {len(longest.row.ids)} tokens, but the {who} reads {limit}; "
                    "lower sampling.max_tokens"
                )

    def _row(self, candidate: Candidate) -> Traced | None:
        if candidate.left_out == "empty" or (candidate.left_out is not None and not self.by_token):
            return None
        return traced(candidate, share_prompt=self.trainer.share_prompts)

    def _asked(self, rows: list[Traced]) -> list[Traced]:
        token_rows, plan = [t.row for t in rows], self.trainer.plan
        if self.asks_trainer:
            values = per_row(token_rows, plan, lambda r: self.trainer.logprobs(r, self.temperature)[1])
            rows = [replace(t, old_T=v) for t, v in zip(rows, values, strict=True)]
        if (reference := self.reference) is not None:
            values = per_row(token_rows, plan, lambda r: reference.logprobs(r, self.temperature))
            rows = [replace(t, reference_T=v) for t, v in zip(rows, values, strict=True)]
        if self.critic is not None:
            values = per_row(token_rows, self.critic.plan, self.critic.values)
            rows = [replace(t, values_T=v) for t, v in zip(rows, values, strict=True)]
        return rows


def per_row(rows: Sequence[TokenRow], plan: Plan, function: PerToken) -> list[list[float]]:
    """`function` over all rows, in micro-batches: for each row, a number per wanted token."""
    found: list[list[float]] = [[] for _ in rows]
    for indices in plan(rows):
        with torch.no_grad():
            flat = function([rows[i] for i in indices]).tolist()
        start = 0
        for i in indices:
            end = start + len(rows[i].wanted)
            found[i] = flat[start:end]
            start = end
    return found
