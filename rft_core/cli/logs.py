"""Logs go to standard error, for people; standard output belongs to the command."""

from __future__ import annotations

import io
import sys
from typing import Any

import structlog


def configure_logs() -> None:
    """One line per log entry. Values are shown by `repr`, so that no text in them acts on a terminal."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), repr_native_str=True),
        ],
        logger_factory=_to_stderr,
        cache_logger_on_first_use=False,
    )


def _to_stderr(*_: Any) -> structlog.PrintLogger:
    # Looked up at each entry: a live display stands in for stderr, to print above its panel.
    return structlog.PrintLogger(sys.stderr)


def tolerate_any_text() -> None:
    """What a terminal's encoding cannot show is written as an escape, rather than ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
