"""What a run shows while it works: JSON lines for programs, a panel for people, and nothing that acts on a terminal."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rich.console import Console

from rft_core.cli.display import JsonDisplay, open_display
from rft_core.cli.live_view import RunView, sparkline
from rft_core.cli.output import duration, inert, json_line, number, p_value, with_interval

LINE: dict[str, Any] = {
    "step": 5,
    "reward_mean": 0.25,
    "truncated": 0.125,
    "sampled_tokens_per_s": 1234.5,
    "engine_share": 0.034,
    "zero_variance_groups": 3,
    "grad_norm": 0.5,
    "entropy": 1.25,
    "clip_fraction_low": 0.0,
    "clip_fraction_high": 0.021,
    "logprob_diff_mean": 1.234e-7,
    "error/invalid_variable_error": 2,
    "dropped": {},
}


def shown(view: RunView, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    console.print(view.render())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def run_of(view: RunView) -> RunView:
    """A run of 40 steps that has done five."""
    view.on_event("stage_started", {"stage": "rft", "run_dir": "runs/arithmetic"})
    view.on_event("run_started", {"run_dir": "runs/arithmetic", "run_id": "x", "total_steps": 40, "step": 0})
    view.on_event("evaluation_finished", {"step": 0, "split": "validation", "reward_mean": 0.5})
    for step in range(1, 6):
        view.on_event("step_finished", {**LINE, "step": step, "reward_mean": step / 20})
    view.on_event("evaluation_finished", {"step": 5, "split": "validation", "reward_mean": 0.4})
    view.on_event("evaluation_finished", {"step": 5, "split": "test", "reward_mean": 0.9})
    view.on_event("phase", {"waits_for": "grading"})
    return view


def test_the_best_validation_is_one_that_can_be_the_result() -> None:
    """The earliest of the best, but none before training: the table at the end names the same."""
    view = RunView()
    view.on_event("run_started", {"run_dir": "runs/x", "run_id": "x", "total_steps": 40, "step": 0})
    for step, reward in ((0, 0.9), (5, 0.5), (10, 0.5)):
        view.on_event("evaluation_finished", {"step": step, "split": "validation", "reward_mean": reward})
    assert "0.500 at step 10, best 0.500 at step 5, 0.900 before training" in shown(view)


def test_json_display_prints_one_flushed_object_a_line() -> None:
    """Every lifecycle event is one line of strict JSON; what the run waits for is not printed."""
    stream = io.StringIO()
    with open_display(stream) as display:
        display.on_event("phase", {"waits_for": "sampling"})
        display.on_event("step_finished", {"step": 1, "loss": float("nan"), "note": "ü\u2028\x1b[31m"})
        assert stream.getvalue().endswith("\n")
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert json.loads(line) == {"event": "step_finished", "step": 1, "loss": None, "note": "ü\u2028\x1b[31m"}


def test_json_lines_of_several_threads_stay_whole() -> None:
    """Four threads with 250 events each: 1,000 parseable lines, each event once."""
    stream = io.StringIO()
    display = JsonDisplay(stream)

    def emit(thread: int) -> None:
        for step in range(250):
            display.on_event("step_finished", {"step": step, "thread": thread, "padding": "x" * 200})

    threads = [threading.Thread(target=emit, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert sorted((v["thread"], v["step"]) for v in lines) == [(t, s) for t in range(4) for s in range(250)]


def test_a_reader_that_goes_away_does_not_stop_the_run() -> None:
    """After a broken pipe events are dropped instead of raising into the loop."""

    class Pipe(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise BrokenPipeError

    pipe = Pipe()
    display = JsonDisplay(pipe)
    display.on_event("step_finished", {"step": 1})
    display.on_event("step_finished", {"step": 2})
    assert pipe.writes == 1


def test_live_view_shows_what_matters() -> None:
    """Stage, progress, reward, validation (latest and best, never test), what is waited for, speed, engine's share, errors."""
    text = shown(run_of(RunView()), width=140)
    for part in (
        "rft-engine · rft",
        "runs/arithmetic",
        "5/40",
        "left",
        "0.250  ▁▃▄▆█",
        "0.400 at step 5, best 0.400 at step 5, 0.500 before training",
        "grading",
        "1,234 tokens/s, 12.5% truncated, 15 groups without variance",
        "gradient norm 0.500, entropy 1.250, clipped below 0.0%, above 2.1%",
        "sampler and trainer 1.23e-07 apart",
        "3.4%",
        "10 invalid_variable_error",
    ):
        assert part in text
    assert "0.900" not in text


def test_live_view_shows_alarms() -> None:
    """How many there were, and what the last one says, as it is."""
    view = run_of(RunView())
    assert "alarms" not in shown(view)
    for step in (2, 4):
        view.on_event("alarm", {"step": step, "message": "nothing was [bold]learned"})
    assert "2 alarms" in shown(view)
    assert "step 4: nothing was [bold]learned" in shown(view)


