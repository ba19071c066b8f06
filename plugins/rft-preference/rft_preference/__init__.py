"""Learning from preference pairs: data sources of pairs, the optimizers `dpo` and `reward_model`, and the grader
`reward_model`, which asks what the latter trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rft_core.hookspecs import hookimpl
from rft_core.specs import BuildContext, DataSourceSpec, GraderSpec, OptimizerSpec
from rft_preference.config import (
    DpoConfig,
    PreferencesConfig,
    RewardGraderConfig,
    RewardModelConfig,
    RolloutsConfig,
)
from rft_preference.places import files_of
from rft_preference.texts import check_pair
from rft_torch.packages import check_packages

if TYPE_CHECKING:
    from rft_core.protocols import DataSource, Grader, Optimizer


def _source(config: PreferencesConfig, context: BuildContext) -> DataSource:
    from rft_preference.source import PreferencesSource

    return PreferencesSource(config, context.base_dir)


def _rollouts(config: RolloutsConfig, context: BuildContext) -> DataSource:
    from rft_preference.rollouts import RolloutsSource

    return RolloutsSource(config, context.base_dir)


def _dpo(config: DpoConfig, context: BuildContext) -> Optimizer:
    from rft_preference.dpo import Dpo

    return Dpo(config, context)


def _reward_model(config: RewardModelConfig, context: BuildContext) -> Optimizer:
    from rft_preference.reward import RewardModel

    return RewardModel(config, context)


def _grader(config: RewardGraderConfig, context: BuildContext) -> Grader:
    from rft_preference.grader import RewardGrader

    return RewardGrader(config, context.base_dir)


@hookimpl
def rft_data_sources() -> Iterable[DataSourceSpec]:
    """The data sources `preferences` and `rollouts`."""
    yield DataSourceSpec(
        name="preferences",
        config=PreferencesConfig,
        build=_source,
        summary="Preference pairs of a JSONL file, in OpenAI's layout or those of the Hugging Face hub",
    )
    yield DataSourceSpec(
        name="rollouts",
        config=RolloutsConfig,
        build=_rollouts,
        summary="The best completions that a run sampled, or pairs of its best and worst",
    )


@hookimpl
def rft_optimizers() -> Iterable[OptimizerSpec]:
    """The optimizers `dpo` and `reward_model`."""
    yield OptimizerSpec(
        name="dpo",
        config=DpoConfig,
        build=_dpo,
        summary="Direct preference optimisation from pairs of completions",
        needs="pairs",
        variables=lambda config: config.variables,
        check=lambda config, context: check_packages(config),
        check_row=check_pair,
    )
    yield OptimizerSpec(
        name="reward_model",
        config=RewardModelConfig,
        build=_reward_model,
        summary="A reward model from pairs of completions (Bradley–Terry)",
        needs="pairs",
        variables=lambda config: config.variables,
        check=lambda config, context: check_packages(config),
        check_row=check_pair,
        makes_policy=False,
    )


@hookimpl
def rft_graders() -> Iterable[GraderSpec]:
    """The grader `reward_model`."""
    yield GraderSpec(
        name="reward_model",
        config=RewardGraderConfig,
        build=_grader,
        summary="What a reward model says of each completion",
        whole_groups=lambda config: config.batch_size > 1,
        needs_tokens=lambda config: False,
        files=files_of,
    )
