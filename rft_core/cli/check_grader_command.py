"""`rft-engine check-grader`: what a grader does to answers that it should tell apart, before a run pays for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rft_core.cli.output import duration, echo_json, literal, number, open_console, percent
from rft_core.errors import ConfigError

if TYPE_CHECKING:
    from rft_core.runs.checks.report import CheckReport, Finding

SHOWN_EVIDENCE = 2
SHOWN_CHARS = 100
STYLE = {"error": "red", "warning": "yellow"}


@click.command("check-grader")
@click.argument("grader_file", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="JSONL file with rows.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help='JSONL file with completions; each line {"item": key or position, "completions": […]}.',
)
@click.option("--model", help="Model folder, model of the hub or run directory: completions of it are tried too.")
@click.option("--target", help="How a right answer is written, such as 'Answer: {{item.answer}}'.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="A run whose rows and completions to use.")
@click.option("--second", type=click.Path(path_type=Path), help="Another grader to compare with.")
@click.option("--rows", type=click.IntRange(1), default=32, show_default=True, help="Most rows to use.")
@click.option("--prompts-per-step", type=click.IntRange(1), default=32, show_default=True, help="For the estimate.")
@click.option("--group-size", type=click.IntRange(1), default=8, show_default=True, help="For the estimate.")
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="For the estimate.")
@click.option("--base-pass-rate", type=click.FloatRange(0, 1), help="What the model gets right before training.")
@click.option("--budget", "budget_s", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds, about.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Seconds for one group."
)
@click.option("--in-process", is_flag=True, help="Start no worker process: quicker, for graders that you trust.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all evidence.")
def check_grader_command(
    grader_file: Path,
    data: Path | None,
    samples: Path | None,
    run_dir: Path | None,
    second: Path | None,
    as_json: bool,
    **numbers: Any,
) -> int:
    """Try the grader in GRADER_FILE on right, wrong and adversarial answers. Exit code 1 if it is bad."""
    from rft_core import api

    if data is None and run_dir is None:
        raise ConfigError("give rows with --data FILE, or a run with --run-dir")
    report = api.check_grader(grader_file, data, samples=samples, run_dir=run_dir, second=second, **numbers)
    if as_json:
        echo_json(report.to_json())
    else:
        _print(report)
    return 0 if report.sound else 1


def _print(report: CheckReport) -> None:
    console = open_console()
    console.print(literal(f"{report.grader}: {report.answers} grades on {report.rows} rows", "bold"))
    for line in _figures(report):
        console.print(literal(line))
    for finding in report.findings:
        console.print(literal(f"{finding.severity}: {finding.kind}: {finding.message}", STYLE[finding.severity]))
        for line in _evidence(finding):
            console.print(literal(line, "dim"))
    if not report.complete:
        console.print(literal("not everything was tried: the grader is slow for the budget; raise --budget", "yellow"))
    counts = f"{len(report.errors)} errors, {len(report.warnings)} warnings"
    console.print(
        literal(f"the grader looks sound ({counts})" if report.sound else f"do not train with it ({counts})", "bold")
    )


def _figures(report: CheckReport) -> list[str]:
    reads, rewards, estimate = report.reads, report.rewards, report.estimate
    source = f"item.{reads['path']}" if reads["path"] else "several keys of the row"
    right = f"{source}, {reads['format']}" if reads["format"] else "not found"
    lines = [f"  right answer   {right}"]
    mean = rewards["mean"]
    shown = [k for k in ("reference", "other", "prose", "empty", "sample") if k in mean]
    means = f"; mean of {', '.join(f'{k} {number(mean[k])}' for k in shown)}" if shown else ""
    lines.append(f"  rewards        {number(rewards['lowest'])} to {number(rewards['highest'])}{means}")
    latency = report.latency
    cost = "" if estimate["cost_usd"] is None else f", ${estimate['cost_usd']:.2f} in {estimate['steps']} steps"
    lines.append(
        f"  time           p50 {duration(latency['p50_s'])}, p95 {duration(latency['p95_s'])} a grade; "
        f"{duration(estimate['step_s'])} for the {estimate['grades_per_step']} grades of a step{cost}"
    )
    if report.spread["dead_groups"] is not None:
        lines.append(
            f"  equal rewards  in about {percent(report.spread['dead_groups'])} of groups of {report.spread['group_size']}"
        )
    if report.agreement is not None:
        lines.append(
            f"  second grader  rank correlation {number(report.agreement['rank_correlation'])} over {report.agreement['answers']} answers"
        )
    return lines


def _evidence(finding: Finding) -> list[str]:
    lines = []
    for seen in finding.evidence[:SHOWN_EVIDENCE]:
        text = " ".join(seen.text.split())
        text = text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
        lines.append(f"    {number(seen.reward):>6}  {seen.row}  {seen.answer.replace('_', ' ')}: {text!r}")
    return lines
