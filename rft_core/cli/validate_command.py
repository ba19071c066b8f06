"""`rft-engine validate`: everything about a run file that can be known in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rft_core.cli.options import set_option
from rft_core.cli.output import echo_json, literal, open_console
from rft_core.errors import RftError

if TYPE_CHECKING:
    from rft_core.validation import SplitReport, ValidationReport

HISTOGRAM_WIDTH = 40
EXIT_INVALID = 2


@click.command("validate")
@click.argument("run_file", type=click.Path(path_type=Path))
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate_command(run_file: Path, overrides: tuple[str, ...], as_json: bool) -> int:
    """Check RUN_FILE, its data, its model and its grader, without starting anything."""
    from rft_core import api

    try:
        reports = api.validate(run_file, overrides=overrides)
    except RftError as error:
        if not as_json:
            raise
        echo_json({"valid": False, "errors": [str(error)], "warnings": [], "stages": {}})
        return error.exit_code
    valid = not any(report.errors for report in reports.values())
    if as_json:
        echo_json(_as_json(reports, valid))
    else:
        _print(reports, valid)
    return 0 if valid else EXIT_INVALID


def _as_json(reports: dict[str, ValidationReport], valid: bool) -> dict[str, Any]:
    return {
        "valid": valid,
        "errors": _told(reports, "errors"),
        "warnings": _told(reports, "warnings"),
        "stages": {name: report.to_json() for name, report in reports.items()},
    }


def _told(reports: dict[str, ValidationReport], kind: str) -> list[str]:
    prefix = len(reports) > 1
    return [
        f"stage {name}: {text}" if prefix else text
        for name, report in reports.items()
        for text in getattr(report, kind)
    ]


def _print(reports: dict[str, ValidationReport], valid: bool) -> None:
    console = open_console()
    for name, report in reports.items():
        if len(reports) > 1:
            console.print(literal(f"stage {name}", "bold"))
        splits = {"training": report.train, "validation": report.validation, "test": report.test}
        for split, values in splits.items():
            if values is not None:
                for line in _describe(split, values):
                    console.print(literal(line))
    for text in _told(reports, "warnings"):
        console.print(literal(f"warning: {text}", "yellow"))
    for text in _told(reports, "errors"):
        console.print(literal(f"error: {text}", "red"))
    console.print(literal("the run file is valid" if valid else "the run file is not valid", "bold"))


def _describe(name: str, split: SplitReport) -> Iterator[str]:
    lengths = split.prompt_chars
    shares = ", ".join(f"{share} {value}" for share, value in lengths.percentiles.items())
    yield f"{name}: {split.rows} rows, prompts of {lengths.shortest} to {lengths.longest} characters ({shares})"
    most = max(lengths.histogram.values(), default=0)
    for bucket, count in lengths.histogram.items():
        if count:
            yield f"  {bucket:>12}  {'#' * max(1, round(count / most * HISTOGRAM_WIDTH))} {count}"
