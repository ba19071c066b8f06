"""Asks a judge model at an OpenAI-compatible endpoint for a JSON object.

Source: https://platform.openai.com/docs/api-reference/chat/create and
https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

import json
import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rft_core.errors import ConfigError
from rft_core.types import Json
from rft_graders_model.answers import JudgeError, Spent, object_in, spent_by, text_of
from rft_graders_model.config import JudgeConfig, base_of
from rft_graders_model.http import CallError, Endpoint, encoded
from rft_graders_model.pace import Pace

OPENAI = "https://api.openai.com/v1"
CHARS_PER_TOKEN = 4
ANSWER_TOKENS = 256
"""What an answer is thought to take, for the rate of tokens, until it is known."""
FILTERED = "content_filter"

Messages = Sequence[Mapping[str, str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge answered, and what it took."""

    value: Mapping[str, Json]
    text: str
    """The same as it was written, for errors."""
    spent: Spent


class Judge:
    """One judge. `ask` may be awaited many times at once, on the judge's own loop (`run`)."""

    def __init__(self, config: JudgeConfig, seed: int) -> None:
        """ConfigError if the key is missing."""
        self._config = config
        base = config.base_url or _base_from_environment() or OPENAI
        key = _key(config, base)
        self._endpoint = Endpoint(
            f"{base}/chat/completions",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            secrets=[key],
            hints={
                401: f"the key is read from the environment variable {config.api_key_env}, where the grader runs",
                403: f"the key is read from the environment variable {config.api_key_env}, where the grader runs",
                404: f"check the model's name ('{config.model}') and base_url",
            },
            concurrency=config.concurrency,
            pace=Pace(_per_s(config.requests_per_minute), _per_s(config.tokens_per_minute)),
            max_retries=config.max_retries,
            timeout_s=config.request_timeout_s,
            seed=seed,
        )

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that asks, from any thread."""
        return self._endpoint.run(coroutine)

    def close(self) -> None:
        self._endpoint.close()

    async def ask(self, messages: Messages, schema: Schema, address: tuple[int, ...]) -> Verdict:
        """The JSON object that the judge answers with. `address` names the question among those of the run.

        JudgeError with one of OpenAI's kinds: model_grader_server_error, model_grader_refusal_error,
        model_grader_parse_error, model_grader_exceeded_max_tokens_error. The object's keys are for the caller to check.
        """
        body = encoded(self._request(messages, schema))
        estimate = len(body) // CHARS_PER_TOKEN + (self._config.sampling_params.max_completions_tokens or ANSWER_TOKENS)
        try:
            answer = await self._endpoint.post(body, address=address, tokens=estimate)
        except CallError as error:
            filtered = error.code == FILTERED
            kind = "model_grader_refusal_error" if filtered else "model_grader_server_error"
            raise JudgeError(kind, str(error)) from None
        spent = spent_by(answer, self._config.model, self._config.prices)
        taken = sum(used.prompt_tokens + used.completion_tokens for used in spent.usage.values())
        if taken:
            self._endpoint.pace.correct(taken - estimate)
        text = text_of(answer, "the judge's endpoint", spent)
        return Verdict(object_in(text, spent), text, spent)

    def _request(self, messages: Messages, schema: Schema) -> dict[str, Json]:
        sampling = self._config.sampling_params.model_dump(exclude_none=True)
        if (most := sampling.pop("max_completions_tokens", None)) is not None:
            sampling[self._config.token_limit_key] = most
        sent = [dict(message) for message in messages]
        request: dict[str, Json] = {"model": self._config.model, "messages": sent, **sampling}
        if self._config.structured_output == "json_schema":
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": schema.name, "strict": True, "schema": schema.schema},
            }
            return request
        _instruct(sent, schema)
        if self._config.structured_output == "json_object":
            request["response_format"] = {"type": "json_object"}
        return request


@dataclass(frozen=True, slots=True)
class Schema:
    """The JSON schema of an answer. Its steps come first, so that the judge thinks before it decides."""

    name: str
    schema: Mapping[str, Json]


def answer_schema(name: str, results: Mapping[str, Json]) -> Schema:
    """An object with `steps`, then what `results` describes; as strict structured output wants it, all keys
    required and no others."""
    step = _object({"description": {"type": "string"}, "conclusion": {"type": "string"}})
    steps = {"type": "array", "description": "The steps of the reasoning that leads to the result.", "items": step}
    return Schema(name, _object({"steps": steps, **results}))


def _object(properties: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _instruct(messages: list[dict[str, str]], schema: Schema) -> None:
    """Ask for the JSON in words, behind the last thing that the user says: some models know no `system`."""
    text = (
        f"Answer with one JSON object that fits this JSON schema, and with nothing else:\n{json.dumps(schema.schema)}"
    )
    if messages[-1]["role"] == "user":
        messages[-1]["content"] += f"\n\n{text}"
    else:
        messages.append({"role": "user", "content": text})


def _per_s(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60


def _base_from_environment() -> str:
    url = os.environ.get("OPENAI_BASE_URL", "").strip()
    try:
        return base_of(url) if url else ""
    except ValueError as error:
        raise ConfigError(f"the environment variable OPENAI_BASE_URL: {error}", where="grader.base_url") from None


def _key(config: JudgeConfig, base: str) -> str:
    """The key, or "" for an endpoint that may need none. ConfigError, which never shows the key."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key and (urlsplit(base).hostname == urlsplit(OPENAI).hostname or "api_key_env" in config.model_fields_set):
        raise ConfigError(
            f"the environment variable {config.api_key_env}, which should hold the key of the judge, is empty; "
            "set it where the grader runs",
            where="grader.api_key_env",
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the environment variable {config.api_key_env} holds characters that a key cannot have",
            where="grader.api_key_env",
        )
    return key
