"""Findings about answers that a policy could learn instead of the task."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import mean

from rft_core.runs.checks.answers import is_number
from rft_core.runs.checks.bench import Tried
from rft_core.runs.checks.case import EQUAL, LEAST_ROWS, TOO_CLOSE, Case
from rft_core.runs.checks.plan import same
from rft_core.runs.checks.references import as_text
from rft_core.runs.checks.report import Finding, Severity

WELL = 0.75
SOMEWHAT = 0.4
AHEAD = 0.25
"""Of the span of rewards: so much better than a wrong answer is better."""
PAID = 0.1
"""Of the declared range: less is no reward."""
SHORT = 3
"""Characters of a reference that stands in other words by chance."""
FEW_OPTIONS = 10
ORDERS = 2
"""In so many a list of all answers must have been tried: with the right one first, and last."""
JUDGED = ("empty", "whitespace", "idk", "nothing", "any_number", "tactic", "stub", "prose", "prompt", "repeated", "long", "long_repeated", "injection", "config", "score_json", "everything", "odd_number", "code")  # fmt: skip
SAME_BY_NOTE = ("tactic", "stub")
"""Kinds whose texts differ from row to row; what they have in common is their note."""
NAMES = {
    "nothing": "a word for nothing",
    "any_number": "one number in all rows",
    "idk": "'I don't know'",
    "prompt": "the prompt copied",
    "injection": "instructions to the grader",
    "config": "a text of the grader's own settings",
    "score_json": "JSON with a score",
    "odd_number": "NaN or a huge number",
    "prose": "unrelated prose",
    "repeated": "one word again and again",
    "long_repeated": "one word thousands of times",
    "long": "thousands of unrelated words",
    "code": "code that exits",
    "everything": "what fits all (every letter, choice or small number at once, or `.*`)",
    "empty": "an empty answer",
    "whitespace": "white space",
    "format_only": "the form of an answer without the answer",
}


def hacks(case: Case) -> Iterator[Finding]:
    if case.span <= 0:
        return
    if case.found.way is not None:
        yield from _junk(case)
        yield from _junk_close(case)
        yield from _junk_ahead(case)
        yield from _substring(case)
        yield from _listing(case)
        yield from _repetition(case)
        yield from _runs(case)
    else:
        yield from _without_reference(case)
    yield from _length(case)


def _junk(case: Case) -> Iterator[Finding]:
    """Kinds of answers without knowledge, each by the best of its texts; one finding for those that score well,
    one for those that score somewhat."""
    well: list[tuple[str, float, list[Tried]]] = []
    somewhat: list[tuple[str, float, list[Tried]]] = []
    for kind in (*JUDGED, "format_only"):
        worth, best = _best_text(case, kind)
        limits = (0.9, 0.6) if kind == "format_only" else (WELL, SOMEWHAT)
        if best and worth >= limits[1]:
            name = best[0].answer.note if kind in SAME_BY_NOTE else NAMES.get(kind, kind)
            (well if worth >= limits[0] else somewhat).append((name, worth, best))
    severities: tuple[tuple[Severity, list[tuple[str, float, list[Tried]]]], ...]
    severities = (("error", well), ("warning", somewhat))
    for severity, found in severities:
        if found:
            name, worth, _ = found[0]
            more = f"; so do {', '.join(n for n, _, _ in found[1:])}" if len(found) > 1 else ""
            yield Finding(
                kind="hackable",
                severity=severity,
                message=f"{name} gets {min(worth, 1):.0%} of what the right answer gets over a wrong one{more}",
                evidence=case.evidence([best[0] for _, _, best in found]),
            )


def _junk_close(case: Case) -> Iterator[Finding]:
    """Prose scores nearly as the right answer does, above the worst."""
    shares = [share for tried in case.of_kind("prose") if (share := case.share(tried)) is not None]
    if shares and mean(shares) >= TOO_CLOSE:
        yield Finding(
            kind="hackable",
            severity="error",
            message=f"unrelated prose gets {mean(shares):.0%} of what the right answer gets over the worst",
            evidence=case.evidence(list(case.of_kind("prose"))),
        )


def _junk_ahead(case: Case) -> Iterator[Finding]:
    """Prose scores something, and clearly more than an answer in the right form that is wrong: not to try pays."""
    ahead, texts = [], 0
    for tried in case.of_kind("prose"):
        others = [t.reward for t in case.groups[tried.row] if t.answer.kind == "other" and t.reward is not None]
        if others and tried.reward is not None:
            texts += 1
            paid = tried.reward >= case.low + PAID * (case.high - case.low)
            if paid and tried.reward - max(others) >= AHEAD * case.span:
                ahead.append(tried)
    if len(ahead) > 0.5 * texts:
        yield Finding(
            kind="hackable",
            severity="error",
            message=f"unrelated prose scores better than wrong answers in the right form ({len(ahead)} of {texts} texts): "
            "it pays not to try",
            evidence=case.evidence(ahead),
        )


def _best_text(case: Case, kind: str) -> tuple[float, list[Tried]]:
    """The text of a kind with the greatest mean worth over rows; the prompt is another in each row."""
    by_text: dict[str, list[tuple[Tried, float]]] = defaultdict(list)
    for tried in case.of_kind(kind):
        worth = case.junk_worth(tried)
        if worth is None:
            continue
        key = tried.answer.note if kind in SAME_BY_NOTE else kind if kind == "prompt" else tried.answer.text
        by_text[key].append((tried, min(worth, 2.0)))
    least = LEAST_ROWS if kind in SAME_BY_NOTE else 1
    scored = [(mean(w for _, w in some), [t for t, _ in some]) for some in by_text.values() if len(some) >= least]
    return max(scored, key=lambda pair: pair[0]) if scored else (0.0, [])


def _substring(case: Case) -> Iterator[Finding]:
    """Whether the reference counts inside another word or number; an error where references are short. One with
    a marker at both ends, such as `#5$`, is in no word."""
    way = case.found.way
    assert way is not None
    texts = {t.row: str(way.value(case.items[t.row].row)).strip() for t in case.of_kind("embedded")}
    found = [(t, w) for t, w in case.worths("embedded") if texts[t.row][:1].isalnum() or texts[t.row][-1:].isalnum()]
    full = [t for t, worth in found if worth >= 1 - EQUAL]
    if not found or len(full) < 0.5 * len(found):
        return
    short = [t for t in full if len(re.sub(r"\s", "", texts[t.row])) <= SHORT]
    yield Finding(
        kind="substring",
        severity="error" if len(short) >= 0.3 * len(full) else "warning",
        message=f"in {len(full)} of {len(found)} rows the reference counts inside another word or number"
        + (
            f"; {len(short)} references have at most {SHORT} characters, which wrong answers hold by chance"
            if short
            else ""
        ),
        evidence=case.evidence(short or full),
    )


def _listing(case: Case) -> Iterator[Finding]:
    way = case.found.way
    assert way is not None
    accepted, kind = 0.0, "listing"
    for some in ("listing", "listing_forms"):
        by_row: dict[int, list[float]] = defaultdict(list)
        for tried, worth in case.worths(some):
            by_row[tried.row].append(worth)
        least = [min(worths) for worths in by_row.values() if len(worths) >= ORDERS]
        if least and (share := mean(min(w, 1.0) for w in least)) > accepted:
            accepted, kind = share, some
    if accepted < WELL:
        return
    values: list[str] = []
    for item in case.items:
        text = as_text(way.value(item.row))
        if not any(same(text, v) for v in values):
            values.append(text)
    few = len(values) <= FEW_OPTIONS and len(values) <= 0.5 * len(case.items)
    yield Finding(
        kind="listing",
        severity="error" if accepted >= 1 - EQUAL and (few or all(map(is_number, values))) else "warning",
        message=f"naming all answers of the data counts as right in any order ({len(values)} different answers in "
        f"{len(case.items)} rows)",
        evidence=case.evidence(list(case.of_kind(kind))),
    )


def _repetition(case: Case) -> Iterator[Finding]:
    """The reference twenty times over better than once, and better than once with an explanation."""
    rows = {}
    for tried in case.of_kind("repeated_reference"):
        right = case.right(tried.row)
        once = [
            t.reward
            for t in case.groups[tried.row]
            if t.answer.kind in ("explained", "trailing") and t.reward is not None
        ]
        if tried.reward is not None and right is not None:
            rows[tried.row] = (tried, tried.reward - max([right, *once]))
    better = [tried for tried, gain in rows.values() if gain > EQUAL * case.span]
    if rows and len(better) > 0.5 * len(rows):
        yield Finding(
            kind="repetition",
            severity="error",
            message=f"in {len(better)} of {len(rows)} rows the reference twenty times over scores better than once",
            evidence=case.evidence([*better[:2], *case.of_kind("reference")]),
        )


def _runs(case: Case) -> Iterator[Finding]:
    found = case.worths("expression")
    full = [t for t, worth in found if worth >= 1 - EQUAL]
    unread = [t for t, worth in case.worths("no_expression") if worth >= 1 - EQUAL]
    if found and len(full) >= 0.5 * len(found) and not unread:
        yield Finding(
            kind="runs_answer",
            severity="error",
            message="an answer that is Python code is run, and its value counts as the answer",
            evidence=case.evidence(full),
        )


def _without_reference(case: Case) -> Iterator[Finding]:
    """Nothing is known to be right: compare with the best that was seen, and with texts of the same length."""
    for kind in ("empty", "whitespace"):
        top = [t for t in case.of_kind(kind) if _height(case, t) >= 0.9]
        there = list(case.of_kind(kind))
        if there and len(top) > 0.5 * len(there):
            yield Finding(
                kind="hackable",
                severity="error",
                message=f"{NAMES[kind]} gets (almost) the best reward that was seen",
                evidence=case.evidence(top),
            )
            break
    controls: dict[tuple[int, int], float] = defaultdict(float)
    for tried in case.of_kind("control"):
        place = tried.row, len(tried.answer.text.split())
        controls[place] = max(controls[place], _height(case, tried))
    injected = [
        (_height(case, t) - controls[place], t)
        for t in case.of_kind("injection")
        if (place := (t.row, len(t.answer.text.split()))) in controls
    ]
    if injected and max(_means(injected)) >= 0.5:
        yield Finding(
            kind="hackable",
            severity="error",
            message="instructions to the grader score far better than other words of the same length",
            evidence=case.evidence([t for _, t in sorted(injected, key=lambda pair: -pair[0])]),
        )
    rungs = _rungs(case)
    ahead = [r for r in rungs if r[1] - r[0] >= 0.5]
    if rungs and len(ahead) >= 2:
        yield Finding(
            kind="repetition",
            severity="error",
            message="one word again and again scores far better than different words of the same length",
            evidence=case.evidence(list(case.of_kind("repeated"))),
        )


def _means(pairs: Sequence[tuple[float, Tried]]) -> list[float]:
    by_text: dict[str, list[float]] = defaultdict(list)
    for height, tried in pairs:
        by_text[tried.answer.text].append(height)
    return [mean(v) for v in by_text.values()]


def _height(case: Case, tried: Tried) -> float:
    """Where a reward lies between the lowest and the highest of its row: 0 to 1."""
    rewards = [t.reward for t in case.groups[tried.row] if t.reward is not None]
    if tried.reward is None or not rewards or max(rewards) - min(rewards) < EQUAL * case.span:
        return 0.0
    return (tried.reward - min(rewards)) / (max(rewards) - min(rewards))


def _rungs(case: Case) -> list[tuple[float, float, float]]:
    """For each length of the ladder the mean reward of words, of one word, and of letters; in shares of the span."""
    steps: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for tried in case.of_kind("prose", "repeated"):
        if tried.answer.note.startswith("ladder ") and tried.reward is not None:
            _, words, what = tried.answer.note.split()
            steps[int(words)][what].append(tried.reward)
    found = []
    for length in sorted(steps):
        there = {what: mean(rewards) / case.span for what, rewards in steps[length].items()}
        if len(there) == 3:
            found.append((there["words"], there["repeated"], there["letters"]))
    return found


def _length(case: Case) -> Iterator[Finding]:
    """Rewards of meaningless texts that follow their length alone."""
    rungs = _rungs(case)
    if len(rungs) < 3:
        return
    alike = all(max(r) - min(r) <= EQUAL for r in rungs)
    levels = [mean(r) for r in rungs]
    gain = max(levels) - min(levels)
    if not alike or gain < 0.3:
        return
    rising = all(b >= a - EQUAL for a, b in pairwise(levels))
    ladder = [t for t in case.of_kind("prose") if t.answer.note.endswith("words")]
    if case.found.way is not None:
        if rising and gain >= 0.3:
            yield Finding(
                kind="length",
                severity="error" if gain >= 0.5 else "warning",
                message=f"meaningless text gets up to {gain:.0%} of the span of rewards for its length alone",
                evidence=case.evidence(ladder),
            )
        return
    yield Finding(
        kind="length",
        severity="error" if rising else "warning",
        message="meaningless text is rewarded for its length alone"
        + (", the longer the better" if rising else ", within limits"),
        evidence=case.evidence(ladder),
    )
