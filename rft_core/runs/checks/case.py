"""Everything that a check has seen of a grader, and the figures that its rules are written in.

For a row whose right answer is known: `right` is its reward, `wrong` the median reward of other rows' answers
and of prose, and `worth(x) = (x − wrong) / (right − wrong)` says how much of the right answer's gain a reward is:
0 for a wrong answer, 1 for the right one. A row where right and wrong differ by less than 5 % of the span of
rewards has no `worth`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

from rft_core.runs.checks.bench import Tried
from rft_core.runs.checks.clues import Clues
from rft_core.runs.checks.discover import Found
from rft_core.runs.checks.report import MAX_EVIDENCE, Evidence, shown
from rft_core.runs.checks.size import Size
from rft_core.types import Item

EQUAL = 0.05
"""Rewards that differ by less than this share of the span count as equal."""
WRONG = ("other", "prose")
TOO_CLOSE = 0.8
"""Of what the right answer gets over the worst: a wrong one that gets more is as good as right."""
PROCESS_ENDED = "process ended"
"""In the message of a grade whose grader's process died over it."""
LEAST_ROWS = 3
"""In fewer a finding about a part of the right answer may be chance."""
PLAIN_JUNK = frozenset({"prose", "repeated", "long", "long_repeated", "empty", "whitespace"})


@dataclass(kw_only=True)
class Case:
    items: Sequence[Item]
    clues: Clues
    found: Found
    size: Size
    paid: bool
    """The grader says that it is not deterministic: a judge or a service."""
    low: float = 0.0
    high: float = 1.0
    """Range that the grader declares."""
    declared: bool = False
    groups: Sequence[Sequence[Tried]] = ()
    """The answers to each row, as one group."""
    odd: Sequence[Tried] = ()
    """Answers on which a grader may stumble, in groups of their own."""
    samples: Sequence[Sequence[Tried]] = ()
    """Completions that were given, by row."""
    repeats: Mapping[str, Sequence[tuple[Tried, Tried]]] = field(default_factory=dict)
    """Pairs of grades of one answer, by how the second was graded."""
    seen: Sequence[Tried] = ()
    """All grades, warm-up and looking included, but not those under changed rows."""
    item_variables: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rewards = [t.reward for t in self.seen if t.reward is not None]
        self.lowest = min(rewards, default=0.0)
        self.highest = max(rewards, default=0.0)
        # Odd texts may reach any number; they are judged by what ordinary answers get.
        plain = [t.reward for group in (*self.groups, *self.found.tried) for t in group if t.reward is not None]
        self.span = max(plain, default=0.0) - min(plain, default=0.0)

    def of_kind(self, *kinds: str) -> Iterator[Tried]:
        for tried in (*(t for group in self.groups for t in group), *self.odd):
            if tried.answer.kind in kinds:
                yield tried

    def right(self, row: int) -> float | None:
        return next((t.reward for t in self.groups[row] if t.answer.kind == "reference"), None)

    def wrong(self, row: int) -> float | None:
        """Median reward of other rows' answers; of prose if there are none."""
        for kind in WRONG:
            rewards = [t.reward for t in self.groups[row] if t.answer.kind == kind and t.reward is not None]
            if rewards:
                return median(rewards)
        return None

    def worth(self, tried: Tried) -> float | None:
        """How much of the right answer's gain it gets; None where that cannot be said."""
        right, wrong = self.right(tried.row), self.wrong(tried.row)
        if right is None or wrong is None or tried.reward is None or right - wrong < EQUAL * self.span:
            return None
        return (tried.reward - wrong) / (right - wrong)

    def share(self, tried: Tried) -> float | None:
        """A reward between the row's lowest and its right answer's, as a share: 0 for the worst answer."""
        right = self.right(tried.row)
        low = min((t.reward for t in self.groups[tried.row] if t.reward is not None), default=None)
        if right is None or low is None or tried.reward is None or right - low < EQUAL * self.span:
            return None
        return (tried.reward - low) / (right - low)

    def junk_worth(self, tried: Tried) -> float | None:
        """The same above the best of other rows' answers and of neutral words, if these leave room: a measure of
        likeness gives any text something."""
        right, wrong = self.right(tried.row), self.wrong(tried.row)
        if right is None or wrong is None or tried.reward is None or right - wrong < EQUAL * self.span:
            return None
        kinds = ("other",) if tried.answer.kind in PLAIN_JUNK else ("other", "control")
        rewards = [t.reward for t in self.groups[tried.row] if t.answer.kind in kinds and t.reward is not None]
        best = max(rewards, default=wrong)
        if right - best < 0.2 * (right - wrong):
            best = wrong
        return (tried.reward - best) / (right - best)

    def worths(self, *kinds: str) -> list[tuple[Tried, float]]:
        return [(t, w) for t in self.of_kind(*kinds) if (w := self.worth(t)) is not None]

    def mean_reward(self, kind: str) -> float | None:
        rewards = [t.reward for t in self.of_kind(kind) if t.reward is not None]
        return mean(rewards) if rewards else None

    def evidence(self, tried: Sequence[Tried], note: str = "") -> tuple[Evidence, ...]:
        """Some of the answers, no text twice where others are left."""
        picked: dict[str, Tried] = {}
        for one in tried:
            picked.setdefault(one.answer.text, one)
        chosen = list(picked.values())[:MAX_EVIDENCE]
        return tuple(
            Evidence(
                row=self.items[t.row].key,
                answer=t.answer.kind,
                text=shown(t.answer.text),
                reward=t.reward,
                note="; ".join(n for n in (t.answer.note, note, t.grade.message or "") if n),
            )
            for t in chosen
        )
