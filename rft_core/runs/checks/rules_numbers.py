"""Findings about repeatability, range, time, spread and agreement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from rft_core.runs.checks.bench import Tried
from rft_core.runs.checks.case import Case
from rft_core.runs.checks.report import Finding
from rft_core.stats import rank_correlation

SAME = 1e-9
FAR = 10.0
"""A reward beyond this is no share of anything."""
SLOW_STEP_S = 30.0
SLOW_STEP_PAID_S = 120.0
MOST_DEAD = 0.8
LEAST_AGREEMENT = 0.5
HOW = {
    "again": "graded again",
    "other_order": "graded in another order",
    "alone": "graded alone",
    "new_process": "graded by a grader that was started anew",
}


def repeatability(case: Case) -> Iterator[Finding]:
    """The same answer again, in another order, alone, and in a new process."""
    changed = {how: [p for p in pairs if change(p) > SAME] for how, pairs in case.repeats.items()}
    if case.paid:
        yield from _noise(case)
        return
    # Alone differs and nothing else does: the grader compares the answers of a group, which is its right.
    relative = bool(changed.get("alone")) and not any(v for how, v in changed.items() if how != "alone")
    if relative:
        pairs = changed["alone"]
        yield Finding(
            kind="group_relative",
            severity="warning",
            message=f"{len(pairs)} of {len(case.repeats['alone'])} answers get another reward alone than in a group",
            evidence=_both(case, pairs, "alone"),
        )
        return
    for how, pairs in changed.items():
        if pairs:
            yield Finding(
                kind="not_deterministic",
                severity="error",
                message=f"{len(pairs)} of {len(case.repeats[how])} answers get another grade when {HOW[how]}",
                evidence=_both(case, pairs, how),
            )
            return


def _both(case: Case, pairs: Sequence[tuple[Tried, Tried]], how: str) -> Any:
    first, second = pairs[0]
    return (
        *case.evidence([first]),
        *case.evidence([second], note=HOW[how]),
        *case.evidence([p[1] for p in pairs[1:2]]),
    )


def change(pair: tuple[Tried, Tried]) -> float:
    one, other = pair[0].reward, pair[1].reward
    if one is None or other is None:
        return 0.0 if pair[0].grade.outcome == pair[1].grade.outcome else float("inf")
    return abs(one - other)


def _noise(case: Case) -> Iterator[Finding]:
    pairs = [
        p
        for how in ("again", "new_process")
        for p in case.repeats.get(how, ())
        if p[0].reward is not None and p[1].reward is not None
    ]
    if len(pairs) < 4 or case.span <= 0:
        return
    noise = mean(change(p) for p in pairs) / case.span
    agreement = rank_correlation([p[0].reward or 0.0 for p in pairs], [p[1].reward or 0.0 for p in pairs])
    if noise >= 0.15:
        random = agreement is not None and agreement < 0.3 and noise >= 0.2
        yield Finding(
            kind="noisy",
            severity="error" if random else "warning",
            message=f"the same answer graded twice differs by {noise:.0%} of the span of rewards on average",
            evidence=_both(case, sorted(pairs, key=change, reverse=True), "again"),
        )


def ranges(case: Case) -> Iterator[Finding]:
    """Rewards beyond what is declared, or beyond 0 to 1."""
    beyond = [
        t
        for t in (*case.seen, *case.odd)
        if t.reward is not None and not case.low - 1e-6 <= t.reward <= case.high + 1e-6
    ]
    if not beyond:
        return
    worst = sorted(beyond, key=lambda t: -abs(t.reward or 0.0))
    far = abs(worst[0].reward or 0.0) > max(FAR, abs(case.low), abs(case.high))
    yield Finding(
        kind="out_of_range",
        severity="error" if far else "warning",
        message=f"{len(beyond)} rewards lie outside of {case.low:g} to {case.high:g}, from {case.lowest:.3g} to {case.highest:.3g}"
        + ("; one such answer outweighs all others of its group" if far else ""),
        evidence=case.evidence(worst),
    )


def time_taken(case: Case, step_s: float, grades: int) -> Iterator[Finding]:
    limit = SLOW_STEP_PAID_S if case.paid else SLOW_STEP_S
    if step_s > limit / 3:
        yield Finding(
            kind="slow",
            severity="error" if step_s > limit else "warning",
            message=f"the {grades} grades of a step take about {step_s:.0f} s ({case.size.per_s:.3g} grades a second)",
        )


def dead_groups(rewards: Sequence[Sequence[float]], group_size: int) -> float | None:
    """Expected share of groups whose rewards are all equal, from the rewards of some answers to each row.

    For a row with shares q of equal rewards, `Σ qⁿ` with n the group's size; the mean over rows."""
    shares = []
    for row in rewards:
        if len(row) >= 2:
            counts = np.unique(np.round(row, 9), return_counts=True)[1]
            shares.append(float(((counts / len(row)) ** group_size).sum()))
    return mean(shares) if shares else None


def spread(case: Case, figures: Mapping[str, Any]) -> Iterator[Finding]:
    dead = figures.get("dead_groups")
    if dead is not None and dead > MOST_DEAD:
        yield Finding(
            kind="no_spread",
            severity="warning",
            message=f"about {dead:.0%} of the groups would have equal rewards and teach nothing",
            evidence=case.evidence([t for group in case.samples for t in group[:1]]),
        )


def agreement(figures: Mapping[str, Any] | None) -> Iterator[Finding]:
    if figures and not figures["answers"]:
        yield Finding(
            kind="disagrees",
            severity="error",
            message="the second grader gave no grade to any answer: see what 'rft-engine grade' says of it",
        )
    if figures and figures["rank_correlation"] is not None and figures["rank_correlation"] < LEAST_AGREEMENT:
        yield Finding(
            kind="disagrees",
            severity="warning",
            message=f"the rank correlation with the second grader is {figures['rank_correlation']:.2f} over {figures['answers']} answers",
        )
