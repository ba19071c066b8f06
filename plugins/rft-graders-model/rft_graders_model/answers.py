"""Reads a judge's chat completion: what it said, by which model, for how many tokens.

Of a completion only `choices[0]`, `model` and `usage` are read. Everything is checked, because the text
was written by a model, and the rest by a server that may be anything.

Source: https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from rft_core import strict_json
from rft_core.errors import DataError
from rft_core.types import Grade, Json, TokenUsage
from rft_graders_model.config import Prices
from rft_graders_model.http import quoted

MAX_STEP_CHARS = 12_000
"""Of the judge's steps in a grade's details; the whole of them may have 16 KiB."""

_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(?P<body>.*?)\n?\s*```\s*\Z", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a call took, for the grade that it made."""

    usage: Mapping[str, TokenUsage] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


class JudgeError(Exception):
    """The judge gave no verdict. `kind` is a flag of OpenAI's contract."""

    def __init__(self, kind: str, message: str, spent: Spent | None = None) -> None:
        super().__init__(message)
        self.kind, self.spent = kind, spent or Spent()

    def grade(self) -> Grade:
        """The failed grade, with what it cost all the same."""
        return replace(Grade.error(self.kind, str(self)), usage=self.spent.usage, metrics=self.spent.metrics)


def parse_error(message: str, text: str, spent: Spent) -> JudgeError:
    """The judge answered, and its answer `text` is no verdict."""
    return JudgeError("model_grader_parse_error", f"{message}: {quoted(text) or 'nothing'}", spent)


def spent_by(answer: Mapping[str, Json], model: str, prices: Prices | None) -> Spent:
    """Tokens and money of a chat completion; nothing where the server does not count."""
    used = answer.get("usage")
    if not isinstance(used, dict):
        return Spent(usage={_model_of(answer, model): TokenUsage()})
    details = used.get("prompt_tokens_details")
    usage = TokenUsage(
        prompt_tokens=_count(used.get("prompt_tokens")),
        completion_tokens=_count(used.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
    )
    cost = {} if prices is None else {"cost_usd": cost_usd(usage, prices)}
    return Spent(usage={_model_of(answer, model): usage}, metrics=cost)


def cost_usd(usage: TokenUsage, prices: Prices) -> float:
    """(read − cached) × prompt + cached × cached price + written × completion, per million."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    cached_price = prices.prompt if prices.cached is None else prices.cached
    total = (usage.prompt_tokens - cached) * prices.prompt + cached * cached_price
    return (total + usage.completion_tokens * prices.completion) / 1e6


def text_of(answer: Mapping[str, Json], name: str, spent: Spent) -> str:
    """What the judge wrote. JudgeError if it refused, was cut off, or the answer is no chat completion."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        said = answer.get("error", answer)
        raise JudgeError(
            "model_grader_server_error", f"{name} answered with no chat completion: {quoted(str(said))}", spent
        )
    if refusal := message.get("refusal"):
        raise JudgeError("model_grader_refusal_error", f"the judge refused: {quoted(str(refusal))}", spent)
    if choice.get("finish_reason") == "content_filter":
        raise JudgeError("model_grader_refusal_error", "the judge's answer was filtered by its endpoint", spent)
    if choice.get("finish_reason") == "length":
        raise JudgeError(
            "model_grader_exceeded_max_tokens_error",
            "the judge's answer was cut off; raise sampling_params.max_completions_tokens or the endpoint's own limit",
            spent,
        )
    content = message.get("content")
    if not isinstance(content, str):
        raise parse_error("the judge wrote no text", "" if content is None else str(content), spent)
    return content


def object_in(text: str, spent: Spent) -> Mapping[str, Json]:
    """The JSON object that the judge wrote, also after its thoughts or in a code fence. JudgeError."""
    why = "it is not an object"
    for candidate in _candidates(text):
        try:
            value = strict_json.loads(candidate)
        except DataError as error:
            why = error.problem
            continue
        if isinstance(value, dict):
            return value
    raise parse_error(f"the judge's answer is not the JSON it was asked for ({why})", text, spent)


def steps_of(value: Mapping[str, Json]) -> dict[str, Json]:
    """The judge's steps for a grade's details, as many as there is room for."""
    steps = value.get("steps")
    if not isinstance(steps, list):
        return {}
    kept: list[Json] = []
    chars = 0
    for step in steps:
        chars += len(str(step))
        if chars > MAX_STEP_CHARS:
            return {"steps": kept, "steps_left_out": len(steps) - len(kept)}
        kept.append(step)
    return {"steps": kept}


def clamped(value: Json, limits: tuple[float, float]) -> float | None:
    """A number within its range; None if it is not a number. Integers may be too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low, high = limits
    return float(min(max(value, low), high))


def _candidates(text: str) -> Iterator[str]:
    yield text
    after = text.rpartition("</think>")[2]
    if after != text:
        yield after
    if fenced := _FENCE.match(after):
        yield fenced["body"]


def _model_of(answer: Mapping[str, Json], model: str) -> str:
    named = answer.get("model")
    return named if isinstance(named, str) and named else model


def _count(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
