"""The trial job of a zygote: locks the cage, then tries what must fail. A tier counts only if it does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import NoReturn

from rft_grader_python.sandbox import linux
from rft_grader_python.sandbox.cage import Cage

HOLDS = "holds"
LANDLOCK_NEEDED = 3
"""The first version that covers truncation of files that may be read."""
_PTRACE = {"x86_64": 101, "aarch64": 117}


def run(cage: Cage, folder: str | None, report: int) -> NoReturn:
    """In a fork of the zygote: writes `HOLDS`, or what does not, and ends."""
    try:
        cage.lock({report}, folder)
        found = _escapes(cage)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the tier does not work here
        found = f"{type(error).__name__}: {error}"
    os.write(report, (found or HOLDS).encode())
    os._exit(0)


def _escapes(cage: Cage) -> str:
    attempts: list[tuple[str, Callable[[], object]]] = [
        ("open a socket", socket.socket),
        ("trace a process", lambda: linux.syscall(_PTRACE[linux.MACHINE], 0, 0, 0, 0)),
        ("enter a namespace", lambda: linux.unshare(linux.CLONE_NEWUSER)),
        ("read /proc", lambda: os.listdir("/proc/self")),
        ("write to /", lambda: os.mkdir("/rft-probe")),
        ("write beside Python", lambda: open(os.__file__, "r+b")),  # noqa: SIM115
        ("signal its parent", lambda: os.kill(os.getppid() or 1 << 22, 0)),
    ]
    if not cage.processes:
        attempts.append(("fork", os.fork))
    for what, attempt in attempts:
        try:
            attempt()
        except OSError:
            continue
        return f"a job could {what}"
    with open("probe", "w") as file:
        file.write("the private folder can be written")
    os.unlink("probe")
    return ""
