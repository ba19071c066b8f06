"""`rft-engine run --dry-run`: the resolved file, the data, the check of the grader, and every worker with its
component; no training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import yaml

from rft_core.cli.output import inert


def dry_run(run_file: Path, overrides: Sequence[str]) -> int:
    """Print what would run, refuse what `run` refuses, and start the workers of the last stage. RftErrors say what
    would fail."""
    from rft_core.config.run_file import load_run_file
    from rft_core.registry import Registry
    from rft_core.runs.assembly import open_sources, pool_of, resolve_model
    from rft_core.runs.before_start import refuse_early
    from rft_core.runs.evaluate_model import KINDS

    parsed = load_run_file(run_file, overrides)
    registry = Registry.discover()
    for name, config in parsed.stages:
        click.echo(f"# stage {name}")
        click.echo(inert(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)))
    refuse_early(parsed, registry, [_on_check])
    for name, config in parsed.stages:
        sources = open_sources(registry, config, parsed.base_dir)
        for split in ("train", "validation", "test"):
            source = sources.of(split)
            if source is not None:
                _say(f"stage {name}, {split}", {"rows": len(source)})
        _say(f"stage {name}", {"steps": config.training.total_steps(len(sources.train))})
    if parsed.main.grader is None:
        click.echo("# no grader, so no worker is needed")
        return 0
    # The stages before the last are not run: its workers get the model that the first one starts from.
    model = resolve_model(registry, parsed.stages[0][1], parsed.base_dir)
    click.echo(f"# model: {model.path} on {model.device} in {model.dtype}")
    with tempfile.TemporaryDirectory(prefix="rft-dry-run-") as logs:
        for kind in KINDS:
            pool = pool_of(
                kind,
                parsed.main,
                run_id="dry-run",
                base_dir=parsed.base_dir,
                model=model,
                log_dir=Path(logs),
                registry=registry,
                on_event=_printer(kind),
            )
            with pool:
                if kind == "sampler":
                    _say(kind, asdict(pool.info))
    click.echo("# every worker started with its component")
    return 0


def _on_check(kind: str, values: Mapping[str, Any]) -> None:
    if kind == "grader_checked" and values["verdict"] != "bad":  # a bad one is the error that ends this
        reason = f", for {values['reason']}" if values["reason"] else ""
        click.echo(inert(f"# stage {values['stage']}, check of the grader: {values['verdict']}{reason}"))


def _printer(kind: str) -> Callable[[str, dict[str, Any]], None]:
    def on_event(event: str, values: dict[str, Any]) -> None:
        _say(f"{kind}: {event}", values)

    return on_event


def _say(what: str, values: Mapping[str, Any]) -> None:
    click.echo(inert(f"# {what}: " + ", ".join(f"{k} {v}" for k, v in values.items())))
