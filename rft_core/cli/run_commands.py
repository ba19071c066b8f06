"""`rft-engine run` and `rft-engine resume`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rft_core.cli.display import open_display
from rft_core.cli.options import set_option
from rft_core.cli.output import echo_json

if TYPE_CHECKING:
    from rft_core.runs.run import Listener

no_cache_option = click.option("--no-cache", is_flag=True, help="Train cached stages, such as a warm start, again.")


@click.command("run")
@click.argument("run_file", type=click.Path(path_type=Path))
@set_option
@click.option("--name", help="Name of the run directory; it must be free.")
@click.option(
    "--dry-run", is_flag=True, help="Print the resolved file, check data and grader, start every worker, train nothing."
)
@no_cache_option
def run_command(run_file: Path, overrides: tuple[str, ...], name: str | None, dry_run: bool, no_cache: bool) -> int:
    """Run RUN_FILE to its end: sample, grade, update, validate."""
    if dry_run:
        from rft_core.cli.dry_run import dry_run as check

        return check(run_file, overrides)
    from rft_core import api

    def work(listener: Listener, stop: threading.Event) -> dict[str, Any]:
        return api.run(
            run_file, overrides=overrides, name=name, use_cache=not no_cache, listeners=[listener], stop=stop
        )

    return _watch(work)


@click.command("resume")
@click.argument("run_dir", type=click.Path(path_type=Path))
@set_option
@no_cache_option
def resume_command(run_dir: Path, overrides: tuple[str, ...], no_cache: bool) -> int:
    """Continue the run in RUN_DIR exactly where it stands; with --set, extend it."""
    from rft_core import api

    def work(listener: Listener, stop: threading.Event) -> dict[str, Any]:
        return api.resume(run_dir, overrides=overrides, use_cache=not no_cache, listeners=[listener], stop=stop)

    return _watch(work, run_dir)


def _watch(work: Callable[[Listener, threading.Event], dict[str, Any]], run_dir: Path | None = None) -> int:
    """Show a run while it works; the first Ctrl-C or SIGTERM stops it politely, a second one at once."""
    stop = threading.Event()
    where = [run_dir] if run_dir is not None else []

    def listen(kind: str, values: Mapping[str, Any]) -> None:
        if kind == "stage_started":
            where.append(Path(values["run_dir"]))
        display.on_event(kind, values)

    with open_display(sys.stdout, stop) as display, _signals(stop):
        summary = work(listen, stop)
    if sys.stdout.isatty():
        from rft_core.cli.tables import print_summary

        print_summary(summary, run_dir or (_root_of(where[-1]) if where else None))
    else:
        echo_json({"event": "summary", **summary})
    return 0 if summary["status"] == "succeeded" else 130


def _root_of(run_dir: Path) -> Path:
    """The run that a stage belongs to: stages but the last lie in `stages/` of its directory."""
    return run_dir.parent.parent if run_dir.parent.name == "stages" else run_dir


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), b"\x1b[?25h")  # a live display hid the cursor
            # The workers' standard input closes with this process, and they end at once.
            os._exit(128 + number)
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
