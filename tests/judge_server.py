"""A judge for tests: a real HTTP server that answers as it is told, well or badly.

with JudgeServer(lambda call: completion('{"steps": [], "result": 0.5}')) as server:
    ... server.url, server.calls, server.most_in_flight
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """A request as it came."""

    number: int
    """From 0, in order of arrival."""
    path: str
    headers: Mapping[str, str]
    body: Any
    at_s: float

    @property
    def prompt(self) -> str:
        """The contents of all messages of a chat request."""
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass(frozen=True)
class Reply:
    """What to answer."""

    body: bytes | Iterable[bytes] = b""
    """Pieces are sent one by one, without a length, until they end or the client leaves."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay_s: float = 0.0
    missing: int = 0
    """Promise this many bytes more than are sent, then hang up."""


Behave = Callable[[Call], Reply]


def completion(
    content: str | None,
    *,
    finish_reason: str = "stop",
    refusal: str | None = None,
    usage: Mapping[str, Any] | None = None,
    delay_s: float = 0.0,
) -> Reply:
    """A chat completion with this text."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "judge-2026-01-01",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": usage
        or {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}},
    }
    return Reply(json.dumps(value).encode(), delay_s=delay_s)


def verdict(result: Any, *, delay_s: float = 0.0, **more: Any) -> Reply:
    """A chat completion as a good judge writes it."""
    steps = [{"description": "read it", "conclusion": "fine"}]
    return completion(json.dumps({"steps": steps, "result": result, **more}), delay_s=delay_s)


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """An error answer in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "some_error", "code": code}}).encode()
    return Reply(body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


class JudgeServer:
    """Serves until the end of the `with`."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.calls: list[Call] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *_: object) -> None:
                pass  # a client that left

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> JudgeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._lock:
            call = Call(len(self.calls), handler.path, dict(handler.headers), json.loads(raw), time.monotonic())
            self.calls.append(call)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            reply = self.behave(call)
            time.sleep(reply.delay_s)
        finally:
            with self._lock:
                self._in_flight -= 1
        _send(handler, reply)


def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    whole = isinstance(reply.body, bytes)
    if whole:
        handler.send_header("Content-Length", str(len(reply.body) + reply.missing))  # type: ignore[arg-type]
    handler.end_headers()
    for piece in [reply.body] if whole else reply.body:
        handler.wfile.write(piece)  # type: ignore[arg-type]
    if reply.missing or not whole:
        handler.close_connection = True


def free_address() -> str:
    """An address where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
