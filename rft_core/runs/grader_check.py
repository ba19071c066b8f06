"""Tries a grader on answers that it should tell apart, before a run pays for what it cannot.

    report = check(registry, grader, items, base_dir=folder)
    report.sound, report.findings

The right answer is not known beforehand: `checks.discover` asks the grader what it takes for one. From it and
from the rows come near misses, wrong answers and answers that know nothing (`checks.answers`,
`checks.adversarial`); all answers to a row are graded as one group. The rules (`checks.rules_*`) read nothing but
rewards, so they know graders neither by type nor by name.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

from rft_core.config.workers import WorkerConfig
from rft_core.registry import Registry
from rft_core.runs.assembly import graders_in, is_deterministic
from rft_core.runs.checks import (
    adversarial,
    clues,
    discover,
    plan,
    rules_failures,
    rules_hacks,
    rules_numbers,
    rules_parts,
    rules_right,
    search,
)
from rft_core.runs.checks.answers import Answer, is_number, number_of
from rft_core.runs.checks.bench import Batch, Bench, Tried
from rft_core.runs.checks.case import PROCESS_ENDED, Case
from rft_core.runs.checks.references import as_text
from rft_core.runs.checks.report import CheckReport, Finding
from rft_core.runs.checks.size import Size, measure
from rft_core.runs.checks.stubs import ENDLESS, stubs
from rft_core.stats import rank_correlation
from rft_core.types import Item, Outcome, TokenUsage

ODD_ROWS = 2
MEASURED = 64
"""Answers of the main pass, from which on its rate counts."""
ALONE = 6
"""Answers of a row that are graded alone too."""
REPEATED_PAID = 8
"""Answers that a paid grader is asked again."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much to try, and what the estimate is for."""

    rows: int = 32
    prompts_per_step: int = 32
    group_size: int = 8
    steps: int = 100
    base_pass_rate: float | None = None
    """Share of completions that the model gets right before training, if it is known."""
    budget_s: float = 60.0
    """About the longest that the check may take."""
    target: str | None = None
    """A right answer as a template over the row; without it the grader is asked what it takes for one."""
    timeout_s: float = 20.0
    """Longest that the grader may take for one group."""
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    """Where the grader runs. In this process it is quicker, but a grader that ends it ends the check."""