def test_live_view_starts_empty_and_survives_every_event() -> None:
    """It can be drawn before anything happened, between stages, and after the end."""
    view = RunView()
    assert "starting" in shown(view)
    run_of(view)
    view.on_event("stage_cached", {"stage": "warm-up", "steps": 400})
    view.on_event("checkpoint_saved", {"step": 5, "path": "x"})
    view.on_event("an_event_of_the_future", {})
    view.on_event("run_finished", {"status": "stopped"})
    text = shown(view)
    assert "warm-up: taken from the cache (400 steps)" in text
    assert "nothing: stopped" in text
    view.on_event("stage_started", {"stage": "second", "run_dir": "runs/b"})
    assert "5/40" not in shown(view)


def test_live_view_of_a_supervised_stage_follows_the_loss() -> None:
    """Without rewards the loss is shown, and the lowest validation loss is the best."""
    view = RunView()
    view.on_event("run_started", {"total_steps": 4, "step": 0})
    for step, loss in ((1, 2.0), (2, 3.0)):
        view.on_event("step_finished", {"step": step, "loss": loss, "engine_share": 0.1})
        view.on_event("evaluation_finished", {"step": step, "split": "validation", "loss": loss})
    text = shown(view)
    assert "loss" in text
    assert "loss 3.000 at step 2, best 2.000 at step 1" in text


def test_live_view_says_that_it_is_stopping() -> None:
    """After the first Ctrl-C the panel says what happens and how to stop at once."""
    stop = threading.Event()
    view = run_of(RunView(stop))
    assert "stopping" not in shown(view)
    stop.set()
    assert "stopping with a checkpoint; Ctrl-C again to stop at once" in shown(view)


def test_live_view_is_drawn_while_events_arrive() -> None:
    """Drawing in one thread and events in another neither raise nor block each other."""
    view = RunView()
    with ThreadPoolExecutor(1) as executor:
        drawing = executor.submit(lambda: [shown(view) for _ in range(50)])
        step = 0
        while not drawing.done() or step < 1000:
            step += 1
            view.on_event("step_finished", {**LINE, "step": step, f"error/kind {step % 7}": 1})
        assert len(drawing.result()) == 50
    assert "invalid_variable_error" in shown(view)


def test_foreign_text_in_the_panel_is_inert() -> None:
    """Names of stages and folders are shown as they are, neither as markup nor as escape sequences."""
    view = RunView()
    view.on_event("stage_started", {"stage": "[red]x[/red]\x1b[31m", "run_dir": "runs/[bold]\u202e"})
    text = shown(view)
    assert "[red]x[/red]\\x1b[31m" in text
    assert "runs/[bold]\\u202e" in text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain, größe, 你好 🎉\n\tindented", "plain, größe, 你好 🎉\n\tindented"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb\x08c\x00\x7f", "a\\x0db\\x08c\\x00\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("ab\u202ecd\u2066", "ab\\u202ecd\\u2066"),
        ("x\u2028y\ufeff", "x\\u2028y\\ufeff"),
        ("lone \ud800", "lone \\ud800"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("👩\u200d🔬", "👩\u200d🔬"),
    ],
)
def test_inert_writes_out_everything_that_acts(text: str, safe: str) -> None:
    """Controls, bidi overrides, separators, surrogates and invisible tags become visible; scripts and emoji stay."""
    assert inert(text) == safe


def test_numbers_for_people() -> None:
    """Formats keep what matters and never fail on what is missing."""
    assert [number(v) for v in (None, 3, 0.0, 0.12345, 0.00012, 123456.0)] == [
        "–",
        "3",
        "0.000",
        "0.123",
        "0.00012",
        "1.23e+05",
    ]
    assert [duration(v) for v in (None, 0.004, 0.25, 12.3, 200, 7500, 100_000)] == [
        "–",
        "4 ms",
        "0.2 s",
        "12 s",
        "3 min 20 s",
        "2 h 05 min",
        "1 d 3 h",
    ]
    assert with_interval(0.5, [0.4, 0.6]) == "0.500 [0.400, 0.600]"
    assert with_interval(None, None) == "–"
    assert (p_value(0.0001), p_value(0.25)) == ("p < 0.001", "p = 0.250")
    assert json_line({"a": [1.0, float("inf")], "b": {"c": float("nan")}}) == '{"a": [1.0, null], "b": {"c": null}}'


def test_sparkline_spans_its_own_range() -> None:
    """Lowest and highest value get the lowest and highest bar; equal values and NaN are drawn too."""
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([0.0, float("nan"), 1.0]) == "▁ █"
    assert sparkline([]) == ""
