"""The before/after table of a run, and of an evaluation."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rft_core.cli.output import duration, literal, number, open_console, p_value, percent, with_interval
from rft_core.cli.samples_command import steps_of
from rft_core.storage.rundir import RunDir

Report = Mapping[str, Any]


def print_summary(summary: Report, run_dir: Path | None = None, console: Console | None = None) -> None:
    """What came of a run: `summary` is the content of summary.json."""
    console = console or open_console()
    splits = {name: pair for name in ("validation", "test") if (pair := summary.get(name)) is not None}
    if splits:
        console.print(_comparison(splits))
        for name, pair in splits.items():
            if gain := pair.get("gain"):
                console.print(Text(f"{name}: {_gain(gain)}"))
        console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(summary, run_dir):
        facts.add_row(label, value)
    console.print(facts)


def print_evaluation(result: Report, console: Console | None = None) -> None:
    """What `eval` found: one policy, or the base and a policy side by side."""
    console = console or open_console()
    console.print(_comparison({"evaluation": {"before": result.get("base"), "after": result["result"]}}))
    if gain := result.get("gain"):
        console.print(Text(f"against the base: {_gain(gain)}"))
    console.print(literal(f"{result['rows']} rows of {result['data']}, {result['samples']} completions each", "dim"))


def _comparison(splits: Mapping[str, Report]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("", no_wrap=True)
    keys = [key for key in ("before", "after", "best") if any(p.get(key) is not None for p in splits.values())]
    for key in keys:
        table.add_column(key if "before" in keys else "result", overflow="fold")
    for name, pair in splits.items():
        for label, cells in _rows(name, [pair.get(key) for key in keys]):
            table.add_row(literal(label), *map(literal, cells))
    return table


def _rows(split: str, columns: list[Report | None]) -> Iterator[tuple[str, list[str]]]:
    """Label and cells: rewards with intervals, each grader, what was cut off, what got no score, the optimizer's
    own metrics."""

    def cells(of: Any) -> list[str]:
        return ["" if column is None else of(column) for column in columns]

    present = [c for c in columns if c is not None]
    if any(c["reward_mean"] is not None or c["errors"] for c in present):
        yield f"{split} reward", cells(lambda c: with_interval(c["reward_mean"], c["ci95"]))
        for grader in dict.fromkeys(name for c in present for name in c["graders"]):
            yield f"  {grader}", cells(lambda c, g=grader: _grader_cell(c["graders"].get(g)))
        yield "  truncated", cells(lambda c: percent(c["truncated"]))
        yield "  completion tokens", cells(lambda c: number(c["completion_tokens_mean"]))
        if any(c["errors"] for c in present):
            yield "  without a score", cells(lambda c: _counts(c["errors"]) or "none")
    for metric in dict.fromkeys(name for c in present for name in c["metrics"]):
        yield f"{split} {metric}", cells(lambda c, m=metric: number(c["metrics"].get(m)))


def _grader_cell(grader: Report | None) -> str:
    return "" if grader is None else with_interval(grader["mean"], grader["ci95"])


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _gain(gain: Report) -> str:
    return (
        f"gain {with_interval(gain['mean'], gain['ci95'])}, {p_value(gain['p_value'])}; of {gain['rows']} rows "
        f"{gain['improved']} improved, {gain['worsened']} worsened, {gain['unchanged']} unchanged"
    )


def _facts(summary: Report, run_dir: Path | None) -> Iterator[tuple[str, Text]]:
    status = str(summary["status"])
    reason = f": {summary['reason']}" if summary.get("reason") else ""
    yield "status", literal(status + reason, "green" if status == "succeeded" else "yellow")
    steps = f"{summary.get('steps', 0)}"
    if summary.get("best_step") is not None:
        steps += f", best at {summary['best_step']}"
    if summary.get("result_step") not in (None, summary.get("steps")):
        steps += f", the result is step {summary['result_step']}"
    yield "steps", Text(steps)
    yield "time", Text(duration(summary.get("wall_s")) + _per_step(summary))
    if summary.get("engine_share") is not None:
        yield "engine's share", Text(percent(summary["engine_share"]))
    if summary.get("sampled_tokens"):
        yield "tokens", Text(f"{summary['sampled_tokens']:,} sampled, {summary['trained_tokens']:,} trained on")
    if summary.get("dropped"):
        yield "rollouts left out", literal(_counts(summary["dropped"]))
    if summary.get("zero_variance_groups"):
        yield "equal rewards", Text(f"in {summary['zero_variance_groups']:,} groups")
    if alarms := summary.get("alarms"):
        told = f"in {alarms['steps']} steps, the last in step {alarms['last_step']}: {alarms['last']}"
        yield "alarms", literal(told, "yellow")
    if run_dir is not None:
        if status == "succeeded":
            yield "result", literal(run_dir / "final")
        yield "next", literal("\n".join(_next_commands(status, run_dir)))


def _per_step(summary: Report) -> str:
    return f", {duration(summary['step_s_mean'])} a step" if summary.get("step_s_mean") is not None else ""


def _next_commands(status: str, run_dir: Path) -> list[str]:
    """Commands that this run can follow: it may have sampled nothing, may have no grader of its own, or be one."""
    from rft_core.weights import writes_nothing

    name = shlex.quote(str(run_dir))
    if status != "succeeded":
        return [f"rft-engine resume {name}"]
    if writes_nothing(run_dir / "final"):
        return [f"grader: {{type: reward_model, path: {name}}} in the run file of a policy"]
    found = RunDir(run_dir)
    split = next((split for split in ("validation", "train", "test") if steps_of(found, split)), None)
    samples = [] if split is None else [f"rft-engine samples {name} --split {split} --worst"]
    grader = "" if found.read_config().get("resolved", {}).get("grader") else " --grader FILE"
    return [*samples, f"rft-engine eval {name} --data FILE{grader} --compare"]
