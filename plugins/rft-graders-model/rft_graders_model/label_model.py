"""label_model: a judge model gives each completion one of some labels.

The judge is asked for {"steps": [...], "result": label}. The score is 1 if the label is one of
`passing_labels`, else 0. Any other text than a label is an error grade, which is not trained on.

Source: https://platform.openai.com/docs/api-reference/graders/label-model
"""

from __future__ import annotations

from rft_core.types import Grade
from rft_graders_model.answers import parse_error, steps_of
from rft_graders_model.config import LabelModelConfig
from rft_graders_model.judge import Judge, Verdict, answer_schema
from rft_graders_model.prompted import PromptedGrader


def label_model(config: LabelModelConfig, judge: Judge) -> PromptedGrader:
    """The grader. Its details hold the label and the judge's steps."""

    def read(verdict: Verdict) -> Grade:
        label = verdict.value.get("result")
        if not isinstance(label, str) or label not in config.labels:
            raise parse_error("the judge's 'result' is none of the labels", verdict.text, verdict.spent)
        return Grade.score(
            float(label in config.passing_labels),
            details={"label": label, **steps_of(verdict.value)},
            usage=verdict.spent.usage,
            metrics=verdict.spent.metrics,
        )

    result = {"type": "string", "description": "The label.", "enum": list(config.labels)}
    return PromptedGrader(config.input, judge, answer_schema("label_classification", {"result": result}), read)
