"""Settings of the grader `endpoint`: Azure's JSON, and keys of ours beside it.

Source: Azure OpenAI's reinforcement fine-tuning, grader `endpoint` (private preview)
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from rft_graders_model.addresses import checked_url
from rft_graders_model.config import GraderConfig

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("content-length", "content-type", "host", "transfer-encoding", "accept-encoding")


class EndpointConfig(GraderConfig):
    type: Literal["endpoint"] = "endpoint"
    url: str = Field(description="The service: http:// or https://.")
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Sent with each call. `${env:NAME}` in a value stands for an environment variable, read where the grader runs.",
    )
    rate_limit: float | None = Field(None, gt=0, description="Most calls a second, for each grader worker.")
    concurrency: int = Field(32, ge=1, le=4096, description="Most calls at the same time, for each grader worker.")
    max_retries: int = Field(3, ge=0, le=20, description="Further tries of a call that may work when done again.")
    request_timeout_s: float = Field(600.0, gt=0, description="Longest one try may take.")
    deterministic: bool = Field(False, description="Whether the same completion always gets the same grade.")

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        return checked_url(url)

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"headers: '{name}' is not the name of a header")
            if name.lower() in _OURS:
                raise ValueError(f"headers: '{name}' is set by the grader; remove it")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"headers: the value of '{name}' has characters that a header cannot hold")
        return headers
