"""The live panel of a run: state that events change, and a picture of it. Drawing is the display's own thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rft_core.cli.output import duration, literal, number, percent

BARS = "▁▂▃▄▅▆▇█"
HISTORY = 32
"""Steps in the small curve."""
ZERO_VARIANCE = ("zero_variance_groups", "zero_variance")
"""Names under which optimizers count groups whose rewards are all equal."""
OF_AN_UPDATE = {
    "grad_norm": "gradient norm {}",
    "entropy": "entropy {}",
    "kl": "KL {}",
    "clip_fraction_low": "clipped below {}",
    "clip_fraction_high": "above {}",
    "logprob_diff_mean": "sampler and trainer {} apart",
}
"""What is shown of an optimizer's metrics, where it has them."""


class RunView:
    """What a run is doing. `on_event` only notes values, so that a step pays next to nothing for it."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._lock = threading.Lock()
        self._stop = stop
        self._notes: list[str] = []
        self._waits_for, self._waits_since_s = "starting", time.monotonic()
        self._stage, self._run_dir = "", ""
        self._reset()

    def _reset(self) -> None:
        self._first_step = self._step = self._total = 0
        self._began_s = time.monotonic()
        self._line: Mapping[str, Any] = {}
        self._curve: deque[float] = deque(maxlen=HISTORY)
        self._errors: Counter[str] = Counter()
        self._zero_variance = 0
        self._alarms: list[Mapping[str, Any]] = []
        self._validation: dict[int, float] = {}
        self._by_loss = False

    def on_event(self, kind: str, values: Mapping[str, Any]) -> None:
        handle = getattr(self, f"_on_{kind}", None)
        if handle is not None:
            with self._lock:
                handle(values)

    def _on_stage_started(self, values: Mapping[str, Any]) -> None:
        self._reset()
        self._stage, self._run_dir = values["stage"], values["run_dir"]
        self._wait("starting workers")

    def _on_stage_cached(self, values: Mapping[str, Any]) -> None:
        self._notes.append(f"stage {values['stage']}: taken from the cache ({values['steps']} steps)")

    def _on_run_started(self, values: Mapping[str, Any]) -> None:
        self._total = values["total_steps"]
        self._first_step = self._step = values["step"]
        self._began_s = time.monotonic()

    def _on_phase(self, values: Mapping[str, Any]) -> None:
        self._wait(values["waits_for"])

    def _on_step_finished(self, values: Mapping[str, Any]) -> None:
        self._step, self._line = values["step"], values
        shown = values.get("reward_mean")
        if shown is None:
            shown = values.get("loss")
        if shown is not None:
            self._curve.append(shown)
        for key, value in values.items():
            if key.startswith("error/"):
                self._errors[key.removeprefix("error/")] += value
        self._zero_variance += _zero_variance(values)

    def _on_alarm(self, values: Mapping[str, Any]) -> None:
        self._alarms.append(values)

    def _on_evaluation_finished(self, values: Mapping[str, Any]) -> None:
        if values["split"] != "validation":
            return
        self._by_loss = values.get("reward_mean") is None
        value = values.get("loss" if self._by_loss else "reward_mean")
        if value is not None:
            self._validation[values["step"]] = value

    def _on_checkpoint_saved(self, values: Mapping[str, Any]) -> None:
        self._wait("the next step")

    def _on_run_finished(self, values: Mapping[str, Any]) -> None:
        self._wait(f"nothing: {values['status']}")

    def _on_run_failed(self, values: Mapping[str, Any]) -> None:
        self._wait("nothing: failed")

    def _wait(self, what: str) -> None:
        if what != self._waits_for:
            self._waits_for, self._waits_since_s = what, time.monotonic()

    def render(self) -> RenderableType:
        """The panel as it is now."""
        with self._lock:
            rows = Table.grid(padding=(0, 2))
            rows.add_column(style="dim", no_wrap=True)
            rows.add_column()
            for label, value in self._rows():
                rows.add_row(label, value)
            title = Text.assemble("rft-engine", *((" · ", literal(self._stage)) if self._stage else ()))
            notes = [literal(note, "dim") for note in self._notes]
            return Panel(Group(*notes, rows), title=title, title_align="left", border_style="dim")

    def _rows(self) -> Iterator[tuple[str, RenderableType]]:
        line = self._line
        yield "run", literal(self._run_dir or "–")
        yield "steps", self._progress()
        if self._curve:
            name = "reward" if line.get("reward_mean") is not None else "loss"
            yield name, Text(f"{number(self._curve[-1])}  {sparkline(self._curve)}")
        if self._validation:
            yield "validation", self._validation_text()
        yield "waits for", self._waiting()
        if line:
            yield "sampling", Text(self._sampling_text())
            if update := self._update_text():
                yield "update", Text(update)
            yield "engine's share", Text(percent(line.get("engine_share")))
        if self._errors:
            text = ", ".join(f"{count} {kind}" for kind, count in self._errors.most_common())
            yield "grading errors", literal(text, "yellow")
        if self._alarms:
            last = self._alarms[-1]
            yield f"{len(self._alarms)} alarms", literal(f"step {last['step']}: {last['message']}", "yellow")

    def _progress(self) -> RenderableType:
        if not self._total:
            return Text("–")
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=self._total, completed=self._step, width=30),
            Text(f"{self._step}/{self._total}"),
            Text(self._time_left(), style="dim"),
        )
        return grid

    def _time_left(self) -> str:
        taken = self._step - self._first_step
        if taken <= 0 or self._step >= self._total:
            return ""
        per_step = (time.monotonic() - self._began_s) / taken
        return f"{duration(per_step * (self._total - self._step))} left"

    def _validation_text(self) -> Text:
        latest = max(self._validation)
        choose = min if self._by_loss else max
        later = [step for step in self._validation if step > 0] or [latest]
        best = choose(later, key=lambda s: (self._validation[s], s if self._by_loss else -s))
        text = (
            f"{number(self._validation[latest])} at step {latest}, best {number(self._validation[best])} at step {best}"
        )
        if latest > 0 and 0 in self._validation:
            text += f", {number(self._validation[0])} before training"
        return Text(f"loss {text}" if self._by_loss else text)

    def _waiting(self) -> Text:
        if self._stop is not None and self._stop.is_set():
            return Text("stopping with a checkpoint; Ctrl-C again to stop at once", style="yellow")
        return Text.assemble(literal(self._waits_for), (f"  {duration(time.monotonic() - self._waits_since_s)}", "dim"))

    def _sampling_text(self) -> str:
        speed, truncated = self._line.get("sampled_tokens_per_s"), self._line.get("truncated")
        parts = [f"{speed:,.0f} tokens/s"] if speed is not None else []
        parts += [f"{percent(truncated)} truncated"] if truncated is not None else []
        parts += [f"{self._zero_variance} groups without variance"] if self._zero_variance else []
        return ", ".join(parts) or "–"

    def _update_text(self) -> str:
        def shown(name: str, value: float) -> str:
            return percent(value) if "fraction" in name else number(value)

        found = ((name, form, self._line.get(name)) for name, form in OF_AN_UPDATE.items())
        return ", ".join(form.format(shown(name, value)) for name, form, value in found if value is not None)


def _zero_variance(values: Mapping[str, Any]) -> int:
    for place in (values, values.get("dropped") or {}):
        for name in ZERO_VARIANCE:
            if name in place:
                return int(place[name])
    return 0


def sparkline(values: Sequence[float]) -> str:
    """The values as bars between their own minimum and maximum; NaN as a space."""
    finite = [v for v in values if v == v]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    return "".join(BARS[round((v - low) / span * (len(BARS) - 1))] if v == v else " " for v in values)
