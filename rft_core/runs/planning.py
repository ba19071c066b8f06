"""Which rows a step draws, and how its work is cut into units. A pure function of config and step."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rft_core.canonical import canonical_json, digest
from rft_core.errors import DataError
from rft_core.protocols import DataSource
from rft_core.seeds import Purpose, epoch_order, seed_of
from rft_core.types import Group, Item, Prompt, Rollout, SampleUnit, SamplingParams, WeightRef


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One visit of one row."""

    ordinal: int
    index: int
    attempt: int = 0
    """How often another row was drawn in this place before; see `resample`."""


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, rows: int) -> np.ndarray:
    return epoch_order(seed, epoch, rows)


def draws_of_step(step: int, batch_size: int, rows: int, seed: int) -> tuple[Draw, ...]:
    """The visits of step 1, 2, …: consecutive ordinals, each epoch in its own order."""
    ordinals = range((step - 1) * batch_size, step * batch_size)
    return tuple(Draw(ordinal=o, index=int(_order(seed, o // rows, rows)[o % rows])) for o in ordinals)


def redraw(draw: Draw, attempt: int, rows: int, seed: int, used: set[int]) -> Draw:
    """Another row in the place of a draw, one that is not `used` if there is any; it is then. Each attempt goes
    through the rows in an order of its own."""
    order = _order(seed_of(seed, "order", -attempt), draw.ordinal // rows, rows)
    candidates = (int(order[(draw.ordinal + k) % rows]) for k in range(rows))
    index = next((row for row in candidates if row not in used), int(order[draw.ordinal % rows]))
    used.add(index)
    return Draw(ordinal=draw.ordinal, index=index, attempt=attempt)


def draws_of_split(rows: int) -> tuple[Draw, ...]:
    """Every row of a validation or test split once; the ordinal is the row, so that all evaluations
    of a run draw with the same numbers and differ by the policy alone."""
    return tuple(Draw(ordinal=i, index=i) for i in range(rows))


def items_of(draws: Sequence[Draw], source: DataSource) -> tuple[Item, ...]:
    return tuple(source.item(d.index) for d in draws)


@contextmanager
def rows_named(draws: Sequence[Draw], items: Sequence[Item]) -> Iterator[None]:
    """A DataError about a prompt, which a sampler knows by its ordinal, is said of its row."""
    try:
        yield
    except DataError as error:
        for draw, item in zip(draws, items, strict=True):
            if draw.ordinal == error.ordinal:
                raise error.located(item.key, None) from error
        raise


def sample_units(
    draws: Sequence[Draw],
    items: Sequence[Item],
    *,
    purpose: Purpose,
    samples: int,
    unit_size: int,
    run_id: str,
    seed: int,
    policy: WeightRef,
    sampling: SamplingParams,
) -> list[SampleUnit]:
    """Cut the draws into units of `unit_size` prompts, `samples` seeds each."""
    units = []
    for start in range(0, len(draws), unit_size):
        stop = start + unit_size
        prompts = tuple(
            Prompt(
                ordinal=draw.ordinal,
                messages=tuple(item.row["messages"]),
                tools=tuple(item.row.get("tools") or ()),
                seeds=tuple(seed_of(seed, purpose, draw.ordinal, s, draw.attempt, 0) for s in range(samples)),
            )
            for draw, item in zip(draws[start:stop], items[start:stop], strict=True)
        )
        address: list[Any] = [run_id, purpose, policy.lineage, policy.digest, policy.number]
        address += [sampling.model_dump(mode="json"), [[p.ordinal, p.seeds, p.messages, p.tools] for p in prompts]]
        units.append(
            SampleUnit(request_id=digest(address), run_id=run_id, policy=policy, prompts=prompts, sampling=sampling)
        )
    return units


def rollouts_digest(groups: Sequence[Group]) -> str:
    """Names what is to be graded: the items and every token and text of their rollouts."""
    hasher = hashlib.sha256()
    for group in groups:
        hasher.update(canonical_json([group.ordinal, group.item.key, [r.text for r in group.rollouts]]))
        for rollout in group.rollouts:
            hasher.update(array("q", rollout.completion_ids))
    return hasher.hexdigest()[:32]


def groups_of(unit: SampleUnit, items: Sequence[Item], rollouts: Sequence[tuple[Rollout, ...]]) -> tuple[Group, ...]:
    """Join a unit's answer with the items it was drawn for."""
    return tuple(
        Group(ordinal=prompt.ordinal, item=item, rollouts=answers)
        for prompt, item, answers in zip(unit.prompts, items, rollouts, strict=True)
    )
