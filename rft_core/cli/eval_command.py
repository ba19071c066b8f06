"""`rft-engine eval`: a run's result, or a model, on a data file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rft_core.cli.output import echo_json


@click.command("eval")
@click.argument("target", metavar="RUN_DIR|MODEL")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="JSONL file with the rows.")
@click.option(
    "--grader", type=click.Path(path_type=Path), help="JSON or YAML file with a grader; the run's own by default."
)
@click.option(
    "--checkpoint", default="last", show_default=True, metavar="last|best|STEP", help="Which weights of the run."
)
@click.option("--compare", is_flag=True, help="Evaluate what the run started from too, and compare row by row.")
@click.option("--samples", type=click.IntRange(1), help="Completions per row; as in the run's validation by default.")
@click.option(
    "--temperature", type=click.FloatRange(0, 100), help="As in the run's validation by default; 0 is greedy."
)
@click.option("--max-tokens", type=click.IntRange(1), help="As in the run's validation by default.")
@click.option("--limit", type=click.IntRange(1), help="Only the first rows of the file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def eval_command(
    target: str,
    data: Path,
    grader: Path | None,
    checkpoint: str,
    compare: bool,
    samples: int | None,
    temperature: float | None,
    max_tokens: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Evaluate a run's result, or a model, on a JSONL file."""
    from rft_core import api

    result = api.evaluate(
        target,
        data,
        grader=grader,
        checkpoint=checkpoint,
        compare=compare,
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens,
        limit=limit,
        phase=_tell if sys.stderr.isatty() else None,
    )
    if as_json:
        echo_json(result)
        return
    from rft_core.cli.tables import print_evaluation

    print_evaluation(result)


def _tell(waits_for: str) -> None:
    click.echo(f"{waits_for} …", err=True)
