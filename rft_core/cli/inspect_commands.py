"""`rft-engine runs` and `rft-engine show`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from rft_core.cli.output import duration, echo_json, literal, number, open_console
from rft_core.cli.run_state import details, listed
from rft_core.errors import RunDirError

STYLES = {"succeeded": "green", "running": "cyan", "failed": "red", "unreadable": "red"}
METRICS = ("step", "reward_mean", "loss", "kl", "entropy", "grad_norm", "truncated", "step_s", "engine_share")
"""What `show` tells of the last step; metrics.jsonl has all."""


@click.command("runs")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the run directories lie.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs_command(folder: Path, as_json: bool) -> None:
    """List runs, the newest first."""
    if not folder.is_dir():
        raise RunDirError(f"there is no folder {folder}; name the folder of the runs with --dir")
    found = listed(folder)
    if as_json:
        echo_json(found)
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("run", "status", "steps", "validation", "age"):
        table.add_column(column, overflow="fold")
    for run in found:
        if run["status"] == "unreadable":
            table.add_row(literal(run["name"]), literal("unreadable", "red"), "", literal(run["problem"]), "")
            continue
        table.add_row(
            literal(run["name"]),
            literal(run["status"], STYLES.get(run["status"], "yellow")),
            _steps(run),
            _validation(run),
            duration(max(0.0, time.time() - run["started_at"])),
        )
    console = open_console()
    console.print(table if found else f"There are no runs in {folder} yet.")


@click.command("show")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(run_dir: Path, as_json: bool) -> None:
    """Show what came of the run in RUN_DIR, and what happened on the way."""
    values = details(run_dir)
    if as_json:
        echo_json(values)
        return
    from rich.table import Table

    from rft_core.cli.tables import print_summary

    console = open_console()
    console.print(literal(f"{values['name']}: {values['status']}", "bold"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _facts(values):
        grid.add_row(label, literal(text))
    console.print(grid)
    if values["summary"] is not None and values["status"] not in ("running", "interrupted"):
        console.print()
        print_summary(values["summary"], run_dir, console)
    elif values["status"] == "interrupted":
        console.print(literal(f"next: rft-engine resume {run_dir}"))


def _facts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "run", f"{values['run_id']}, started {_date(values['started_at'])}"
    yield "config", f"sha256 {values['config_sha256'][:16]}"
    for stage in values["stages"]:
        yield "stage", f"{stage['name']}: {stage['status']}, {_steps(stage)} steps {_validation(stage)}"
    yield "steps", f"{_steps(values)}  {_validation(values)}"
    if line := values["last_metrics"]:
        shown = [f"{name} {number(line[name])}" for name in METRICS if isinstance(line.get(name), int | float)]
        yield "last step", ", ".join(shown)
    if values["checkpoints"]:
        yield "checkpoints", ", ".join(f"step-{step:06d}" for step in values["checkpoints"])
    for kind, entry in values["events"].items():
        latest = {k: v for k, v in entry["latest"][-1].items() if k not in ("time", "event")}
        yield (
            "event",
            f"{entry['count']} × {kind}, last {_date(entry['latest'][-1]['time'])}: {json.dumps(latest, ensure_ascii=False)}",
        )


def _steps(run: Mapping[str, Any]) -> str:
    total = run["total_steps"]
    return f"{run['steps']}/{total}" if total is not None else str(run["steps"])


def _validation(run: Mapping[str, Any]) -> str:
    before, after = run["validation_before"], run["validation_after"]
    if before is None:
        return ""
    return f"{run['validation_metric']} {number(before)} → {number(after)}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
