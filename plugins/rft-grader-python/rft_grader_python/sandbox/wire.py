"""Messages between the host, a zygote and its forks: one JSON object, with file descriptors beside it.

A job has a `report` and a `channel`. On the report the zygote says how the job ended, and closing it kills
the job. The channel belongs to the job: on it, in this order,

    job → host   CAGED      the cage is locked, nothing of the job has been read
    host → job   length, JSON
    job → host   READY      only for verdicts, see run_grade
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

CAGED, READY = b"C", b"R"
NONCE_BYTES = 16
MAX_MESSAGE = 1 << 16
_LENGTH = struct.Struct("=Q")


def send_request(control: socket.socket, values: dict[str, Any], fds: list[int]) -> None:
    """One message of a SEQPACKET socket: all of it, or an OSError."""
    socket.send_fds(control, [json.dumps(values).encode()], fds)


def receive_request(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message; None when the other side is gone."""
    data, fds, _, _ = socket.recv_fds(control, MAX_MESSAGE, 8)
    if not data:
        return None
    values: dict[str, Any] = json.loads(data)
    return values, list(fds)


def packed(values: object) -> bytes:
    """An object with its length before it."""
    data = json.dumps(values).encode()
    return _LENGTH.pack(len(data)) + data


def read_object(fd: int) -> Any:
    """The object that `packed` wrote. EOFError if the other side closes first."""
    (length,) = _LENGTH.unpack(read_exactly(fd, _LENGTH.size))
    return json.loads(read_exactly(fd, length))


def read_exactly(fd: int, size: int) -> bytes:
    """EOFError if there is less."""
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise EOFError("the other side closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
