"""`rft-engine samples`: completions and grades of a run, read from its Parquet files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rft_core.cli.output import echo_json, literal, number, open_console
from rft_core.cli.run_state import last_metrics
from rft_core.errors import RunDirError
from rft_core.storage.rundir import RunDir

SPLITS = ("train", "validation", "test")
COLUMNS = ["step", "ordinal", "sample", "item_key", "item", "text", "finish_reason", "outcome", "reward", "error_kind", "message", "sub_rewards", "metrics", "details", "usage"]  # fmt: skip


@click.command("samples")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--step", type=click.IntRange(0), help="The step; the latest by default.")
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="train",
    show_default=True,
    help="Which rollouts.",
)
@click.option("--worst", is_flag=True, help="Failed grades first, then the lowest rewards.")
@click.option("--best", is_flag=True, help="The highest rewards first.")
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def samples_command(
    run_dir: Path, step: int | None, split: str, worst: bool, best: bool, count: int, as_json: bool
) -> None:
    """Read completions of the run in RUN_DIR with their grades."""
    if worst and best:
        raise click.UsageError("--worst and --best are two orders of the same rows; give one of them")
    file = find_file(RunDir.open(run_dir), split, step)
    rows = read_samples(file, "worst" if worst else "best" if best else None, count)
    if as_json:
        echo_json(rows)
        return
    _print(rows, file)


def find_file(run_dir: RunDir, split: str, step: int | None) -> Path:
    """The file of a split's step, or of its latest. RunDirError names the steps there are."""
    steps = steps_of(run_dir, split)
    if not steps:
        raise RunDirError(f"{run_dir.path} holds no {split} rollouts{_why_none(run_dir, split)}")
    if step is None:
        step = steps[-1]
    if step not in steps:
        near = sorted(sorted(steps, key=lambda s: abs(s - step))[:5])
        raise RunDirError(
            f"{run_dir.path} holds no {split} rollouts of step {step}; the nearest of its {len(steps)} steps are {', '.join(map(str, near))}"
        )
    return run_dir.rollout_file(split, step)


def steps_of(run_dir: RunDir, split: str) -> list[int]:
    """The steps of a split whose rollouts the run holds, in order."""
    pattern = re.compile(r"step-(\d+)\.parquet" if split == "train" else rf"{split}-step-(\d+)\.parquet")
    names = (p.name for p in run_dir.rollouts.iterdir()) if run_dir.rollouts.is_dir() else ()
    return sorted(int(m.group(1)) for name in names if (m := pattern.fullmatch(name)))


def _why_none(run_dir: RunDir, split: str) -> str:
    """The end of the sentence: when rollouts of the split come, or that this run samples none."""
    summary = run_dir.read_summary() or {}
    if summary.get("cached"):
        return ": its result comes from the cache, which keeps none"
    ended = summary.get("status") == "succeeded"
    if not ended and (split == "test" or last_metrics(run_dir) is None):
        when = {"train": "its first step", "validation": "its first evaluation", "test": "its end"}
        return f"; if the run samples any, they come with {when[split]}"
    others = [other for other in SPLITS if steps_of(run_dir, other)]
    if others:
        return f": it samples none; look at --split {' or '.join(others)}"
    return ": it samples nothing, as it trains and validates on the rows alone"


def read_samples(file: Path, order: str | None, count: int) -> list[dict[str, Any]]:
    """The first `count` rollouts of a file in an order; token ids stay in the file."""
    from rft_core.storage.store import read_table

    table = read_table(file, COLUMNS)
    rewards = table.column("reward").to_pylist()
    picked = list(range(len(rewards)))
    if order == "worst":
        picked.sort(key=lambda i: (rewards[i] is not None, rewards[i] or 0.0))
    elif order == "best":
        picked.sort(key=lambda i: (rewards[i] is None, -(rewards[i] or 0.0)))
    return [_sample(row) for row in table.take(picked[:count]).to_pylist()]


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    item = json.loads(row["item"])
    return {
        **{name: row[name] for name in COLUMNS if name != "item"},
        "prompt": last_message(item),
        "item": item,
        "sub_rewards": dict(row["sub_rewards"]),
        "metrics": dict(row["metrics"]),
        "details": json.loads(row["details"]) if row["details"] else {},
        "usage": dict(row["usage"] or ()),
    }


def last_message(item: Mapping[str, Any]) -> str:
    """The text of a row's last message; structured content as JSON."""
    messages = item.get("messages") or []
    content = messages[-1].get("content") if messages and isinstance(messages[-1], Mapping) else None
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _print(rows: list[dict[str, Any]], file: Path) -> None:
    from rich.padding import Padding
    from rich.rule import Rule

    console = open_console()
    console.print(literal(f"{len(rows)} rollouts of {file}", "dim"))
    for row in rows:
        console.print(Rule(literal(f"{row['item_key']} · sample {row['sample']}"), align="left", style="dim"))
        console.print(literal("prompt", "dim"), Padding(literal(row["prompt"]), (0, 2)), sep="\n")
        console.print(literal("completion", "dim"), Padding(literal(row["text"]), (0, 2)), sep="\n")
        if row["details"]:
            details = json.dumps(row["details"], ensure_ascii=False, indent=1)
            console.print(literal("details", "dim"), Padding(literal(details), (0, 2)), sep="\n")
        console.print(literal(_grade(row), "" if row["reward"] is not None else "yellow"))


def _grade(row: Mapping[str, Any]) -> str:
    parts = [f"reward {number(row['reward'])}" if row["reward"] is not None else "no reward"]
    parts += [f"{name} {number(value)}" for name, value in {**row["sub_rewards"], **row["metrics"]}.items()]
    if row["outcome"] != "score":
        parts.append(row["outcome"])
    if row["error_kind"] or row["message"]:
        parts.append(f"{row['error_kind'] or ''}: {row['message'] or ''}")
    parts.append(f"finish reason {row['finish_reason']}")
    return ", ".join(parts)
