"""score_model: a judge model gives each completion a number.

The judge is asked for {"steps": [...], "result": number}, the range in the description of `result`. The
score is `result`, clamped to the range. A judge that refuses, answers something else, is cut off or cannot
be reached gives an error grade, which is not trained on.

Source: https://platform.openai.com/docs/guides/graders#score-model-graders
"""

from __future__ import annotations

from rft_core.types import Grade
from rft_graders_model.answers import clamped, parse_error, steps_of
from rft_graders_model.config import ScoreModelConfig
from rft_graders_model.judge import Judge, Verdict, answer_schema
from rft_graders_model.prompted import PromptedGrader


def score_model(config: ScoreModelConfig, judge: Judge) -> PromptedGrader:
    """The grader. Its details hold the judge's steps, and its result where it was clamped."""
    low, high = config.range

    def read(verdict: Verdict) -> Grade:
        result = verdict.value.get("result")
        score = clamped(result, config.range)
        if score is None:
            raise parse_error("the judge's 'result' is not a number", verdict.text, verdict.spent)
        details = steps_of(verdict.value)
        if score != result:
            details["result"] = str(result)[:40]
        return Grade.score(score, details=details, usage=verdict.spent.usage, metrics=verdict.spent.metrics)

    result = {"type": "number", "description": f"The score: a number from {low:g} to {high:g}."}
    schema = answer_schema("float_score_classification", {"result": result})
    return PromptedGrader(config.input, judge, schema, read, minimum=low)
