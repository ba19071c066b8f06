"""What is said of the rollouts' tokens before the update: by the trainer itself, the reference and the critic.

One pass without gradients for each that is asked, over micro-batches of all rows of the step. Legend: N trained
tokens of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rft_optimizer_policy_gradient.samples import Traced
from rft_torch.batching import TokenRow

Plan = Callable[[Sequence[TokenRow]], list[list[int]]]
"""Which rows are computed together: indices per micro-batch, every row once."""
PerToken = Callable[[Sequence[TokenRow]], Tensor]
"""values_N of the wanted tokens of some rows, ordered by row, then by position."""


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


def with_old(traced: Sequence[Traced], plan: Plan, function: PerToken) -> list[Traced]:
    values = per_row([t.row for t in traced], plan, function)
    return [replace(t, old_T=v) for t, v in zip(traced, values, strict=True)]


def with_reference(traced: Sequence[Traced], plan: Plan, function: PerToken) -> list[Traced]:
    values = per_row([t.row for t in traced], plan, function)
    return [replace(t, reference_T=v) for t, v in zip(traced, values, strict=True)]


def with_values(traced: Sequence[Traced], plan: Plan, function: PerToken) -> list[Traced]:
    values = per_row([t.row for t in traced], plan, function)
    return [replace(t, values_T=v) for t, v in zip(traced, values, strict=True)]
