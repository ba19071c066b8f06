"""What `run` and `resume` show while they work: a live panel on a terminal, else one JSON object a line."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TextIO

from rft_core.cli.output import json_line

REFRESH_PER_S = 4
SILENT = frozenset({"phase"})
"""Events that only a live display is interested in."""


class Display(Protocol):
    def on_event(self, kind: str, values: Mapping[str, Any]) -> None:
        """May be called from several threads."""
        ...


class JsonDisplay:
    """`{"event": "step_finished", …}`, one a line, flushed. A reader that went away does not stop the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._open = True

    def on_event(self, kind: str, values: Mapping[str, Any]) -> None:
        if kind in SILENT:
            return
        text = json_line({"event": kind, **values}) + "\n"
        with self._lock:
            if not self._open:
                return
            try:
                self._stream.write(text)
                self._stream.flush()
            except BrokenPipeError:
                self._open = False


@contextlib.contextmanager
def open_display(stream: TextIO, stop: threading.Event | None = None) -> Iterator[Display]:
    """The display for `stream`. `stop` is the run's polite stop: a live display says when it is asked for."""
    if not stream.isatty():
        yield JsonDisplay(stream)
        return
    from rich.console import Console
    from rich.live import Live

    from rft_core.cli.live_view import RunView

    view = RunView(stop)
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    with Live(console=console, get_renderable=view.render, refresh_per_second=REFRESH_PER_S):
        yield view
