"""What a run refuses to start with: all that can be known before anything is made or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rft_core.config.run_file import RunConfig, RunFile
from rft_core.errors import ConfigError, DataError, ModelError
from rft_core.registry import Registry
from rft_core.runs.assembly import check_stages, grader_variables, open_sources, template_variables
from rft_core.runs.grader_gate import judge
from rft_core.runs.hosted import Sources
from rft_core.runs.preflight import bad_row, check_model, missing_models
from rft_core.runs.run import Listener
from rft_core.validation import missing_variables


def refuse_early(run_file: RunFile, registry: Registry, listeners: Sequence[Listener]) -> None:
    """ConfigError, ModelError or DataError for components that do not exist, a model that is not there, rows
    without what the templates name, and a grader that fails its check."""

    def tell(kind: str, **values: Any) -> None:
        for listener in listeners:
            listener(kind, values)

    check_stages(registry, run_file)
    if problems := check_model(registry, run_file.stages[0][1], run_file.base_dir).errors:
        raise ModelError(problems[0])
    for number, (name, _) in enumerate(run_file.stages):
        if problem := next(missing_models(registry, run_file, number), None):
            raise ModelError(_prefix(run_file, name) + problem)
    for name, config in run_file.stages:
        tell("phase", waits_for="checking the data")
        sources = open_sources(registry, config, run_file.base_dir)
        prefix = _prefix(run_file, name)
        if problems := _missing(registry, config, sources):
            raise DataError(prefix + problems[0])
        if problem := bad_row(registry, config, sources):
            raise DataError(prefix + problem)
        tell("phase", waits_for="checking the grader")
        verdict = judge(registry, config, sources.train, run_file.base_dir)
        if verdict is not None:
            tell("grader_checked", stage=name, verdict=verdict.word, reason=verdict.reason)
            if verdict.word == "bad":
                raise ConfigError(verdict.reason, where=f"{prefix}grader")


def _prefix(run_file: RunFile, stage: str) -> str:
    return f"{run_file.where(stage)}: ".removeprefix(": ")


def _missing(registry: Registry, config: RunConfig, sources: Sources) -> list[str]:
    variables = template_variables(registry, config)
    found = missing_variables("training", sources.train, variables)
    if sources.validation is not None:
        found += missing_variables("validation", sources.validation, variables)
    if sources.test is not None:
        found += missing_variables("test", sources.test, grader_variables(registry, config))
    return found