@dataclass
class _Check:
    """One check on its way."""

    registry: Registry
    raw: Mapping[str, Any]
    base_dir: Path
    items: Sequence[Item]
    options: Options
    log_dir: Path
    samples: Mapping[int, Sequence[str]]
    clues: clues.Clues = field(init=False)
    named: list[str] = field(init=False)
    paid: bool = field(init=False)

    def __post_init__(self) -> None:
        self.paid = not is_deterministic(self.registry, self.raw)
        sources, self.variables = [], []
        self.low, self.high, self.declared = 0.0, 1.0, False
        for spec, settings in graders_in(self.registry, self.raw):
            self.variables += [v.removeprefix("item.") for v in spec.variables(settings) if v.startswith("item.")]
            for name in spec.files(settings):
                path = self.base_dir / Path(name).expanduser()
                sources.append(path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "")
            if limits := getattr(settings, "range", None):
                self.low, self.high, self.declared = min(self.low, limits[0]), max(self.high, limits[1]), True
        self.clues = clues.gather(self.raw, sources)

    @property
    def replaceable(self) -> bool:
        """Whether a process that an answer ends is started anew: the engine's own workers are."""
        return not self.options.worker.in_process and not self.options.worker.addresses

    def bench(self, raw: Mapping[str, Any] | None = None, base_dir: Path | None = None) -> Bench:
        return Bench(
            registry=self.registry,
            raw=raw or self.raw,
            base_dir=base_dir or self.base_dir,
            log_dir=self.log_dir,
            timeout_s=self.options.timeout_s,
            worker=self.options.worker,
        )

    def run(self) -> tuple[Case, list[Batch], int]:
        """Everything that is tried, the batches of the main pass, and the number of grades."""
        with self.bench() as bench:
            size = measure(bench, self.items, rows=self.options.rows, budget_s=self.options.budget_s, paid=self.paid)
            found = self._look(bench, size)
            items = list(self.items)[: size.rows]
            tactics = self._search(bench, size, found)
            batches = [
                Batch(
                    row=n, item=item, answers=plan.answers_for(self.items, n, found, self.clues, size.answers, tactics)
                )
                for n, item in enumerate(items)
            ]
            start_s = time.monotonic()
            groups = bench.grade(batches)
            done = sum(map(len, groups))
            if not self.paid and done >= MEASURED:  # answers as they come say more than those of the warm-up
                size = replace(size, per_s=done / (time.monotonic() - start_s))
            given = self._samples(bench, items)
            repeats = self._repeats(bench, batches, groups, size)
            odd = self._odd(bench, items, found) if size.odd else []
            seen, grades = list(bench.seen), bench.grades
        with self.bench() as fresh:
            fresh.stuck = bench.stuck
            most = size.repeat_rows
            # In reverse, so that what is kept between calls starts from other answers.
            batch = [replace(b, answers=_first(b.answers, self.paid or not size.swap)[::-1]) for b in batches[:most]]
            repeats["new_process"] = _pairs(groups[:most], fresh.grade(batch))
            grades += fresh.grades
        case = Case(
            items=self.items,
            clues=self.clues,
            found=found,
            size=size,
            paid=self.paid,
            low=self.low,
            high=self.high,
            declared=self.declared,
            groups=groups,
            odd=odd,
            samples=given,
            repeats=repeats,
            seen=seen,
            item_variables=tuple(self.variables),
        )
        return case, batches, grades

    def _look(self, bench: Bench, size: Size) -> discover.Found:
        rows = spread_over(len(self.items), size.look_rows)
        items = [self.items[i] for i in rows]
        listed = discover.ways(self.clues, [i.row for i in self.items], self.variables, size.ways, self.options.target)
        found = discover.look(bench, items, rows, listed, size)
        if size.swap:
            found.moves = discover.moving_keys(bench, items, found)
        return found

    def _search(self, bench: Bench, size: Size, found: discover.Found) -> list[search.Tactic]:
        if not size.plenty or found.way is None:
            return []
        rows = spread_over(len(self.items), size.look_rows)
        return search.search(bench, self.items, rows, found.way, self.clues)

    def _samples(self, bench: Bench, items: Sequence[Item]) -> list[list[Tried]]:
        batches = [
            Batch(row=n, item=item, answers=[Answer(kind="sample", text=text) for text in self.samples[n]])
            for n, item in enumerate(items)
            if self.samples.get(n)
        ]
        return bench.grade(batches) if batches else []

    def _repeats(
        self, bench: Bench, batches: Sequence[Batch], groups: Sequence[Sequence[Tried]], size: Size
    ) -> dict[str, list[tuple[Tried, Tried]]]:
        """Pairs of the first grade and a later one, by how the later one was made."""
        some, before = batches[: size.repeat_rows], groups[: size.repeat_rows]
        short = [replace(b, answers=_first(b.answers, self.paid or not size.swap)) for b in some]
        found = {"again": _pairs(before, bench.grade(short, alone=True))}
        if self.paid or not size.swap:
            return found
        reverse = [replace(b, answers=b.answers[::-1]) for b in some]
        found["other_order"] = _pairs(before, bench.grade(reverse))
        alone = [replace(b, answers=[a]) for b in some for a in b.answers[:ALONE]]
        found["alone"] = _pairs([g for g in before for _ in g[:ALONE]], bench.grade(alone), of_row=before)
        return found

    def _odd(self, bench: Bench, items: Sequence[Item], found: discover.Found) -> list[Tried]:
        """Odd texts, each beside the reference in a group of its own; none more after one that hangs or ends it."""
        tried: list[Tried] = []
        for row, item in enumerate(items[:ODD_ROWS]):
            answers = list(adversarial.odd_junk(found.way.write if found.way is not None else None))
            reference = []
            if found.way is not None and (text := found.way.text(item.row)) is not None:
                reference = [Answer(kind="reference", text=text)]
                if is_number(value := found.way.value(item.row)):
                    code = f"__import__('math').floor({number_of(value) + 1000.5} - 1000)"
                    answers.append(Answer(kind="expression", text=found.way.write(code)))
                    answers.append(Answer(kind="no_expression", text=found.way.write(code.replace("__(", "_("))))
            if row == 0 and self.replaceable:
                answers += [Answer(kind="code", text=text) for text in adversarial.ENDING_CODE]
                if found.way is not None:
                    answers.append(Answer(kind="odd_number", text=found.way.write(adversarial.HUGE_POWER)))
                    answers.append(Answer(kind="endless", text=found.way.write(adversarial.ENDLESS_PATTERN)))
                    if self.clues.runs_code:
                        answers += stubs(as_text(found.way.value(item.row)), found.way.write, (ENDLESS,), "endless")
            for answer in answers:
                graded = bench.grade([Batch(row=row, item=item, answers=[*reference, answer])], silent=True)[0]
                tried.append(graded[-1])
                if graded[-1].grade.outcome == Outcome.TIMED_OUT or PROCESS_ENDED in (graded[-1].grade.message or ""):
                    return tried
        return tried


