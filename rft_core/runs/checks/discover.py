"""Finds out by asking what the grader takes for the right answer: which value of the row, in which form.

For each way of reading an answer from a row, `advantage = mean of (reward of the row's own answer − reward of
other rows' answers)`, over a few rows. The same form is used for both, so a reward for form alone cancels. The
way with the greatest advantage is taken for the right one. A way with a negative one and none with a positive is
an inverted grader. Keys that move rewards are found by putting another row's value under each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rft_core.errors import ConfigError, MissingVariableError
from rft_core.runs.checks import adversarial
from rft_core.runs.checks.answers import Answer
from rft_core.runs.checks.bench import Batch, Bench, Tried
from rft_core.runs.checks.clues import Clues
from rft_core.runs.checks.formats import PLAIN, Format, formats, json_form, nested
from rft_core.runs.checks.references import RESERVED, as_text, candidates, from_prompt, is_answer_name
from rft_core.runs.checks.size import Size
from rft_core.template import Variable, compile_template, render
from rft_core.types import Item, Json, Row

LEAST_ADVANTAGE = 0.1
"""Of the span of rewards that were seen."""
MUCH = 0.25
"""Of the greatest advantage: from here on a way tells rows apart."""
LEAST_SHARE = 0.6
"""Of the rows in which the own answer must beat the others."""
MAX_PROBE_TEXTS = 12
MAX_FORMS = 40


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of reading an answer from a row and writing it."""

    path: str
    form: str
    value: Callable[[Row], Json]
    write: Callable[[Json], str]
    named: bool = False
    """The grader's templates name what is read: it is meant, whatever else is rewarded."""
    given: bool = False
    """Somebody said that right answers are written so: nothing is guessed."""

    def text(self, row: Row) -> str | None:
        value = self.value(row)
        if value is None:
            return None
        try:
            return self.write(value)
        except (TypeError, ValueError):
            return None

    @property
    def key(self) -> str:
        """The key of the row; empty for a way that reads several."""
        return self.path.partition(".")[0].partition("[")[0].partition(" ")[0] if self.path else ""


@dataclass(kw_only=True)
class Found:
    """What is known of how the grader compares."""

    way: Way | None = None
    advantage: float = 0.0
    blind: Way | None = None
    """A way whose own answers get the best rewards, and other rows' answers as well."""
    worst: Way | None = None
    """The way with the most negative advantage, if there is one and none is positive."""
    worst_advantage: float = 0.0
    fooled: Way | None = None
    """The way in which other rows' answers get most, if they get more than the right one does."""
    fooled_by: float = 0.0
    span: float = 0.0
    """Highest less lowest reward seen on one row while looking; the largest over the rows."""
    moves: dict[str, float] = field(default_factory=dict)
    """Share of probes whose reward changes with another row's value, by key. Empty if that was not tried."""
    tried: list[list[Tried]] = field(default_factory=list)
    texts: list[tuple[Item, list[str]]] = field(default_factory=list)


def given_way(target: str) -> Way:
    """The way that a template over the row says. With one variable its value is the answer, and the text around it
    the form; with several all of it is the answer. ConfigError for what is no template."""
    template = compile_template(target)
    if not template.variables or any(not name.startswith("item.") for name in template.variables):
        raise ConfigError(
            f"the target '{target}' must hold variables of the row, such as {{{{item.answer}}}}, and no others",
            where="target",
        )
    places = [n for n, part in enumerate(template.parts) if isinstance(part, Variable)]
    if len(places) > 1:
        return Way(path="", form=f"written {target}", value=_rendered(target), write=as_text, given=True)
    variable = template.parts[places[0]]
    assert isinstance(variable, Variable)
    before, after = ("".join(map(str, part)) for part in (template.parts[: places[0]], template.parts[places[0] + 1 :]))

    def value(row: Row) -> Json:
        try:
            return variable.find({"item": row})
        except MissingVariableError:
            return None

    return Way(
        path=variable.name.removeprefix("item."),
        form="plain" if not before + after else f"written {target}",
        value=value,
        write=lambda v: before + as_text(v) + after,
        given=True,
    )


