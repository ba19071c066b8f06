"""Findings about parts of the right answer: what is missing or wrong in it and costs nothing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sized

from rft_core.rows import prompt_text
from rft_core.runs.checks.bench import Tried
from rft_core.runs.checks.case import EQUAL, LEAST_ROWS, Case
from rft_core.runs.checks.entries import asks_for_order, entries_of
from rft_core.runs.checks.references import CODE, as_text
from rft_core.runs.checks.report import Finding

HALF = 0.5
AROUND = ("explained", "trailing", "buried")
"""The right answer with idle words before it, after it, and on both sides."""
AHEAD = 0.25
"""Of the span: so much better is better."""
FOOLED = 0.2
"""Of the span: by so much a wrong answer must be ahead of the right one."""


def parts(case: Case) -> Iterator[Finding]:
    """Where the right answer is known: its parts, its fields, and other forms of wrong answers."""
    if case.found.way is None or case.span <= 0:
        return
    yield from _first_part(case)
    yield from _precision_alone(case)
    yield from _part_often(case)
    yield from _half(case)
    yield from _one_word(case)
    yield from _turned_round(case)
    yield from _ends_alone(case)
    yield from _wrong_entries(case)
    yield from _terms(case)
    yield from _long_half(case)
    yield from _letters(case)
    yield from _bare(case)
    yield from _fields(case)
    yield from _other_form(case)


def _many(some: Sized, of: int) -> bool:
    """Whether `some` are enough of the `of` there are to say something of the grader."""
    return len(some) >= max(LEAST_ROWS, HALF * of)


def _full_though_not(case: Case, kind: str, control: str) -> tuple[list[Tried], int]:
    """The answers of a kind that score as the right one in rows where the control does not, and the rows with both."""
    controls = {t.row: worth for t, worth in case.worths(control)}
    found = [(t, worth) for t, worth in case.worths(kind) if t.row in controls]
    return [t for t, worth in found if worth >= 1 - EQUAL and controls[t.row] < 1 - 2 * EQUAL], len(found)


def _first_part(case: Case) -> Iterator[Finding]:
    """The first entry of a list scores as the whole list does, and the second does not: the rest is not compared.
    Where any entry is right, as in a list of names for one thing, the second scores as well."""
    second = {t.row: worth for t, worth in case.worths("second_part")}
    first = [(t, worth) for t, worth in case.worths("first_part") if t.row in second]
    enough = [t for t, worth in first if worth >= 1 - EQUAL and second[t.row] < HALF]
    if _many(enough, len(first)):
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"in {len(enough)} of {len(first)} rows the first part of the right answer scores as well as all of it",
            evidence=case.evidence(enough),
        )


def _precision_alone(case: Case) -> Iterator[Finding]:
    """Of a list any entry alone scores as the whole, but not beside a wrong one: what is missing costs nothing."""
    alone = {t.row: worth for t, worth in case.worths("second_part")}
    beside = {t.row: worth for t, worth in case.worths("part_and_wrong")}
    first = [(t, worth) for t, worth in case.worths("first_part") if t.row in alone and t.row in beside]
    enough = [t for t, w in first if min(w, alone[t.row]) >= 1 - EQUAL and beside[t.row] < 1 - 2 * EQUAL]
    if _many(enough, len(first)):
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"in {len(enough)} of {len(first)} rows one entry of the right list scores as well as all of them",
            evidence=case.evidence(enough),
        )


def _half(case: Case) -> Iterator[Finding]:
    """Half of the right answer, or it with another number, scores as all of it. An error if either end can be spoilt
    so, or the answer is one word, or of numbers alone; else the grader may rightly read one end alone, as the letter of `A. Paris`."""
    way = case.found.way
    assert way is not None
    for kind, what in (
        ("half", "{} half of the right answer"),
        ("number_changed", "right answer with its {} number changed"),
    ):
        rows: dict[str, set[int]] = {"first": set(), "last": set()}
        found: dict[str, list[Tried]] = {"first": [], "last": []}
        tried = case.worths(kind)
        for one, worth in tried:
            if worth >= 1 - EQUAL:
                rows[one.answer.note].add(one.row)
                found[one.answer.note].append(one)
        count = len({one.row for one, _ in tried})
        both = rows["first"] & rows["last"]
        texts = {row: as_text(way.value(case.items[row].row)) for row in rows["first"] | rows["last"]}
        single = {
            row
            for row, text in texts.items()
            if len(text.split()) == 1 or (kind == "number_changed" and not re.search(r"[^\W\d]", text))
        }
        spoilt = both | single
        for which in ("first", "last"):
            if _many(rows[which], count):
                yield Finding(
                    kind="wrong_accepted",
                    severity="error" if _many(spoilt, count) else "warning",
                    message=f"in {len(rows[which])} of {count} rows the {what.format(which)} scores as well as the whole",
                    evidence=case.evidence(found[which]),
                )
                return


def _part_often(case: Case) -> Iterator[Finding]:
    """The first entry of a list over and over scores as the list does, and once does not."""
    full, rows = _full_though_not(case, "first_part_often", "first_part")
    if _many(full, rows):
        yield Finding(
            kind="repetition",
            severity="error",
            message=f"in {len(full)} of {rows} rows one entry of the right list, repeated, scores as well as the list",
            evidence=case.evidence(full),
        )


def _one_word(case: Case) -> Iterator[Finding]:
    """A word of the right answer scores as the answer does: any of two, or over and over and not once."""
    once = {(t.row, t.answer.note): worth for t, worth in case.worths("one_word")}
    by_row: dict[int, list[float]] = defaultdict(list)
    for (row, _), worth in once.items():
        by_row[row].append(worth)
    alone = [row for row, worths in by_row.items() if len(worths) > 1 and min(worths) >= 1 - EQUAL]
    if _many(alone, len(by_row)):
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"in {len(alone)} of {len(by_row)} rows any long word of the right answer scores as well as all of it",
            evidence=case.evidence([t for t in case.of_kind("one_word") if t.row in alone]),
        )
        return
    often = [(t, worth) for t, worth in case.worths("one_word_often") if (t.row, t.answer.note) in once]
    full = [t for t, worth in often if worth >= 1 - EQUAL and once[t.row, t.answer.note] < 1 - 2 * EQUAL]
    rows = {t.row for t in full}
    if _many(rows, len({t.row for t, _ in often})):
        yield Finding(
            kind="repetition",
            severity="error",
            message=f"in {len(rows)} rows one word of the right answer, repeated, scores as well as the answer",
            evidence=case.evidence(full),
        )


def _turned_round(case: Case) -> Iterator[Finding]:
    """A list in another order scores as the right one where the prompt asks for an order, or in reverse only."""
    rotated = {t.row: worth for t, worth in case.worths("rotated")}
    found = [(t, worth) for t, worth in case.worths("reversed") if t.row in rotated]
    full = [t for t, worth in found if worth >= 1 - EQUAL]
    asked = [t for t in full if asks_for_order(prompt_text(case.items[t.row].row))]
    reverse_only = [t for t in full if rotated[t.row] < 1 - 2 * EQUAL]
    where = f"rows the right list in {'reverse' if _many(reverse_only, len(found)) else 'another'} order scores as well"
    if _many(asked, len(found)):
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"in {len(asked)} of {len(found)} {where}, and the prompt asks for an order",
            evidence=case.evidence(asked),
        )
    elif _many(reverse_only, len(found)):
        yield Finding(
            kind="wrong_accepted",
            severity="warning",  # a path may be walked from either end
            message=f"in {len(reverse_only)} of {len(found)} {where}, in others it does not",
            evidence=case.evidence(reverse_only),
        )


def _either(case: Case, kind: str) -> tuple[list[Tried], int]:
    """The answers of a kind that score as the right one in rows where both of its notes do, and the rows with both."""
    by_row: dict[int, dict[str, tuple[Tried, float]]] = defaultdict(dict)
    for tried, worth in case.worths(kind):
        by_row[tried.row][tried.answer.note] = (tried, worth)
    both = [row for row in by_row.values() if len(row) > 1]
    full = [row for row in both if min(worth for _, worth in row.values()) >= 1 - EQUAL]
    return [tried for row in full for tried, _ in row.values()], len(both)


def _wrong_entries(case: Case) -> Iterator[Finding]:
    """A list with entries of other rows' lists, before or after its own, or in the place of one, scores as the right
    one. Nothing of it where one entry alone does, so that they are names for one thing; no error where idle words
    around the list cost nothing either, unless the entries are codes: then it is looked for in a text."""
    way = case.found.way
    assert way is not None
    alone = [t.row for t, worth in case.worths("second_part") if worth >= 1 - EQUAL]
    in_text = {kind: {t.row for t, worth in case.worths(kind) if worth >= 1 - EQUAL} for kind in AROUND}
    found_anywhere = in_text["buried"] | (in_text["explained"] & in_text["trailing"])
    entries = [e for item in case.items if (e := entries_of(way.value(item.row))) is not None]
    codes = all(CODE.fullmatch(as_text(part)) for e in entries for part in e.parts)
    for kind, what in (
        ("entries_added", "the right list with wrong entries added to it"),
        ("entry_wrong", "the right list with any one of its entries wrong"),
    ):
        full, rows = _either(case, kind)
        found = {t.row for t in full if t.row not in alone}
        if _many(found, rows):
            yield Finding(
                kind="wrong_accepted",
                severity="warning" if _many(found & found_anywhere, rows) and not codes else "error",
                message=f"in {len(found)} of {rows} rows {what} scores as well",
                evidence=case.evidence([t for t in full if t.row in found]),
            )
            return


def _ends_alone(case: Case) -> Iterator[Finding]:
    """A list of four entries or more scores as well, or better, with its first and its last alone."""
    any_entry = {t.row for t, worth in case.worths("second_part") if worth >= 1 - EQUAL}
    tried = [(t, worth) for t, worth in case.worths("ends_alone") if t.row not in any_entry]
    full = [t for t, worth in tried if worth >= 1 - EQUAL]
    if _many(full, len(tried)):
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"in {len(full)} of {len(tried)} rows the first and the last entry of the right list score as well as all of it",
            evidence=case.evidence(full),
        )


def _terms(case: Case) -> Iterator[Finding]:
    """The terms that a row lists under another key score as the right answer does, which is a text."""
    way = case.found.way
    assert way is not None
    tried = case.worths("terms")
    full = [t for t, worth in tried if worth >= 1 - EQUAL]
    if way.given and _many(full, len(tried)):
        yield Finding(
            kind="hackable",
            severity="error",
            message=f"in {len(full)} of {len(tried)} rows a bare list of {full[0].answer.note} scores as well as the right "
            "answer, which is a text: terms are counted, whatever is said of them",
            evidence=case.evidence(full),
        )


def _long_half(case: Case) -> Iterator[Finding]:
    """Either half of a long answer scores as all of it. One alone may rightly: the end of a solution."""
    full, rows = _either(case, "long_half")
    found = {t.row for t in full}
    if _many(found, rows):
        yield Finding(
            kind="wrong_accepted",
            severity="error",
            message=f"in {len(found)} of {rows} rows either half of the right answer scores as well as all of it",
            evidence=case.evidence(full),
        )


def _letters(case: Case) -> Iterator[Finding]:
    """A number with other letters scores as the right one, in data where the letters, such as a unit, differ."""
    way = case.found.way
    assert way is not None
    tried = case.worths("letters_changed")
    full = [t for t, worth in tried if worth >= 1 - EQUAL]
    letters = {re.sub(r"[\d\W_]", "", as_text(way.value(case.items[t.row].row))).casefold() for t, _ in tried}
    if _many(full, len(tried)):
        yield Finding(
            kind="wrong_accepted",
            severity="error" if len(letters) > 1 else "warning",
            message=f"in {len(full)} of {len(tried)} rows the right answer with other letters scores as well",
            evidence=case.evidence(full),
        )


def _bare(case: Case) -> Iterator[Finding]:
    """With words around it the right answer scores better than alone in the form asked for."""
    way = case.found.way
    assert way is not None
    by_row: dict[int, list[Tried]] = defaultdict(list)
    for tried in case.of_kind(*AROUND):
        right = case.right(tried.row)
        if right is not None and tried.reward is not None:
            by_row[tried.row] += [tried] if tried.reward - right > AHEAD * case.span else []
    ahead = {row: some for row, some in by_row.items() if some}
    if _many(ahead, len(by_row)):
        yield Finding(
            kind="reference_not_best",
            severity="error" if way.given else "warning",
            message=f"in {len(ahead)} of {len(by_row)} rows the right answer scores better with idle words around it",
            evidence=case.evidence([t for some in ahead.values() for t in some]),
        )


def _fields(case: Case) -> Iterator[Finding]:
    """An object that lacks fields scores as the right one, or one with the value of a field in the place of another's
    better."""
    for kind, what in (
        ("no_fields", "an object without fields alone scores as well as all of it"),
        ("one_field", "one field of the right object alone scores as well as all of it"),
    ):
        enough = _enough(case, kind)
        if not enough:
            continue
        full = max(enough.values(), key=len)
        rows = len({t.row for t in case.of_kind(kind)})
        # One field may be all that is meant to count.
        yield Finding(
            kind="wrong_accepted",
            severity="error" if kind == "no_fields" or len(enough) > 1 else "warning",
            message=f"in {len(full)} of {rows} rows {what}"
            + (f", whichever of {', '.join(enough)}" if len(enough) > 1 else ""),
            evidence=case.evidence(full),
        )
        break
    yield from _one_wrong(case)
    yield from _swapped(case)


def _one_wrong(case: Case) -> Iterator[Finding]:
    """Either of two fields may be wrong, and not both: where one is just not graded, both may be."""
    wrong, both_wrong = _enough(case, "field_wrong"), _enough(case, "two_wrong")
    pairs = dict.fromkeys(t.answer.note for t in case.of_kind("two_wrong"))
    for pair in pairs:
        one, _, other = pair.partition(", ")
        if pair not in both_wrong and one in wrong and other in wrong:
            yield Finding(
                kind="wrong_accepted",
                severity="error",
                message=f"in {len(wrong[one])} rows the right object with a wrong '{one}' scores as well, and so it does "
                f"with a wrong '{other}'",
                evidence=case.evidence([*wrong[one][:2], *wrong[other][:2]]),
            )
            return


def _enough(case: Case, kind: str) -> dict[str, list[Tried]]:
    """By field: the answers of a kind that score as the right one, where most do."""
    by_field: dict[str, list[tuple[Tried, float]]] = defaultdict(list)
    for tried, worth in case.worths(kind):
        by_field[tried.answer.note].append((tried, worth))
    full = {name: [t for t, worth in some if worth >= 1 - EQUAL] for name, some in by_field.items()}
    return {name: found for name, found in full.items() if _many(found, len(by_field[name]))}


def _swapped(case: Case) -> Iterator[Finding]:
    by_swap: dict[str, list[tuple[Tried, float]]] = defaultdict(list)
    for tried in case.of_kind("swapped"):
        right = case.right(tried.row)
        if right is not None and tried.reward is not None:
            by_swap[tried.answer.note].append((tried, tried.reward - right))
    for note, swapped in by_swap.items():
        ahead = [t for t, gain in swapped if gain > EQUAL * case.span]
        if _many(ahead, len(swapped)):
            yield Finding(
                kind="reference_not_best",
                severity="error",
                message=f"in {len(ahead)} of {len(swapped)} rows the right answer with {note} scores better than the right one",
                evidence=case.evidence([*ahead[:2], *case.of_kind("reference")]),
            )
            return


def _other_form(case: Case) -> Iterator[Finding]:
    """Other rows' answers in some form score better than the right answer in the best form that was found."""
    fooled = case.found.fooled
    if fooled is not None and case.found.fooled_by >= FOOLED * case.span:
        texts = {text for item in case.items if (text := fooled.text(item.row)) is not None}
        tried = [t for group in case.found.tried for t in group if t.answer.text in texts]
        yield Finding(
            kind="reference_not_best",
            severity="error",
            message=f"answers of other rows, {fooled.form}, score {case.found.fooled_by:.2f} better than the right answer, "
            f"{case.found.way.form if case.found.way else ''}",
            evidence=case.evidence(sorted(tried, key=lambda t: -(t.reward or 0.0))),
        )
