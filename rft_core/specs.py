"""What a plugin registers: one frozen record per component, cheap to create.

`config` is a pydantic class whose fields are the component's settings in the run file. `build` runs
in the process that will use the component, and is the place for heavy imports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from rft_core.protocols import DataSource, Grader, ModelSource, Observer, Optimizer, Sampler
from rft_core.types import Item, ModelRef, Needs, SamplingParams

if TYPE_CHECKING:
    import click


class ComponentConfig(BaseModel):
    """Base of every component's config: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoSettings(ComponentConfig):
    """Of a part that has nothing to set."""


Reads = Literal["rewards", "sub_rewards", "teacher"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an optimizer with its settings checked, ready to be called: `part(*values)` is
    `function(*values, settings)`."""

    name: str
    function: Callable[..., Any]
    settings: BaseModel
    reads: Reads = "rewards"
    """See `OptimizerPartSpec`."""

    def __call__(self, *values: Any) -> Any:
        return self.function(*values, self.settings)


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What the hosting process knows when it builds a component."""

    base_dir: Path
    """Relative paths in a config start here: the folder of the run file."""
    seed: int = 0
    model: ModelRef | None = None
    """Set for samplers and optimizers."""
    run_dir: Path | None = None
    """Set in the engine's process, None in workers."""
    sampling: SamplingParams | None = None
    """The run's sampling settings, for optimizers that rebuild the behaviour distribution."""
    train: DataSource | None = None
    """The run's training rows, for optimizers that want to look at them before the first step."""
    sampled: Sequence[DataSource] = ()
    """Rows that the run samples completions for: of training, validation and test, as far as it does."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Core settings a component may need: `total_steps`."""
    build_grader: Callable[[Mapping[str, Any]], Grader] | None = None
    """Builds another grader from its config: how `multi` reaches graders of other plugins."""
    build_source: Callable[[Mapping[str, Any]], DataSource] | None = None
    """Builds another data source from its config: how `split` reaches sources of other plugins."""
    part: Callable[[str, Mapping[str, Any]], Part] | None = None
    """The part of a role with the settings that name it: how optimizers reach parts of other plugins."""


@dataclass(frozen=True, kw_only=True)
class DataSourceSpec:
    name: str
    config: type[BaseModel]
    build: Callable[[Any, BuildContext], DataSource]
    summary: str


@dataclass(frozen=True, kw_only=True)
class ModelSourceSpec:
    name: str
    config: type[BaseModel]
    build: Callable[[Any, BuildContext], ModelSource]
    summary: str


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    name: str
    config: type[BaseModel]
    build: Callable[[Any, BuildContext], Sampler]
    summary: str


@dataclass(frozen=True, kw_only=True)
class GraderSpec:
    name: str
    config: type[BaseModel]
    build: Callable[[Any, BuildContext], Grader]
    summary: str
    variables: Callable[[Any], tuple[str, ...]] = lambda config: ()
    """Template variables the config refers to, such as `item.answer`; checked against the data before a run."""
    nested: Callable[[Any], Mapping[str, Mapping[str, Any]]] = lambda config: {}
    """Configs of graders inside this one, by key: checked before a run, named in the tables."""
    deterministic: Callable[[Any], bool] = lambda config: True
    """Whether the same rollout always gets the same grade. False for a judge that samples its answer."""
    whole_groups: Callable[[Any], bool] = lambda config: False
    """Whether a grade depends on the other rollouts of its group, as with a ranking."""
    needs_tokens: Callable[[Any], bool] = lambda config: True
    """Whether the grader reads `segments` of rollouts: token ids, log-probabilities, counts of tokens. One that says
    False gets rollouts without segments, which travel to a worker much faster. Graders inside it say so themselves."""
    instant: Callable[[Any], bool] = lambda config: False
    """Whether a grade takes microseconds whatever the texts are, as a comparison does. Such a grader is called at once,
    in the thread that serves the worker, and never timed out: it costs half, and would hold up everything if it hung.
    A grader made of others is instant only if they are."""
    costly: Callable[[Any], bool] = lambda config: False
    """Whether a grade is worth keeping in the run's ledger, because it costs money or seconds."""
    files: Callable[[Any], tuple[str, ...]] = lambda config: ()
    """Files whose content decides the grade, such as code or weights; a relative path starts at the run file's folder.
    A last part with a `*` stands for all files there that match it."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    name: str
    config: type[BaseModel]
    build: Callable[[Any, BuildContext], Optimizer]
    summary: str
    needs: Needs = "rollouts"
    variables: Callable[[Any], tuple[str, ...]] = lambda config: ()
    """Template variables the config refers to, such as the target of `sft`."""
    measures_loss: bool = True
    """Whether its `validate` gives a `loss`, by which a run can stop early."""
    makes_policy: bool = True
    """Whether what it trains writes text. A reward model does not: its run samples and grades nothing, and no stage
    or run goes on from it but one that trains another such model."""
    preset: tuple[str, str] | None = None
    """A key of the config and its default. Its value names a part of role `preset`, whose function gives settings
    that those of the run file are merged into."""
    parts: Callable[[Any], Mapping[str, tuple[str, Mapping[str, Any]]]] = lambda config: {}
    """Parts the config names, by key: the role, and settings with their `type`. Checked before a run."""
    check: Callable[[Any, BuildContext], None] = lambda config, context: None
    """(config, context): ConfigError, with the key path from `optimizer` on, for settings that cannot work in their run.
    Called before anything is loaded, at each start and resume: of the context `base_dir`, `seed`, `sampling` and `part`
    are set."""
    check_row: Callable[[Any, Item], object] | None = None
    """(config, row): DataError, with the row's key, for a training row that cannot be learned from, as far as can be told
    without a model. Asked of every row before a run starts."""
    models: Callable[[Any], Mapping[str, str]] = lambda config: {}
    """Folders of other language models that the config names, by key, such as a teacher's: a run does not start without
    them. A relative path starts at the run file's folder."""


@dataclass(frozen=True, kw_only=True)
class OptimizerPartSpec:
    """A named part that optimizers assemble, such as an advantage estimator. Names are unique in their role."""

    name: str
    role: str
    """What it is a part for: `advantage`, `objective`, …"""
    function: Callable[..., Any]
    """Called with what its role is given, then its settings. That of a `preset` takes nothing."""
    summary: str
    config: type[BaseModel] = NoSettings
    min_group_size: int = 1
    """Rollouts per prompt that it needs to say anything: 2 for an advantage that compares those of one prompt."""
    reads: Reads = "rewards"
    """What an advantage tells rollouts apart by: their rewards, the rewards of the single graders of a `multi`, or what
    the model in `kl.reference` says of their tokens. By the last two, a group whose rewards are all equal may teach."""


@dataclass(frozen=True, kw_only=True)
class ObserverSpec:
    name: str
    config: type[BaseModel]
    build: Callable[[Any, BuildContext], Observer]
    summary: str


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """A sub-command for `rft-engine`. `load` is called only when the command is used or its help shown."""

    name: str
    load: Callable[[], click.Command]
    summary: str
    function: Callable[..., Any] | None = None
    """What the command does, with values instead of printed text: `rft_core.api.export` calls that of `export`."""


Spec = (
    DataSourceSpec
    | ModelSourceSpec
    | SamplerSpec
    | GraderSpec
    | OptimizerSpec
    | OptimizerPartSpec
    | ObserverSpec
    | CommandSpec
)
