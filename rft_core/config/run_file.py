"""The run file: YAML in, a checked `RunConfig` per stage out. Nothing heavy is imported here.

Phase one (this module) reads the text, applies `--set`, fills `${vars}`, merges stages and checks
the engine's own keys. Phase two (`rft_core.runs.assembly`) asks the registry to check each component's
settings with the component's own config class.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rft_core.config.errors import config_error
from rft_core.config.merging import merge
from rft_core.config.workers import WorkerConfig
from rft_core.errors import ConfigError, nearest
from rft_core.types import SamplingParams

Component = dict[str, Any]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(Section):
    train: Component = Field(description="Data source of the training rows: `{type: jsonl, path: …}`.")
    validation: Component | None = Field(None, description="Rows looked at during the run, never trained on.")
    test: Component | None = Field(None, description="Rows looked at once, at the end; they steer nothing.")


class TrainingSection(Section):
    steps: int | None = Field(None, ge=1, description="Number of steps; or give `epochs`.")
    epochs: float | None = Field(None, gt=0, description="Passes over the training rows; 1 if neither is given.")
    batch_size: int = Field(32, ge=1, description="Prompts (or labelled rows) per step.")
    group_size: int = Field(8, ge=1, description="Rollouts per prompt.")
    unit_size: int | None = Field(
        None, ge=1, description="Prompts per unit of sampling work; half a batch by default. Part of the run's bits."
    )
    resample: int = Field(
        0,
        ge=0,
        le=100,
        description="How often another row is drawn in the place of a group whose rewards are all equal, or are fewer than two; 0 keeps such groups.",
    )

    @model_validator(mode="after")
    def _fits(self) -> TrainingSection:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give either steps or epochs, not both")
        if self.resample and self.group_size < 2:
            raise ValueError(
                "resample replaces groups without differences, and a group of one has none; set group_size to 2 or more"
            )
        return self

    def total_steps(self, rows: int) -> int:
        """Steps of the run over a training set of `rows` rows."""
        if self.steps is not None:
            return self.steps
        return max(1, -(-int(rows * (self.epochs or 1.0)) // self.batch_size))

    @property
    def prompts_per_unit(self) -> int:
        return self.unit_size or max(1, -(-self.batch_size // 2))


class EarlyStopping(Section):
    metric: Literal["reward", "loss"] = Field("reward", description="What has to improve on the validation rows.")
    patience: int = Field(3, ge=1, description="Evaluations without improvement before the stage ends.")
    min_delta: float = Field(0.0, ge=0, description="What counts as improvement.")


class ValidationSection(Section):
    eval_interval: int = Field(10, ge=1, description="Steps between evaluations.")
    eval_samples: int = Field(1, ge=1, description="Completions per validation row.")
    temperature: float | None = Field(None, ge=0, description="Instead of the training temperature; 0 is greedy.")
    max_tokens: int | None = Field(None, ge=1, description="Instead of the training limit.")
    unit_size: int = Field(64, ge=1, description="Rows per unit of evaluation work.")
    cluster_by: str | None = Field(
        None, description="Row key whose values are resampled together in intervals, such as a patient or publication."
    )
    sampling: bool = Field(True, description="false: only the optimizer's own validation (a loss), nothing is sampled.")
    early_stopping: EarlyStopping | None = Field(None, description="End the stage when validation stops improving.")


class CheckpointSection(Section):
    interval: int | None = Field(None, ge=1, description="Steps between checkpoints; `eval_interval` by default.")
    keep_best: int = Field(3, ge=0, description="How many of the best by validation are kept beside the last.")


class GradingSection(Section):
    timeout_s: float = Field(60.0, gt=0, description="Longest time one group may take.")
    max_error_rate: float = Field(
        0.2,
        ge=0,
        le=1,
        description="The run stops when a grader failed to give more of its grades of the last 3 steps.",
    )
    ledger: bool | None = Field(
        None,
        description="Keep each grade as it arrives and ask for none twice, also after a kill; by default for graders whose grades are costly.",
    )
    target: str | None = Field(
        None,
        description="How a right answer is written, as a template over the row, for the check of the grader; found out by asking where not given.",
    )
    check: bool = Field(
        True,
        description="Refuse to begin with a grader that fails `rft-engine check-grader`; one that is not deterministic is not asked.",
    )
    worker: WorkerConfig = Field(default_factory=WorkerConfig, description="Where graders run.")


class BudgetSection(Section):
    max_time_s: float | None = Field(None, gt=0, description="Stop, with a checkpoint, after this much wall time.")
    max_tokens: int | None = Field(None, ge=1, description="Stop after this many sampled tokens.")
    max_cost: float | None = Field(
        None, gt=0, description="Stop when grading has cost this many US dollars, by the graders' own price settings."
    )


class RunConfig(Section):
    """One stage of a run, fully resolved."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run directory.")
    seed: int = Field(0, ge=0, lt=2**31, description="Addresses every random draw of the run.")
    runs_dir: str = Field("runs", description="Where run directories are made.")
    model: Component = Field(description="The model to start from: `{path: folder or hub id}`, or a model source.")
    data: DataSection
    sampling: SamplingParams = Field(default_factory=SamplingParams, description="How completions are drawn.")
    sampler: Component = Field(default_factory=lambda: {"type": "transformers"}, description="What draws them.")
    grader: Component | None = Field(None, description="OpenAI's grader JSON, verbatim, or any installed grader.")
    grading: GradingSection = Field(default_factory=GradingSection)
    optimizer: Component = Field(description="What moves the weights.")
    training: TrainingSection = Field(default_factory=TrainingSection)
    validation: ValidationSection = Field(default_factory=ValidationSection)
    checkpoints: CheckpointSection = Field(default_factory=CheckpointSection)
    budget: BudgetSection = Field(default_factory=BudgetSection)
    observers: list[Component] = Field(default_factory=list)
    init_from: str | None = Field(None, description="Run directory or checkpoint whose weights this run starts from.")
    result: Literal["last", "best"] = Field(
        "last", description="Which checkpoint becomes `final/`, and what the next stage starts from."
    )
    cache: bool = Field(False, description="Keep this stage's result, and take it from there when nothing changed.")

    @model_validator(mode="before")
    @classmethod
    def _default_types(cls, values: Any) -> Any:
        """A model is a folder or hub id, and is sampled by transformers, unless they say otherwise."""
        for key, kind in (("model", "pretrained"), ("sampler", "transformers")):
            if isinstance(values, dict) and isinstance(values.get(key), dict) and "type" not in values[key]:
                values = {**values, key: {"type": kind, **values[key]}}
        return values

    @model_validator(mode="after")
    def _cost_is_known(self) -> RunConfig:
        if self.budget.max_cost is not None and self.grading.ledger is False:
            raise ValueError("budget.max_cost needs the ledger; remove grading.ledger: false")
        return self

    @model_validator(mode="after")
    def _best_is_kept(self) -> RunConfig:
        if self.result == "best" and self.checkpoints.keep_best == 0:
            raise ValueError("result: best needs checkpoints.keep_best of at least 1")
        return self

    @property
    def sampler_component(self) -> Component:
        """The sampler's own settings, without where it runs."""
        return {k: v for k, v in self.sampler.items() if k != "worker"}

    @property
    def sampler_worker(self) -> WorkerConfig:
        try:
            return WorkerConfig.model_validate(self.sampler.get("worker", {}))
        except ValidationError as error:
            raise config_error(error, WorkerConfig, "sampler.worker") from None


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A parsed run file: its stages in order, the last one being the run itself."""

    path: Path | None
    base_dir: Path
    stages: tuple[tuple[str, RunConfig], ...]
    raw: Mapping[str, Any]
    """The file after --set and vars, before stages are merged; `config.json` keeps it."""

    @property
    def main(self) -> RunConfig:
        return self.stages[-1][1]

    def where(self, stage: str) -> str:
        """How errors name a stage: not at all, if it is the only one."""
        return "" if len(self.stages) == 1 else f"stage {stage}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML would silently keep the last."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: set[Any] = set()
    for key_node, _ in node.value:
        problem = None
        if not isinstance(key_node, yaml.ScalarNode):
            problem = "a key must be a plain name; put templates such as {{item.answer}} in quotes"
        elif (key := loader.construct_object(key_node)) in keys:
            problem = f"the key '{key}' is given twice; keep one of them"
        if problem is not None:
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key_node.start_mark)
        keys.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, source: str) -> Any:
    """YAML to plain values; ConfigError with line and column."""
    loader = _UniqueKeyLoader(text)
    try:
        return _plain(loader.get_single_data(), source, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{place}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from None
    finally:
        loader.dispose()


def _plain(value: Any, source: str, where: str) -> Any:
    """The value, which must be one that JSON has too; ConfigError with its key otherwise."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{source}: the key {key!r} is no text; put it in quotes", where=where or None)
            _plain(inner, source, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            _plain(inner, source, f"{where}.{position}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{source}: {value} is not a finite number", where=where or None)
    elif not isinstance(value, str | int | float | bool | None):
        kind = type(value).__name__
        raise ConfigError(f"{source}: a {kind} cannot be kept as it is; put it in quotes", where=where or None)
    return value


def load_run_file(path: Path, overrides: Sequence[str] = (), *, name: str | None = None) -> RunFile:
    """Read, override and check a run file. ConfigError for anything the user should mend."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no run file {path}; give the path of a YAML file, such as examples/arithmetic/run.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the run file {path} cannot be read: {error}") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a run file is a mapping of keys such as model, data, grader and optimizer")
    for override in overrides:
        apply_override(raw, override)
    if name is not None:
        raw["name"] = name
    return parse_run(raw, base_dir=path.resolve().parent, path=path)


def parse_run(raw: Mapping[str, Any], *, base_dir: Path, path: Path | None = None) -> RunFile:
    """Check the plain values of a run file and merge its stages."""
    values = dict(raw)
    variables = values.pop("vars", {}) or {}
    if not isinstance(variables, dict):
        raise ConfigError("vars is a mapping of names to values", where="vars")
    values = _fill(values, variables, "")
    stages = values.pop("stages", None)
    if stages is None:
        return RunFile(path=path, base_dir=base_dir, stages=(("main", _check(values, "")),), raw=dict(raw))
    if not isinstance(stages, list) or not stages:
        raise ConfigError(
            "stages is a list of mappings, each with a 'stage' name and the keys that differ", where="stages"
        )
    result: list[tuple[str, RunConfig]] = []
    for position, stage in enumerate(stages):
        where = f"stages.{position}"
        if not isinstance(stage, dict) or not isinstance(stage.get("stage"), str):
            raise ConfigError("a stage is a mapping with a 'stage' name", where=where)
        stage_name = stage["stage"]
        if stage_name in (n for n, _ in result):
            raise ConfigError(f"two stages are named '{stage_name}'; rename one", where=f"{where}.stage")
        merged = merge(values, {k: v for k, v in stage.items() if k != "stage"})
        result.append((stage_name, _check(merged, where)))
    return RunFile(path=path, base_dir=base_dir, stages=tuple(result), raw=dict(raw))


def _check(values: Mapping[str, Any], where: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise config_error(error, RunConfig, where) from None


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Apply one `a.b=c`; the value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set takes key=value, such as training.steps=10, got '{override}'")
    value = _value_of(key, text)
    target: Any = raw
    parts = key.strip().split(".")
    for part in parts[:-1]:
        target = _step_into(target, part, key)
    last = parts[-1]
    if isinstance(target, list):
        target[_index(target, last, key)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise ConfigError(f"'{last}' stands below a value, which has no keys", where=f"--set {key}")


def _value_of(key: str, text: str) -> Any:
    """The value of `--set key=text`. A template that YAML cannot read is shown as it has to be written in a shell."""
    try:
        return parse_yaml(text, f"--set {key}")
    except ConfigError as error:
        if "{{" not in text or text.lstrip().startswith(('"', "'")):
            raise
        quoted = shlex.quote(f"{key}={json.dumps(text, ensure_ascii=False)}")
        raise ConfigError(f"{error}; to a template belong quotes that YAML sees: --set {quoted}") from None


def _step_into(target: Any, part: str, key: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, key)]
    if not isinstance(target, dict):
        raise ConfigError(f"'{part}' stands below a value, which has no keys", where=f"--set {key}")
    child = target.get(part)
    if child is None:
        child = target[part] = {}
    if not isinstance(child, dict | list):
        raise ConfigError(f"'{part}' holds a value, not a mapping", where=f"--set {key}")
    return child


def _index(target: list[Any], part: str, key: str) -> int:
    """Position in a list, by number or, for stages, by name."""
    if part.isdigit() and int(part) < len(target):
        return int(part)
    names = [entry.get("stage") for entry in target if isinstance(entry, dict)]
    if part in names:
        return names.index(part)
    raise ConfigError(f"there is no entry '{part}'{nearest(part, [n for n in names if n])}", where=f"--set {key}")


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _fill(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    """Replace `${name}` by the value under `vars`; a string that is nothing else takes its type too."""
    if isinstance(value, Mapping):
        return {k: _fill(v, variables, f"{where}.{k}" if where else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, variables, f"{where}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> Any:
        name = match.group(1)
        if name not in variables:
            raise ConfigError(f"'${{{name}}}' is not set under vars{nearest(name, variables)}", where=where)
        if variables[name] is None:
            raise ConfigError(f"set it with --set vars.{name}=…", where=f"vars.{name}")
        return variables[name]

    if whole := _VARIABLE.fullmatch(value):
        return look_up(whole)
    return _VARIABLE.sub(lambda m: str(look_up(m)), value)
