"""Findings about a grader that fails, hangs, gives nothing or always the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from rft_core.runs.checks.adversarial import ODD
from rft_core.runs.checks.bench import Tried
from rft_core.runs.checks.case import PROCESS_ENDED, Case
from rft_core.runs.checks.references import RESERVED, is_metadata_name
from rft_core.runs.checks.report import Finding, Severity
from rft_core.types import Outcome

MOST_FAILED = 0.05
"""Of ordinary answers, for a grader that runs here."""
MOST_FAILED_PAID = 0.2
"""For one that asks somebody, whose failures may pass."""
MOST_UNJUDGED = 0.8
TINY = 1e-9


def failures(case: Case) -> Iterator[Finding]:
    """Rows on which every answer fails, kinds of answers that fail, and answers that hang."""
    ordinary = [t for t in case.seen if t.answer.kind not in ODD]
    failed = [t for t in ordinary if t.failed]
    if ordinary and len(failed) == len(ordinary):
        yield Finding(
            kind="fails",
            severity="error",
            message=f"all {len(failed)} grades failed: {failed[0].grade.error_kind}",
            evidence=case.evidence(failed),
        )
        return
    hung = [t for t in (*case.seen, *case.odd) if t.grade.outcome == Outcome.TIMED_OUT]
    if hung:
        few = case.paid and len(hung) <= MOST_FAILED_PAID * len(case.seen)
        yield Finding(
            kind="hangs",
            severity="warning" if few else "error",
            message=f"{len(hung)} of {len(case.seen) + len(case.odd)} grades took too long: {_kinds(hung)}",
            evidence=case.evidence(hung),
        )
    yield from _failed_rows(case, ordinary)
    yield from _failed_answers(case, ordinary, failed)


def _failed_rows(case: Case, ordinary: Sequence[Tried]) -> Iterator[Finding]:
    by_row: dict[int, list[Tried]] = defaultdict(list)
    for tried in ordinary:
        by_row[tried.row].append(tried)
    dead = [
        row
        for row, tried in by_row.items()
        if len(tried) > 2 and all(t.failed and t.grade.outcome != Outcome.TIMED_OUT for t in tried)
    ]
    if dead:
        lost = [by_row[row][0] for row in dead]
        yield Finding(
            kind="fails_on_rows",
            severity="error" if not case.paid or len(dead) > MOST_FAILED_PAID * len(by_row) else "warning",
            message=f"every answer to {len(dead)} of {len(by_row)} rows fails, first to {case.items[dead[0]].key}: "
            f"{lost[0].grade.error_kind}",
            evidence=case.evidence(lost),
        )


def _failed_answers(case: Case, ordinary: Sequence[Tried], failed: Sequence[Tried]) -> Iterator[Finding]:
    by_kind: dict[str, list[Tried]] = defaultdict(list)
    for one in ordinary:
        if one.grade.outcome != Outcome.TIMED_OUT:
            by_kind[one.answer.kind].append(one)
    bad = [t for some in by_kind.values() if sum(o.failed for o in some) >= 0.5 * len(some) for t in some if t.failed]
    most = MOST_FAILED_PAID if case.paid else MOST_FAILED
    broken = [t for t in failed if t.grade.outcome != Outcome.TIMED_OUT]
    if broken and (len(broken) > most * len(ordinary) or (bad and not case.paid)):
        tried = bad or broken
        yield Finding(
            kind="fails",
            severity="error",
            message=f"{len(broken)} of {len(ordinary)} grades failed, of {_kinds(tried)} answers: "
            f"{tried[0].grade.error_kind}; a policy that writes so is not taught otherwise",
            evidence=case.evidence(tried),
        )
    elif broken:
        yield Finding(
            kind="fails",
            severity="warning",
            message=f"{len(broken)} of {len(ordinary)} grades failed: {broken[0].grade.error_kind}",
            evidence=case.evidence(broken),
        )
    odd = [t for t in case.odd if t.failed and t.grade.outcome != Outcome.TIMED_OUT]
    if odd:
        died = [t for t in odd if PROCESS_ENDED in (t.grade.message or "")]
        yield Finding(
            kind="fails_on_odd_answers",
            severity="error" if died else "warning",
            message=f"{len(died)} odd answers end the grader's process"
            if died
            else f"{len(odd)} of {len(case.odd)} odd answers fail: {odd[0].grade.error_kind}",
            evidence=case.evidence(died or odd),
        )


def nothing(case: Case) -> Iterator[Finding]:
    """No reward at all, abstaining, one reward for everything, one reward for each row."""
    tried = [t for t in case.seen if not t.failed]
    rewards = [t.reward for t in tried if t.reward is not None]
    if tried and not rewards:
        yield Finding(
            kind="no_reward",
            severity="error",
            message=f"the grader had no opinion on any of {len(tried)} answers",
            evidence=case.evidence(tried),
        )
        return
    silent = [t for t in tried if t.grade.outcome == Outcome.ABSTAINED]
    if len(silent) > 0.5 * len(tried):
        yield Finding(
            kind="abstains",
            severity="warning",
            message=f"the grader had no opinion on {len(silent)} of {len(tried)} answers; they teach nothing",
            evidence=case.evidence(silent),
        )
    others = list(case.of_kind("other"))
    unjudged = [t for t in others if t.grade.outcome == Outcome.ABSTAINED]
    if others and len(unjudged) >= MOST_UNJUDGED * len(others):
        yield Finding(
            kind="abstains",
            severity="error",
            message=f"the grader has no opinion on {len(unjudged)} of {len(others)} wrong answers in the right form: "
            "only right ones are left to compare",
            evidence=case.evidence(unjudged),
        )
    if not rewards or len(rewards) < 0.5 * len(case.seen):
        return
    if max(rewards) - min(rewards) <= TINY:
        yield _constant(case, tried, rewards[0])
    elif not any(_spread(list(group)) for _, group in _by_row(case)):
        yield Finding(
            kind="ignores_answer",
            severity="error",
            message="all answers to a row get the same reward, which differs from row to row: the answer is not read",
            evidence=case.evidence(list(case.groups[0]) if case.groups else tried),
        )


def _constant(case: Case, tried: Sequence[Tried], reward: float) -> Finding:
    told = [k for item in case.items[:1] for k in item.row if k not in RESERVED and not is_metadata_name(k)]
    known = case.found.way is not None and case.found.way.given
    unsure = not known and (case.clues.runs_code or not told) and reward <= case.low and not case.samples
    severity: Severity = "warning" if unsure else "error"
    right = "the right ones" if known else "those that the rows hold"
    message = f"all {len(tried)} answers got {reward:g}, {right} and those that know nothing alike"
    if unsure:
        message += "; no right answer could be made from the rows"
    if not known and reward <= case.low:
        message += ": say how one is written with --target, or grading.target in the run file"
    return Finding(kind="constant", severity=severity, message=message, evidence=case.evidence(tried[-40::10]))


def _by_row(case: Case) -> list[tuple[int, list[Tried]]]:
    order: Callable[[Tried], int] = lambda t: t.row  # noqa: E731 a name for its type
    return [(row, list(group)) for row, group in groupby(sorted(case.seen, key=order), key=order)]


def _spread(group: Sequence[Tried]) -> bool:
    rewards = [t.reward for t in group if t.reward is not None]
    return bool(rewards) and max(rewards) - min(rewards) > TINY


def _kinds(tried: Sequence[Tried]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for one in tried:
        counts[one.answer.kind] += 1
    names = [kind.replace("_", " ") for kind, _ in sorted(counts.items(), key=lambda pair: -pair[1])[:3]]
    return ", ".join(names)
