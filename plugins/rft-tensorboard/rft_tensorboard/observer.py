"""Turns a run's events into TensorBoard scalars, with TensorBoard's own record writer (no torch).

    step_finished        train/<metric>
    evaluation_finished  <split>/<metric>, such as validation/reward

Nested metrics are joined by `/`. Whatever is not a finite number is left out: a flag, a name, a value
that does not exist at that step. Every event is flushed, so that curves are live.

A resumed run writes a new file into the same folder. Its first step carries a restart mark: TensorBoard
then drops the points of the unfinished attempt from that step on, which the resumed run writes again.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

_NOT_CURVES = frozenset({"step", "total_steps", "split"})


class TensorBoardObserver:
    """Implements `rft_core.Observer`. Opens one event file at once, so that a wrong folder shows at the start."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time_ns():020d}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._restart_marked = False
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def on_event(self, kind: str, event: Mapping[str, object]) -> None:
        """Writes the numbers of a step or an evaluation; other events have no curves."""
        if kind == "step_finished":
            self._scalars("train", event)
        elif kind == "evaluation_finished":
            self._scalars(str(event.get("split") or "validation"), event)

    def close(self) -> None:
        """Closes the file. Safe to call twice."""
        self._file.close()

    def _scalars(self, prefix: str, event: Mapping[str, object]) -> None:
        step = event.get("step")
        if not isinstance(step, int):
            return
        if prefix == "train" and not self._restart_marked:
            self._restart_marked = True
            self._write(Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)))
        values = [Summary.Value(tag=f"{prefix}/{name}", simple_value=value) for name, value in _numbers(event)]
        if values:
            self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()


def _numbers(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and prefix + name not in _NOT_CURVES
        ):
            yield prefix + name, float(value)
