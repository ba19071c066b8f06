"""Every call needs the worker's token; there are no exceptions."""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from rft_core.errors import ConfigError, WorkerRefusedError
from rft_workers.wire_errors import abort

TOKEN_ENV = "RFT_WORKER_TOKEN"
MIN_TOKEN_CHARS = 16


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # not generic at run time
    """Refuses calls without `authorization: Bearer TOKEN`, whatever the method.

    The refusal is registered as a method that takes a stream, because only such a method runs before its
    request is read: what a stranger sends never lies in memory."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        given = next((value for key, value in details.invocation_metadata if key == "authorization"), "")
        encoded = given.encode() if isinstance(given, str) else given
        if hmac.compare_digest(encoded, self._expected):
            return await continuation(details)
        return grpc.stream_unary_rpc_method_handler(_refuse)


async def _refuse(request: Any, context: Any) -> None:
    await abort(
        context,
        WorkerRefusedError(
            "the worker refused the token; give the engine the one that the worker printed when it started"
        ),
        code=grpc.StatusCode.UNAUTHENTICATED,
    )


def find_token(token_file: Path | None) -> tuple[str, Path | None]:
    """The token of a worker started by hand: from the file, the environment, or made up and written to a
    private file, whose path is returned then. ConfigError if the given one cannot be read or is too short."""
    if token_file is not None:
        try:
            token = token_file.read_text().strip()
        except OSError as error:
            raise ConfigError(f"the token file {token_file} cannot be read ({error.strerror})") from None
        return _checked(token, str(token_file)), None
    if token := os.environ.get(TOKEN_ENV, "").strip():
        return _checked(token, f"the environment variable {TOKEN_ENV}"), None
    token = secrets.token_urlsafe(32)
    folder = os.environ.get("XDG_RUNTIME_DIR")
    handle, name = tempfile.mkstemp(
        prefix="rft-worker-", suffix=".token", dir=folder if folder and Path(folder).is_dir() else None
    )
    with os.fdopen(handle, "w") as file:  # mkstemp makes it readable for this user alone
        file.write(token + "\n")
    return token, Path(name)


def _checked(token: str, source: str) -> str:
    if len(token) < MIN_TOKEN_CHARS or not (token.isascii() and token.isprintable()):
        raise ConfigError(
            f"the token in {source} must be one line of at least {MIN_TOKEN_CHARS} ASCII characters; make one with: openssl rand -hex 32"
        )
    return token
