"""`rft-engine doctor`: what isolates graders on this machine."""

from __future__ import annotations

from dataclasses import asdict

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> int:
    """Try what isolates the graders `python` and `code_tests` here, and say what to install.

    The exit code is 1 when nothing isolates them."""
    from rft_core.cli.output import echo_json, literal, open_console
    from rft_grader_python.doctor import checks

    found = checks()
    if as_json:
        echo_json([asdict(check) for check in found])
    else:
        console = open_console()
        for check in found:
            style = {"ok": "green", "warning": "yellow", "missing": "red"}[check.status]
            console.print(literal(f"{check.status:<8} {check.name}: {check.message}", style))
            if check.fix:
                console.print(literal(f"         {check.fix}", "dim"))
    return 1 if found[0].status == "missing" else 0