def check(
    registry: Registry,
    raw: Mapping[str, Any],
    items: Sequence[Item],
    *,
    base_dir: Path,
    samples: Mapping[int, Sequence[str]] | None = None,
    second: Mapping[str, Any] | None = None,
    second_dir: Path | None = None,
    options: Options | None = None,
) -> CheckReport:
    """Try the grader on the rows. ConfigError for its settings; RftError if its process cannot be kept up."""
    options = options or Options()
    registry.configure("grader", raw, where="grader")
    samples = samples or {}
    with tempfile.TemporaryDirectory(prefix="rft-check-") as folder:
        work = _Check(registry, raw, base_dir, items, options, Path(folder), samples)
        case, batches, grades = work.run()
        agreement = None
        if second is not None:
            registry.configure("grader", second, where="second grader")
            with work.bench(second, second_dir) as bench:
                agreement = _agreement(case.groups, bench.grade(batches))
                grades += bench.grades
    return _report(case, raw, options, agreement, grades)


def _report(
    case: Case, raw: Mapping[str, Any], options: Options, agreement: dict[str, Any] | None, grades: int
) -> CheckReport:
    estimate = _estimate(case, options)
    spread = _spread_figures(case, options)
    findings: list[Finding] = [
        *rules_failures.failures(case),
        *rules_failures.nothing(case),
        *rules_right.reading(case),
        *rules_right.ordering(case),
        *rules_parts.parts(case),
        *rules_hacks.hacks(case),
        *rules_numbers.repeatability(case),
        *rules_numbers.ranges(case),
        *rules_numbers.time_taken(case, estimate["step_s"], options.prompts_per_step * options.group_size),
        *rules_numbers.spread(case, spread),
        *rules_numbers.agreement(agreement),
    ]
    findings.sort(key=lambda f: f.severity != "error")
    failures: dict[str, int] = {}
    for tried in (*case.seen, *case.odd):
        if tried.failed:
            failures[str(tried.grade.error_kind)] = failures.get(str(tried.grade.error_kind), 0) + 1
    latency = sorted(case.size.latency_s)
    return CheckReport(
        grader=str(raw.get("name") or raw.get("type")),
        rows=len(case.groups),
        answers=grades,
        complete=case.size.plenty or case.paid,
        reads=_reads(case),
        rewards=_rewards(case),
        failures=failures,
        latency={"p50_s": _quantile(latency, 0.5), "p95_s": _quantile(latency, 0.95), "grades_per_s": case.size.per_s},
        determinism={
            how: {"graded": len(pairs), "changed": sum(rules_numbers.change(p) > 1e-9 for p in pairs)}
            for how, pairs in case.repeats.items()
        },
        spread=spread,
        agreement=agreement,
        estimate=estimate,
        findings=tuple(findings),
    )


