"""Turns what a service raises into a status, in one place."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_status import rpc_status

from rft_core.boundary import sentence
from rft_core.errors import RftError
from rft_core.remote.status import to_status

log = logging.getLogger("rft_workers")


async def abort(context: Any, error: RftError, *, code: grpc.StatusCode | None = None) -> None:
    """End the call with the status of `error`, under another code if one is given."""
    status = to_status(error)
    if code is not None:
        status.code = code.value[0]
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details, rich.trailing_metadata)


def wire_errors(method: Callable[[Any, Any, Any], Awaitable[Any]]) -> Callable[[Any, Any, Any], Awaitable[Any]]:
    """Wraps a service method: RftErrors become their status; anything else is a bug of ours, logged in full."""

    @functools.wraps(method)
    async def wrapped(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except RftError as error:
            await abort(context, error)
        except Exception as error:
            log.exception("a call failed inside the worker")
            await abort(
                context,
                RftError(f"the worker failed in {method.__name__}: {sentence(error)}; its log has the traceback"),
            )

    return wrapped
