"""POST JSON and read JSON, from endpoints that are trusted with nothing.

Every answer ends within its time and within `MAX_BYTES`, is read as strict JSON, and is followed nowhere.
A failure is a `CallError`, one sentence without any secret, that says whether another try may help.

httpx does the HTTP: it streams, so that an endless answer can be cut off, it follows no redirect unless told
to, and it is async, so that hundreds of calls need one thread. The `openai` client would be a second set of retries, time-outs and parsers, and
hides the raw answer.

    408, 409, 429, 5xx, connection trouble, time-outs    tried again, with growing waits
    all other statuses                                   final: the next call would fail the same way
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar

import httpx

from rft_core import strict_json
from rft_core.boundary import clean_text
from rft_core.errors import DataError
from rft_core.types import Json
from rft_graders_model.addresses import shown
from rft_graders_model.loop_thread import LoopThread
from rft_graders_model.pace import LONGEST_ASKED_S, Pace, backoff_s, retry_after_s

MAX_BYTES = 1_000_000
"""Most bytes of an answer that are read."""
QUOTED_CHARS = 200
SECRET_CHARS = 8
"""Shorter values of headers, such as a version, are no secrets."""
RETRIED = (408, 409, 429)
NO_QUOTA = "insufficient_quota"
"""OpenAI's code for an account without money, which it sends as 429."""

# At level INFO httpx logs the whole URL of every call.
logging.getLogger("httpx").setLevel(logging.WARNING)

T = TypeVar("T")
Cause = Literal["unreachable", "refused", "malformed"]


class CallError(Exception):
    """A call that gave no usable answer."""

    def __init__(
        self, message: str, *, cause: Cause, retry: bool = False, retry_after_s: float | None = None, code: str = ""
    ) -> None:
        super().__init__(message)
        self.cause = cause
        """unreachable: no answer. refused: an answer with an error status. malformed: an answer that is no JSON object."""
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.code = code
        """What the endpoint calls its error, in OpenAI's `error.code`."""