def ways(clues: Clues, rows: Sequence[Row], named: Sequence[str], limit: int, target: str | None = None) -> list[Way]:
    """At most `limit` ways, the likeliest first: the one that `target` says, if it is given."""
    forms = formats(clues, rows, MAX_FORMS)
    found = [given_way(target)] if target is not None else []
    if found and not any(found[0].text(row) for row in rows):
        has = ", ".join(rows[0]) if rows else "none"
        raise ConfigError(
            f"the target '{target}' has no value in any row; the keys of the first are {has}", where="target"
        )
    if len(clues.pairs) > 1:
        found.append(Way(path="", form="JSON of the templates", value=_pairs(clues), write=_json, named=True))
    fields = [json_form(steps) for steps in clues.json_fields]
    for template in dict.fromkeys(clues.templates):
        found += [
            Way(path=_path_of(template), form=form.name, value=_rendered(template), write=form.write, named=True)
            for form in [*fields, PLAIN]
        ]
    read = candidates(rows, named, clues.separators)
    # Forms change slower than keys, so that a short list still has every key.
    for number, form in enumerate(forms):
        found += [_way(c.name, c.value, form) for c in read]
        if number == 0 and len(read) > 1:
            found.append(Way(path="", form="JSON of the row", value=_whole, write=_json))
        found += [_way("messages", value, form) for value in from_prompt()] if number < 12 else []
    return found[:limit]


def look(bench: Bench, items: Sequence[Item], rows: Sequence[int], listed: Sequence[Way], size: Size) -> Found:
    """Try the ways on some rows, whose positions are `rows`, each beside answers of other rows."""
    found = Found()
    plans = [_plan(items, position, listed, size.others) for position in range(len(items))]
    batches = []
    for row, item, plan in zip(rows, items, plans, strict=True):
        texts = list(dict.fromkeys(t for own, rest in plan for t in (own, *rest) if t is not None))
        texts += [t for t in _controls(size.plenty) if t not in texts]
        batches.append(Batch(row=row, item=item, answers=[Answer(kind="look", text=t) for t in texts]))
    found.tried = bench.grade(batches)
    rewards = [{t.answer.text: t.reward for t in group} for group in found.tried]
    found.texts = [(b.item, _telling(r)) for b, r in zip(batches, rewards, strict=True)]
    found.span = max((_span(r) for r in rewards), default=0.0)
    scored = [(_advantage(n, plans, rewards), n) for n in range(len(listed))]
    _pick(found, listed, scored)
    _fooled(found, listed, plans, rewards)
    return found


def moving_keys(bench: Bench, items: Sequence[Item], found: Found) -> dict[str, float]:
    """By key, how often another row's value changes a reward. `messages` counts as a key."""
    keys = list(dict.fromkeys(k for item in items for k in item.row if k != "tools"))
    batches, origins = [], []
    for position, (item, texts) in enumerate(found.texts):
        donor = items[(position + 1) % len(items)]
        for key in keys:
            if key in item.row and key in donor.row and donor.row[key] != item.row[key]:
                changed = {**item.row, key: donor.row[key]}
                answers = [Answer(kind="look", text=t) for t in texts]
                batches.append(Batch(row=position, item=item, answers=answers, changed=changed))
                origins.append((position, key))
    moved: dict[str, list[bool]] = {}
    before = [{t.answer.text: t.reward for t in group} for group in found.tried]
    for (position, key), group in zip(origins, bench.grade(batches, silent=True), strict=True):
        moved.setdefault(key, []).extend(_differs(before[position].get(t.answer.text), t.reward) for t in group)
    return {key: sum(values) / len(values) for key, values in moved.items() if values}


def _pick(found: Found, listed: Sequence[Way], scored: list[tuple[tuple[float, float, float] | None, int]]) -> None:
    usable = [(score, n) for score, n in scored if score is not None]
    if listed and listed[0].given:
        found.way, found.advantage = listed[0], next((score[0] for score, n in usable if n == 0), 0.0)
        return
    least = LEAST_ADVANTAGE * found.span
    good = [
        (score, n)
        for score, n in usable
        if least > 0
        and (
            (score[0] >= least and score[2] >= LEAST_SHARE)
            or (score[0] >= least / 5 and score[2] == 1 and len(found.tried) > 4)
        )
    ]
    named = [(score, n) for score, n in good if listed[n].named]
    good = named or good
    enough = MUCH * max((a for (a, _, _), _ in good), default=0.0)
    if good:
        # Of those that tell rows apart the best rewarded is meant. Equal but for a fiftieth of the span counts as
        # equal, so that of a key and all keys together it is the key.
        ranked = [
            (round(50 * own / found.span), round(50 * a / found.span), -n) for (a, own, _), n in good if a >= enough
        ]
        number = -max(ranked)[2]
        found.way = listed[number]
        found.advantage = next(score[0] for score, n in usable if n == number)
        return
    tops = [max((t.reward for t in group if t.reward is not None), default=0.0) for group in found.tried]
    top = sum(tops) / max(len(tops), 1)
    level = [n for (_, own, _), n in usable if is_answer_name(listed[n].path) and own >= top - found.span / 20]
    if level and found.span > 0:
        found.blind = listed[level[0]]
    bad = [(a, n) for (a, _, _), n in usable if 0 < least <= -a and listed[n].key not in RESERVED]
    if bad:
        found.worst_advantage, number = min(bad)
        found.worst = listed[number]


