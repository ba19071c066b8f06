"""`rft-engine regrade`: a finished run under another grader."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rft_core.cli.output import echo_json, literal, number, open_console
from rft_core.errors import ConfigError


@click.command("regrade")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--grader", "grader_file", type=click.Path(path_type=Path), required=True, help="JSON or YAML file with a grader."
)
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="train", show_default=True)
@click.option("--steps", help="One step, or a range such as 10-20; all by default.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Grader processes.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.001), default=60.0, show_default=True, help="Per group."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def regrade_command(
    run_dir: Path, grader_file: Path, split: str, steps: str | None, workers: int, timeout_s: float, as_json: bool
) -> None:
    """Grade the rollouts of RUN_DIR again with another grader, and show what would have changed."""
    from rft_core import api

    result = api.regrade(
        run_dir,
        grader_file,
        split=split,
        steps=_steps(steps),
        workers=workers,
        timeout_s=timeout_s,
        phase=(lambda what: click.echo(f"{what} …", err=True)) if sys.stderr.isatty() else None,
    )
    if as_json:
        echo_json(result)
    else:
        _print(result)


def _steps(text: str | None) -> list[int] | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
        raise ConfigError(f"--steps takes a step or a range such as 10-20, not '{text}'")
    return list(range(int(first), int(last if dash else first) + 1))


def _print(result: dict[str, Any]) -> None:
    console = open_console()
    console.print(literal(f"{result['rollouts']} rollouts of {result['run_dir']} ({result['split']})", "bold"))
    rows = {
        "mean reward": f"{number(result['was'])} → {number(result['is'])}",
        "rank correlation": number(result["rank_correlation"]),
        "rewards that change": _share(result["changed"]),
        f"of {result['pairs']} ordered pairs in a group, turned round": _share(result["flipped_pairs"]),
        "groups that lose their spread": str(result["groups_that_lose_their_spread"]),
        "outcomes": ", ".join(f"{kind} {count}" for kind, count in sorted(result["outcomes"].items())),
    }
    for name, value in rows.items():
        console.print(literal(f"  {name}: {value}"))
    console.print(literal("step   was     is", "dim"))
    for line in result["per_step"]:
        console.print(literal(f"{line['step']:>4}   {number(line['was']):<7} {number(line['is'])}"))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
