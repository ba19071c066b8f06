"""Graders that ask a judge: score_model, label_model and endpoint with OpenAI's JSON, and rank_model."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import BuildContext, Grader, GraderSpec, hookimpl
from rft_graders_model.config import JudgeConfig, LabelModelConfig, RankModelConfig, ScoreModelConfig
from rft_graders_model.endpoint_config import EndpointConfig


def _score_model(config: ScoreModelConfig, context: BuildContext) -> Grader:
    from rft_graders_model.judge import Judge
    from rft_graders_model.score_model import score_model

    return score_model(config, Judge(config, context.seed))


def _label_model(config: LabelModelConfig, context: BuildContext) -> Grader:
    from rft_graders_model.judge import Judge
    from rft_graders_model.label_model import label_model

    return label_model(config, Judge(config, context.seed))


def _rank_model(config: RankModelConfig, context: BuildContext) -> Grader:
    from rft_graders_model.judge import Judge
    from rft_graders_model.rank_model import RankModelGrader

    return RankModelGrader(config, Judge(config, context.seed), context.seed)


def _endpoint(config: EndpointConfig, context: BuildContext) -> Grader:
    from rft_graders_model.endpoint import EndpointGrader

    return EndpointGrader(config, context.seed)


def _variables(config: JudgeConfig) -> tuple[str, ...]:
    return config.variables


def _deterministic(config: JudgeConfig | EndpointConfig) -> bool:
    return config.deterministic


@hookimpl
def rft_graders() -> Iterable[GraderSpec]:
    return [
        GraderSpec(
            name="score_model",
            config=ScoreModelConfig,
            build=_score_model,
            summary="A judge model gives each completion a score.",
            variables=_variables,
            deterministic=_deterministic,
            costly=lambda config: True,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="label_model",
            config=LabelModelConfig,
            build=_label_model,
            summary="A judge model gives each completion a label; 1 if it is one that passes, else 0.",
            variables=_variables,
            deterministic=_deterministic,
            costly=lambda config: True,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="rank_model",
            config=RankModelConfig,
            build=_rank_model,
            summary="A judge model compares all completions of one prompt with each other, in one call.",
            variables=_variables,
            deterministic=_deterministic,
            costly=lambda config: True,
            whole_groups=lambda config: True,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="endpoint",
            config=EndpointConfig,
            build=_endpoint,
            summary="Your HTTP service gives each completion a score.",
            deterministic=_deterministic,
            costly=lambda config: True,
            needs_tokens=lambda config: False,
        ),
    ]