class Endpoint:
    """One address, its client, and all limits on calling it."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        secrets: Sequence[str],
        hints: Mapping[int, str],
        concurrency: int,
        pace: Pace,
        max_retries: int,
        timeout_s: float,
        seed: int,
    ) -> None:
        self._url, self._name = url, shown(url)
        self._secrets = sorted((s for s in secrets if len(s) >= SECRET_CHARS), key=len, reverse=True)
        self._hints = hints
        self.pace = pace
        self._max_retries, self._timeout_s, self._seed = max_retries, timeout_s, seed
        self._slots = asyncio.Semaphore(concurrency)
        self._headers = {"Accept-Encoding": "identity", **headers, "Content-Type": "application/json"}
        self._idle: list[httpx.AsyncClient] = []
        self._thread = LoopThread()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that posts, from any thread."""
        return self._thread.run(coroutine)

    def close(self) -> None:
        self._thread.close(self._release)

    async def post(self, body: bytes, *, address: tuple[int, ...], tokens: int = 0) -> Mapping[str, Json]:
        """The JSON object that the endpoint answers with. `address` names the call for its jitter, `tokens` is
        an estimate of what it takes. CallError."""
        for attempt in range(self._max_retries + 1):
            try:
                async with self._slots, self._client() as client:
                    await self.pace.wait(tokens)
                    return await self._try(client, body)
            except CallError as error:
                asked_s = error.retry_after_s
                if not error.retry or attempt == self._max_retries or (asked_s or 0) > LONGEST_ASKED_S:
                    raise self._final(error, attempt + 1) from None
                if asked_s is not None:
                    self.pace.hold(asked_s)
                wait_s = backoff_s(attempt, self._seed, *address)
                await asyncio.sleep(wait_s if asked_s is None else asked_s + wait_s / 10)
        raise AssertionError("the last try either returns or raises")

    def _final(self, error: CallError, tries: int) -> CallError:
        asked_s = error.retry_after_s
        if error.retry and asked_s is not None and asked_s > LONGEST_ASKED_S:
            return CallError(f"{error}; it asks to wait {asked_s:.0f} s", cause=error.cause, code=error.code)
        if tries > 1:
            return CallError(f"{error} ({tries} tries)", cause=error.cause, code=error.code)
        return error

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of one connection, for one call. In a client that all share, httpcore's pool looks at all
        pairs of connections at each call, which for 64 of them takes longer than the call itself."""
        client = self._idle.pop() if self._idle else self._new_client()
        try:
            yield client
        finally:
            self._idle.append(client)

    def _new_client(self) -> httpx.AsyncClient:
        """Without a time-out of its own, because the whole try has one; it follows no redirect."""
        return httpx.AsyncClient(headers=self._headers, timeout=None, verify=_tls())

    async def _release(self) -> None:
        for client in self._idle:
            await client.aclose()

    async def _try(self, client: httpx.AsyncClient, body: bytes) -> Mapping[str, Json]:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                client.stream("POST", self._url, content=body) as response,
            ):
                answer = await self._read(response)
        except TimeoutError:
            raise CallError(
                f"{self._name} did not answer within {self._timeout_s:g} s", cause="unreachable", retry=True
            ) from None
        except httpx.TransportError as error:
            why = quoted(str(error)) or type(error).__name__
            raise CallError(f"{self._name} cannot be reached: {why}", cause="unreachable", retry=True) from None
        if not response.is_success:
            raise self._refusal(response, answer)
        return self._object(answer)

    async def _read(self, response: httpx.Response) -> bytes:
        """The body without our secrets, or its beginning if the status is an error anyway."""
        chunks, size = [], 0
        async for chunk in response.aiter_raw():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                if not response.is_success:
                    break
                raise CallError(f"{self._name} answered with more than {MAX_BYTES} bytes", cause="malformed")
        answer = b"".join(chunks)
        for secret in self._secrets:
            answer = answer.replace(secret.encode(), b"***")
        return answer

    def _object(self, answer: bytes) -> Mapping[str, Json]:
        try:
            value = strict_json.loads(answer.decode())
        except (DataError, UnicodeDecodeError) as error:
            why = error.problem if isinstance(error, DataError) else "it is not UTF-8"
            raise CallError(
                f"{self._name} answered with no JSON ({why}): {quoted(answer.decode(errors='replace'))}",
                cause="malformed",
            ) from None
        if not isinstance(value, dict):
            raise CallError(f"{self._name} answered with a {type(value).__name__}, not an object", cause="malformed")
        return value

    def _refusal(self, response: httpx.Response, answer: bytes) -> CallError:
        status = response.status_code
        text, code = _error_in(answer.decode(errors="replace"))
        if response.is_redirect:
            target = quoted(shown(response.headers.get("location", "")))
            text = f"it leads to {target}; write that address if you trust it"
        hint = self._hints.get(status, "")
        retry = (status in RETRIED or status >= 500) and code != NO_QUOTA
        return CallError(
            f"{self._name} answered with status {status}: {quoted(text)}{'; ' + hint if hint else ''}",
            cause="refused",
            retry=retry,
            retry_after_s=retry_after_s(response.headers.get("retry-after")) if retry else None,
            code=code,
        )


@cache
def _tls() -> ssl.SSLContext:
    """The authorities of this machine, read once."""
    return httpx.create_ssl_context()


def quoted(text: str) -> str:
    """Foreign text in one short line without control characters."""
    line = " ".join(text[: QUOTED_CHARS * 4].split())
    return clean_text("".join(c if c.isprintable() else "�" for c in line), QUOTED_CHARS)


def encoded(payload: Mapping[str, Json]) -> bytes:
    """A body to post. Completions are valid Unicode, and rows strict JSON."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _error_in(text: str) -> tuple[str, str]:
    """Message and code of an error answer, in any of the usual forms; else the whole text."""
    value: Any = None
    with contextlib.suppress(DataError):
        value = strict_json.loads(text)
    if isinstance(value, dict):
        inner = value.get("error", value)
        if isinstance(inner, dict):
            message = inner.get("message") or inner.get("detail") or text
            return message if isinstance(message, str) else text, str(inner.get("code") or inner.get("type") or "")
        if isinstance(inner, str):
            return inner, ""
    return text, ""
