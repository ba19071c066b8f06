"""endpoint: an HTTP service of yours gives each completion a score.

    POST {"sample": {...}, "item": {...}, "trace_id": "trace_..."}    at most 1 MB
    200  {"score": number}                                            at most 1 MB

`sample` and `item` are what a python grader sees. The answer may also hold `metrics`, `sub_rewards` (numbers
by name) and `details` (an object), as in `python_file`; a `score` of null means no opinion. A `trace_id`
names one rollout: a call that is done again has the same.

    endpoint_grader_server_error      no answer, or an error status, also after the retries
    endpoint_grader_internal_error    an answer that is no grade: NaN, text, a list, prose, too large
    other_error                       the request would be too large

Source: Azure OpenAI's reinforcement fine-tuning, grader `endpoint` (private preview)
"""

from __future__ import annotations

import asyncio
import math
import os
import re
from collections.abc import Mapping, Sequence

from rft_core.canonical import digest
from rft_core.errors import ConfigError
from rft_core.grading import sample_dict
from rft_core.types import Grade, Group, Json, Rollout
from rft_graders_model.endpoint_config import EndpointConfig
from rft_graders_model.http import MAX_BYTES, CallError, Endpoint, encoded, quoted
from rft_graders_model.pace import Pace
from rft_graders_model.prompted import address_of

_REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)\}")
"""`${env:NAME}`, or `${NAME}` where no run file fills that in from its `vars`."""


class EndpointGrader:
    """Sends all rollouts of a group at once."""

    def __init__(self, config: EndpointConfig, seed: int) -> None:
        """ConfigError if a header names an environment variable that is empty."""
        headers = {name: _resolved(name, value) for name, value in config.headers.items()}
        self._endpoint = Endpoint(
            config.url,
            headers=headers,
            secrets=[*headers.values(), *(word for value in headers.values() for word in value.split()[1:])],
            hints={},
            concurrency=config.concurrency,
            pace=Pace(config.rate_limit, None),
            max_retries=config.max_retries,
            timeout_s=config.request_timeout_s,
            seed=seed,
        )

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout."""
        return self._endpoint.run(self._grade(group))

    def close(self) -> None:
        self._endpoint.close()

    async def _grade(self, group: Group) -> list[Grade]:
        return await asyncio.gather(*(self._grade_one(group, rollout) for rollout in group.rollouts))

    async def _grade_one(self, group: Group, rollout: Rollout) -> Grade:
        body = encoded(
            {"sample": sample_dict(rollout), "item": dict(group.item.row), "trace_id": trace_id(group, rollout)}
        )
        if len(body) > MAX_BYTES:
            return Grade.error(
                "other_error", f"row and completion take {len(body)} bytes, an endpoint gets at most {MAX_BYTES}"
            )
        try:
            answer = await self._endpoint.post(body, address=address_of(rollout))
        except CallError as error:
            malformed = error.cause == "malformed"
            kind = "endpoint_grader_internal_error" if malformed else "endpoint_grader_server_error"
            return Grade.error(kind, str(error))
        try:
            return grade_in(answer)
        except ValueError as error:
            return Grade.error(
                "endpoint_grader_internal_error", f"the endpoint's answer is no grade: {error}: {quoted(str(answer))}"
            )


def trace_id(group: Group, rollout: Rollout) -> str:
    """Names a rollout: the same for every try, and for no other rollout of the run."""
    return f"trace_{digest([group.item.key, *address_of(rollout), rollout.text])[:32]}"


def grade_in(answer: Mapping[str, Json]) -> Grade:
    """The grade that an answer holds. ValueError, with a sentence, if it is none."""
    if "score" not in answer:
        raise ValueError("it has no 'score'")
    if answer["score"] is None:
        return Grade.abstained("the endpoint returned the score null")
    details = answer.get("details") or {}
    if not isinstance(details, dict):
        raise ValueError("'details' is not an object")
    return Grade.score(
        _number(answer["score"], "score"),
        metrics=_numbers(answer, "metrics"),
        sub_rewards=_numbers(answer, "sub_rewards"),
        details=details,
    )


def _numbers(answer: Mapping[str, Json], key: str) -> dict[str, float]:
    values = answer.get(key) or {}
    if not isinstance(values, dict):
        raise ValueError(f"'{key}' is not an object of numbers")
    return {name: _number(value, f"{key}.{name}") for name, value in values.items()}


def _number(value: Json, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"'{what}' is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"'{what}' is too large a number")
    return number


def _resolved(name: str, value: str) -> str:
    """The value of a header with its environment variables. ConfigError, which never shows a value."""

    def found(reference: re.Match[str]) -> str:
        held = os.environ.get(reference[1], "").strip()
        if not held:
            raise ConfigError(
                f"the environment variable {reference[1]}, which the header '{name}' names, is empty; "
                "set it where the grader runs",
                where="grader.headers",
            )
        if not (held.isascii() and held.isprintable()):
            raise ConfigError(
                f"the environment variable {reference[1]} holds characters that a header cannot have",
                where="grader.headers",
            )
        return held

    return _REFERENCE.sub(found, value)
