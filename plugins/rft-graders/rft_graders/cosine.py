"""text_similarity's metric `cosine`: the cosine of two embeddings, from any endpoint of OpenAI's form.

One POST to `<embedding_base_url>/embeddings` a group, with every text once. A cosine below 0 counts as 0.
An endpoint that does not answer, or not with vectors, is the grader's failure: `other_error`.

Source: https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from rft_core.errors import ConfigError, MissingVariableError
from rft_core.grading import grade_of_missing
from rft_core.types import Grade, Group
from rft_graders.config import TextSimilarityConfig
from rft_graders.texts import TextTemplate

TIMEOUT_S = 30.0
RETRY_AFTER_S = (0.5, 2.0)
"""Waits before the second and the third try, where the endpoint is busy or fails."""

MAX_COMPONENT = 1e100
"""Of a vector: its square is finite."""

Vector = list[float]


class CosineGrader:
    """Called from several threads; each group is a request of its own."""

    def __init__(self, config: TextSimilarityConfig) -> None:
        self._input, self._reference = TextTemplate(config.input), TextTemplate(config.reference)
        self._url = f"{(config.embedding_base_url or '').rstrip('/')}/embeddings"
        self._model = config.embedding_model
        self._headers = {"Content-Type": "application/json"}
        if config.api_key_env:
            if not (key := os.environ.get(config.api_key_env)):
                raise ConfigError(f"the environment variable {config.api_key_env}, which api_key_env names, is not set")
            self._headers["Authorization"] = f"Bearer {key}"

    def grade(self, group: Group) -> Sequence[Grade]:
        pairs: list[tuple[str, str] | Grade] = []
        for rollout in group.rollouts:
            try:
                pairs.append((self._input.of(group.item.row, rollout), self._reference.of(group.item.row, rollout)))
            except MissingVariableError as error:
                pairs.append(grade_of_missing(error))
        texts = list(dict.fromkeys(t for pair in pairs if isinstance(pair, tuple) for t in pair if t.strip()))
        try:
            vectors = dict(zip(texts, self._embed(texts) if texts else [], strict=True))
        except (OSError, ValueError) as error:
            failed = Grade.error("other_error", f"{self._url} gave no embeddings: {error}")
            return [pair if isinstance(pair, Grade) else failed for pair in pairs]
        return [pair if isinstance(pair, Grade) else Grade.score(_alike(vectors, *pair)) for pair in pairs]

    def close(self) -> None:
        """Nothing to release."""

    def _embed(self, texts: list[str]) -> list[Vector]:
        body = json.dumps({"model": self._model, "input": texts, "encoding_format": "float"}).encode()
        request = urllib.request.Request(self._url, data=body, headers=self._headers)
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                    return _vectors(reply.read(), len(texts))
            except urllib.error.HTTPError as error:
                if wait_s is None or error.code not in (408, 429, 500, 502, 503, 504):
                    raise
            except urllib.error.URLError:
                if wait_s is None:
                    raise
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")


def _vectors(body: bytes, count: int) -> list[Vector]:
    """The vectors of an answer, by their index, each of length 1. ValueError for what is none."""
    try:
        rows = sorted(json.loads(body)["data"], key=lambda row: row["index"])
        vectors = [row["embedding"] for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"the answer is not of the form of /embeddings: {body[:80].decode(errors='replace')!r}"
        ) from None
    if len(vectors) != count:
        raise ValueError(f"it answered {len(vectors)} vectors to {count} texts")
    if not all(isinstance(v, list) and v and len(v) == len(vectors[0]) and all(map(_is_number, v)) for v in vectors):
        raise ValueError("its vectors must be lists of finite numbers, all of one length")
    lengths = [math.hypot(*vector) for vector in vectors]
    if not all(lengths):
        raise ValueError("one of its vectors is zero, so it has no direction")
    return [[x / length for x in vector] for vector, length in zip(vectors, lengths, strict=True)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_COMPONENT


def _alike(vectors: dict[str, Vector], text: str, reference: str) -> float:
    """0 for a text without characters, which has no embedding."""
    if text not in vectors or reference not in vectors:
        return 0.0
    dot = math.fsum(x * y for x, y in zip(vectors[text], vectors[reference], strict=True))
    return min(1.0, max(0.0, dot))
