"""Findings about what the grader takes for right: does it read the answer's key, and tell right from wrong."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from rft_core.runs.checks import references
from rft_core.runs.checks.adversarial import JUNK
from rft_core.runs.checks.answers import is_number, number_of
from rft_core.runs.checks.bench import Tried
from rft_core.runs.checks.case import EQUAL, LEAST_ROWS, TOO_CLOSE, Case
from rft_core.runs.checks.references import CODE, as_text
from rft_core.runs.checks.report import Finding

MANY_WRONG = 0.25
SOME_WRONG = 0.1
FAR_NUMBERS = ("number_off", "number_near")
KNOWN_WRONG = frozenset({"scrambled", *FAR_NUMBERS, "digit_changed", "digit_added"})
"""Wrong whatever is graded, so that one row says it."""
MOVED = 0.02
LIKE = 0.6
FEW_LABELS = 12
CLOSE = 0.7


def _both_signs(case: Case) -> bool:
    """Whether some right answers are below 0 and some above, so that the sign is part of the answer."""
    way = case.found.way
    assert way is not None
    values = [value for item in case.items if is_number(value := way.value(item.row))]
    return any(number_of(value) < 0 for value in values) and any(number_of(value) > 0 for value in values)


def reading(case: Case) -> Iterator[Finding]:
    """Which key is compared with, and whether any is."""
    if case.span <= 0:
        return
    if case.found.way is not None:
        yield from _wrong_key(case)
    elif case.found.worst is not None:
        yield from _inverted(case)
    else:
        yield from _nothing_found(case)


def _keys(case: Case) -> list[str]:
    keys = dict.fromkeys(k for item in case.items for k in item.row if k not in references.RESERVED)
    return [k for k in keys if len({repr(item.row.get(k)) for item in case.items}) > 1 or len(case.items) == 1]


def _moving(case: Case) -> set[str]:
    return {key for key, share in case.found.moves.items() if share >= MOVED}


def _answer_keys(case: Case) -> list[str]:
    return [k for k in _keys(case) if references.is_answer_name(k)]


def _wrong_key(case: Case) -> Iterator[Finding]:
    way = case.found.way
    assert way is not None
    if way.given or not way.key or references.is_answer_name(way.path) or not case.found.moves:
        return
    moving = _moving(case)
    unread = [k for k in _answer_keys(case) if k not in moving]
    strange = (
        references.is_metadata_name(way.path) or references.is_prompt_name(way.path) or way.key in references.RESERVED
    )
    if not unread:
        return
    right = [t for t in case.of_kind("reference") if t.reward is not None]
    yield Finding(
        kind="wrong_key",
        severity="error" if strange else "warning",
        message=f"the grader compares with item.{way.path}; item.{unread[0]}, which seems to hold the answer, "
        "moves no reward",
        evidence=case.evidence(right),
    )


def _inverted(case: Case) -> Iterator[Finding]:
    way = case.found.worst
    assert way is not None
    meant = references.is_negative_name(way.path)
    texts = {way.text(item.row) for item in case.items}
    tried = [t for group in case.found.tried for t in group if t.answer.text in texts]
    yield Finding(
        kind="inverted",
        severity="warning" if meant else "error",
        message=f"a row's own item.{way.path or way.form} scores {-case.found.worst_advantage:.2f} less "
        "than those of other rows",
        evidence=case.evidence(tried),
    )


def _nothing_found(case: Case) -> Iterator[Finding]:
    moving = _moving(case)
    known = bool(case.found.moves)
    answers = _answer_keys(case)
    named = [v for v in case.item_variables if not references.is_prompt_name(v)]
    varied = [t for group in case.groups for t in group if t.reward is not None]
    best = sorted(varied, key=lambda t: -(t.reward or 0.0))
    blind = case.found.blind
    if blind is not None and blind.key in moving:
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"item.{blind.path} of a row gets the best reward there is, and so do those of other rows",
            evidence=case.evidence(best),
        )
    elif answers and ((known and not moving) or (not known and (named or not case.item_variables))):
        # A grader that names the key, and gave little for everything, may want what could not be made here.
        reached = case.span >= 0.5 * (case.high - case.low)
        mentioned = any(key in case.clues.source for key in answers)
        yield Finding(
            kind="ignores_item",
            severity="error" if reached or not mentioned else "warning",
            message=f"no value of item.{answers[0]} gets its row a better reward than another row's value: "
            "rewards do not depend on the right answer",
            evidence=case.evidence(best),
        )
    elif known and not moving:
        yield Finding(
            kind="reference_free",
            severity="warning",
            message="the same answer gets the same reward in every row: form or style is graded, nothing is known to be right",
            evidence=case.evidence(best),
        )


def ordering(case: Case) -> Iterator[Finding]:
    """The reference against wrong answers and against answers that know nothing."""
    if case.found.way is None or case.span <= 0:
        return
    right = case.mean_reward("reference")
    if right is None:
        return
    yield from _better_than_reference(case, right)
    yield from _unrewarded(case)
    yield from _wrong_accepted(case)


def _better_than_reference(case: Case, right: float) -> Iterator[Finding]:
    for kind in sorted(JUNK | {"other"}):
        tried = [t for t in case.of_kind(kind) if t.reward is not None]
        by_row: dict[int, float] = {}
        for one in tried:
            by_row[one.row] = max(by_row.get(one.row, -float("inf")), one.reward or 0.0)
        ahead = [r for r, best in by_row.items() if best > (case.right(r) or 0.0) + EQUAL * case.span]
        if by_row and len(ahead) > 0.5 * len(by_row):
            best = sorted(tried, key=lambda t: -(t.reward or 0.0))
            yield Finding(
                kind="reference_not_best",
                severity="error",
                message=f"{kind.replace('_', ' ')} answers score better than the reference in {len(ahead)} of "
                f"{len(by_row)} rows (mean {mean(by_row.values()):.3g}, the reference {right:.3g})",
                evidence=case.evidence([*best[:2], *case.of_kind("reference")]),
            )
            return


def _unrewarded(case: Case) -> Iterator[Finding]:
    rows = [t for t in case.of_kind("reference") if t.reward is not None and case.wrong(t.row) is not None]
    poor = [t for t in rows if (t.reward or 0.0) - (case.wrong(t.row) or 0.0) < EQUAL * case.span]
    if len(poor) > SOME_WRONG * len(rows):
        way = case.found.way
        known = way is not None and way.given  # else the form may fit other rows better
        yield Finding(
            kind="reference_unrewarded",
            severity="error" if known or len(poor) > 0.5 * len(rows) else "warning",
            message=f"the {'right answer' if known else 'reference'} of {len(poor)} of {len(rows)} rows scores no better than a wrong answer",
            evidence=case.evidence(poor),
        )


def _wrong_accepted(case: Case) -> Iterator[Finding]:
    others = [t for t in case.of_kind("other") if t.reward is not None and case.right(t.row) is not None]
    full = [t for t in others if (t.reward or 0.0) >= (case.right(t.row) or 0.0) - EQUAL * case.span]
    share = len(full) / len(others) if others else 0.0
    if share >= SOME_WRONG:
        yield Finding(
            kind="wrong_accepted",
            severity="error" if share >= MANY_WRONG else "warning",
            message=f"{share:.0%} of the answers of other rows score as well as the row's own",
            evidence=case.evidence(full),
        )
    contrast = [c for t in others if (c := case.share(t)) is not None]
    if contrast and mean(contrast) >= CLOSE and share < MANY_WRONG:
        yield Finding(
            kind="wrong_accepted",
            severity="error" if mean(contrast) >= TOO_CLOSE else "warning",
            message=f"answers of other rows get {mean(contrast):.0%} of what the right answer gets over the worst",
            evidence=case.evidence(others),
        )
    yield from _closest(case)
    yield from _by_likeness(case)
    way = case.found.way
    assert way is not None
    far = [
        ("number_off", "a number half as large again"),
        ("number_near", "a number larger by a fifth"),
        ("digit_changed", "a number with another first digit"),
        ("digit_added", "a number ten times as large"),
        ("fraction_changed", "a number with another fraction"),
        ("point_spoilt", "a number with a letter for its point"),
    ]
    if not way.key or way.key in _moving(case):  # else the shape may be what the row asks for
        far = [
            ("scrambled", "the right answer with other letters and digits"),
            ("backwards", "the right answer spelt backwards"),
            ("digits_dropped", "the right answer without its digits"),
            ("point_moved", "a number without its decimal point"),
            ("middle_letter", "one letter of the right answer"),
            ("digits_changed", "the right answer with other numbers"),
            ("numbers_zero", "the right answer with its numbers set to 0"),
            *far,
        ]
    for kind, what in far:
        near = case.worths(kind)
        full = [t for t, worth in near if worth >= 1 - EQUAL]
        least = 1 if kind in KNOWN_WRONG else LEAST_ROWS
        if len(full) >= max(least, 0.5 * len(near)):
            yield Finding(
                kind="wrong_accepted",
                severity="error",
                message=f"in {len(full)} of {len(near)} rows {what} scores as well as the right one",
                evidence=case.evidence(full),
            )
            return
    for kind, what in (
        ("number_tenth", "a number larger by a tenth"),
        ("negated", "the number with the other sign"),
        ("word_dropped", "the answer without one of its words"),
    ):
        near = case.worths(kind)
        full = [t for t, worth in near if worth >= 1 - EQUAL]
        if near and len(full) >= 0.5 * len(near):
            yield Finding(
                kind="wrong_accepted",
                severity="error" if kind == "negated" and _both_signs(case) else "warning",
                message=f"in {len(full)} of {len(near)} rows {what} scores as well as the right one",
                evidence=case.evidence(full),
            )


def _by_likeness(case: Case) -> Iterator[Finding]:
    """Numbers that share digits with the right one, and codes that share letters, are paid as if they were near."""
    way = case.found.way
    assert way is not None
    values = [as_text(way.value(item.row)) for item in case.items]
    codes = all(CODE.fullmatch(value) for value in values)
    for kind, what in (
        ("digit_added", "a number ten times as large, with the same digits first,"),
        ("letter_changed", "a code with another letter"),
    ):
        near = [worth for _, worth in case.worths(kind)]
        if (kind == "digit_added" or codes) and len(near) >= LEAST_ROWS and LIKE <= mean(near) < 1 - EQUAL:
            yield Finding(
                kind="wrong_accepted",
                severity="error",
                message=f"{what} gets {mean(near):.0%} of what the right one gets: they are compared as text",
                evidence=case.evidence(list(case.of_kind(kind))),
            )
            return


def _closest(case: Case) -> Iterator[Finding]:
    """Of a few different answers, such as labels, the wrong one that is paid most is paid nearly as the right one."""
    way = case.found.way
    assert way is not None
    labels = {as_text(way.value(item.row)) for item in case.items}
    if not 2 <= len(labels) <= FEW_LABELS or len(labels) > 0.5 * len(case.items):
        return
    best: dict[int, tuple[float, Tried]] = {}
    for tried in case.of_kind("other"):
        share = case.share(tried)
        if share is not None and share > best.get(tried.row, (-1.0, tried))[0]:
            best[tried.row] = share, tried
    close = [tried for share, tried in best.values() if share >= TOO_CLOSE]
    if len(close) >= max(LEAST_ROWS, 0.5 * len(best)):
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"in {len(close)} of {len(best)} rows another of the {len(labels)} answers of the data gets "
            f"{TOO_CLOSE:.0%} or more of what the right one gets over the worst text",
            evidence=case.evidence(close),
        )
