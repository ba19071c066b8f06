"""Answers what was graded before from the ledger, and asks for the rest alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rft_core.canonical import digest
from rft_core.storage.ledger import Ledger
from rft_core.types import Grade, Group, Rollout, WeightRef


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Groups with the grades that are known, by position, and what remains to be asked."""

    groups: tuple[Group, ...]
    keys: tuple[tuple[str, ...], ...]
    known: dict[str, Grade]
    rest: tuple[Group, ...]
    """Groups without the rollouts whose grade is known; none that is empty."""


class PaidGrades:
    """A key names what a grade depends on: the grader's version, the item, the completion; for graders that
    see the whole group all its completions; and for those that are not deterministic the rollout's address,
    because the same text somewhere else is another question to them."""

    def __init__(self, ledger: Ledger, version: str, *, deterministic: bool, whole_groups: bool) -> None:
        self._ledger, self._version = ledger, version
        self._deterministic, self._whole_groups = deterministic, whole_groups

    def ask(self, groups: Sequence[Group], purpose: str, policy: WeightRef) -> Asked:
        address = None if self._deterministic else [purpose, policy.lineage, policy.number, policy.digest]
        keys = tuple(self._keys(group, address) for group in groups)
        known = self._ledger.find([key for group_keys in keys for key in group_keys])
        if known:
            self._ledger.count_hits(sum(key in known for group_keys in keys for key in group_keys))
        rest, asking = [], set(known)
        for group, group_keys in zip(groups, keys, strict=True):
            missing = []
            for rollout, key in zip(group.rollouts, group_keys, strict=True):
                if key not in asking:
                    asking.add(key)
                    missing.append(rollout)
            if missing:
                rest.append(group if self._whole_groups else replace(group, rollouts=tuple(missing)))
        return Asked(groups=tuple(groups), keys=keys, known=known, rest=tuple(rest))

    def answer(self, asked: Asked, grades: Sequence[Sequence[Grade]]) -> list[tuple[Grade, ...]]:
        """One grade per rollout of every group; `grades` are those of `asked.rest`, which are kept."""
        keys = {
            (group.ordinal, rollout.sample): key
            for group, of_group in zip(asked.groups, asked.keys, strict=True)
            for rollout, key in zip(group.rollouts, of_group, strict=True)
        }
        given = [
            (keys[group.ordinal, rollout.sample], grade)
            for group, of_group in zip(asked.rest, grades, strict=True)
            for rollout, grade in zip(group.rollouts, of_group, strict=True)
        ]
        self._ledger.keep(given)
        found = {**asked.known, **dict(given)}
        return [tuple(found[key] for key in of_group) for of_group in asked.keys]

    def _keys(self, group: Group, address: list[object] | None) -> tuple[str, ...]:
        item = digest([self._version, group.item.row])
        texts = [[r.text, r.finish_reason] for r in group.rollouts] if self._whole_groups else None

        def key(rollout: Rollout) -> str:
            place = None if address is None else [*address, group.ordinal, rollout.sample]
            return digest([item, rollout.text, rollout.finish_reason, texts, rollout.sample if texts else None, place])

        return tuple(map(key, group.rollouts))