Plan = list[tuple[str | None, list[str]]]


def _fooled(
    found: Found, listed: Sequence[Way], plans: Sequence[Plan], rewards: Sequence[Mapping[str, float | None]]
) -> None:
    """Whether other rows' answers, in some form, are ahead of the right answer in the form that was found."""
    if found.way is None:
        return
    chosen = next(n for n, way in enumerate(listed) if way is found.way)
    right = [
        r
        for plan, seen in zip(plans, rewards, strict=True)
        if (own := plan[chosen][0]) is not None and (r := seen.get(own)) is not None
    ]
    for number, way in enumerate(listed):
        # The worst of the other answers of each row: one alone may be right there too.
        others = [
            min(seen[text] or 0.0 for text in rest)
            for plan, seen in zip(plans, rewards, strict=True)
            if (rest := [text for text in plan[number][1] if seen.get(text) is not None])
        ]
        if len(others) == len(plans) and right:
            ahead = sum(others) / len(others) - sum(right) / len(right)
            if ahead > max(found.fooled_by, 0.0):
                found.fooled, found.fooled_by = way, ahead


def _plan(items: Sequence[Item], position: int, listed: Sequence[Way], others: int) -> Plan:
    row = items[position].row
    plan: Plan = []
    for way in listed:
        own = way.text(row)
        rest = []
        for step in range(1, len(items)):
            other = way.text(items[(position + step) % len(items)].row)
            if other is not None and other != own and other not in rest:
                rest.append(other)
            if len(rest) == others:
                break
        plan.append((own, rest))
    return plan


def _advantage(
    number: int, plans: Sequence[Plan], rewards: Sequence[Mapping[str, float | None]]
) -> tuple[float, float, float] | None:
    """Mean advantage, mean reward of the own answers, and the share of rows where the own one is ahead."""
    gains, owns = [], []
    for plan, seen in zip(plans, rewards, strict=True):
        own, rest = plan[number]
        reward = seen.get(own) if own is not None else None
        others = [r for t in rest if (r := seen.get(t)) is not None]
        if reward is not None and others:
            gains.append(reward - sum(others) / len(others))
            owns.append(reward)
    if len(gains) < min(2, len(plans)):
        return None
    return sum(gains) / len(gains), sum(owns) / len(owns), sum(g > 1e-9 for g in gains) / len(gains)


def _controls(plenty: bool) -> list[str]:
    return ["", *[a.text for a in adversarial.ladder() if len(a.text) < 1000]][: None if plenty else 2]


def _telling(rewards: Mapping[str, float | None]) -> list[str]:
    """A few texts with rewards as different as there are."""
    by_reward: dict[float | None, list[str]] = {}
    for text, reward in rewards.items():
        by_reward.setdefault(reward, []).append(text)
    ordered = sorted(by_reward.items(), key=lambda pair: (pair[0] is None, -(pair[0] or 0.0)))
    picked = [texts[n] for n in range(MAX_PROBE_TEXTS) for _, texts in ordered if n < len(texts)]
    return picked[:MAX_PROBE_TEXTS]


def _differs(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return (one is None) != (other is None)
    return abs(one - other) > 1e-6


def _span(rewards: Mapping[str, float | None]) -> float:
    values = [r for r in rewards.values() if r is not None]
    return max(values) - min(values) if values else 0.0


def _way(path: str, value: Callable[[Row], Json], form: Format) -> Way:
    return Way(path=path, form=form.name, value=value, write=form.write)


def _path_of(template: str) -> str:
    """`answer` for `{{item.answer}}`; the template itself if there is more in it."""
    inner = template.strip().removeprefix("{{").removesuffix("}}").strip()
    return inner.removeprefix("item.") if "{" not in inner and inner.startswith("item.") else template


def _rendered(template: str) -> Callable[[Row], Json]:
    def value(row: Row) -> Json:
        try:
            return render(template, {"item": row})
        except MissingVariableError:
            return None

    return value


def _pairs(clues: Clues) -> Callable[[Row], Json]:
    parts = [(steps, _rendered(template)) for steps, template in clues.pairs]

    def value(row: Row) -> Json:
        values = {steps: read(row) for steps, read in parts}
        return None if None in values.values() else nested(values)

    return value


def _whole(row: Row) -> Json:
    return {k: v for k, v in row.items() if k not in RESERVED} or None


def _json(value: Json) -> str:
    return as_text(value)