def _reads(case: Case) -> dict[str, Any]:
    way = case.found.way
    return {
        "path": way.path or None if way else None,
        "format": way.form if way else None,
        "advantage": case.found.advantage if way else None,
        "moves": {key: round(share, 3) for key, share in case.found.moves.items()},
    }


def _rewards(case: Case) -> dict[str, Any]:
    kinds = dict.fromkeys(t.answer.kind for group in (*case.groups, case.odd, *case.samples) for t in group)
    means = {kind: value for kind in kinds if (value := case.mean_reward(kind)) is not None}
    given = [t.reward for group in case.samples for t in group if t.reward is not None]
    if given:
        means["sample"] = mean(given)
    return {"lowest": case.lowest, "highest": case.highest, "mean": means}


def _estimate(case: Case, options: Options) -> dict[str, Any]:
    """Time and money of the grades of a run, from the rate, the usage and the prices that were seen."""
    grades = options.prompts_per_step * options.group_size
    seen = [t.grade for t in case.seen]
    costs = [g.metrics["cost_usd"] for g in seen if "cost_usd" in g.metrics]
    used = [u for g in seen for u in g.usage.values()]
    total = sum(used, start=TokenUsage(calls=0))
    share = grades / len(seen) if seen else 0.0
    cost = sum(costs) * share if costs else None
    return {
        "grades_per_step": grades,
        "steps": options.steps,
        "step_s": grades / case.size.per_s,
        "run_s": options.steps * grades / case.size.per_s,
        "tokens_per_step": (total.prompt_tokens + total.completion_tokens) * share if used else None,
        "cost_usd_per_step": cost,
        "cost_usd": cost * options.steps if cost is not None else None,
    }


def _spread_figures(case: Case, options: Options) -> dict[str, Any]:
    rewards = [[t.reward for t in group if t.reward is not None] for group in case.samples]
    dead = rules_numbers.dead_groups(rewards, options.group_size)
    if dead is None and (p := options.base_pass_rate) is not None:
        dead = p**options.group_size + (1 - p) ** options.group_size
    flat = [r for row in rewards for r in row]
    return {"dead_groups": dead, "group_size": options.group_size, "base_reward": mean(flat) if flat else None}


def _agreement(one: Sequence[Sequence[Tried]], other: Sequence[Sequence[Tried]]) -> dict[str, Any]:
    within, pairs, turned = [], [], 0
    for first, second in zip(one, other, strict=True):
        both = [
            (a.reward, b.reward)
            for a, b in zip(first, second, strict=True)
            if a.reward is not None and b.reward is not None
        ]
        pairs += both
        value = rank_correlation([a for a, _ in both], [b for _, b in both])
        if value is not None:
            within.append(value)
        turned += sum((a1 - a2) * (b1 - b2) < 0 for n, (a1, b1) in enumerate(both) for a2, b2 in both[:n])
    return {
        "answers": len(pairs),
        "rank_correlation": rank_correlation([a for a, _ in pairs], [b for _, b in pairs]),
        "within_rows": mean(within) if within else None,
        "pairs_turned": turned,
    }


def _first(answers: Sequence[Answer], paid: bool) -> Sequence[Answer]:
    return answers[:REPEATED_PAID] if paid else answers


def _pairs(
    before: Sequence[Sequence[Tried]], after: Sequence[Sequence[Tried]], of_row: Sequence[Sequence[Tried]] | None = None
) -> list[tuple[Tried, Tried]]:
    """First and later grades of equal answers to equal rows."""
    first = {(t.row, t.answer.text): t for group in (of_row or before) for t in group}
    return [(first[t.row, t.answer.text], t) for group in after for t in group if (t.row, t.answer.text) in first]


def spread_over(rows: int, count: int) -> list[int]:
    """At most `count` positions, evenly over the rows."""
    count = min(count, rows)
    return [i * rows // count for i in range(count)]


def _quantile(values: Sequence[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None
