"""Landlock: what a process may open, decided by the kernel, without any privilege.

Access that is not granted beneath a listed path is denied from then on, for the process and its children.
Landlock does not cover `stat`, `chmod` and their like: the system call filter takes those.

Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from rft_grader_python.sandbox.linux import syscall

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE, _IOCTL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_NET_TCP = 0b11
_SCOPES = 0b11  # abstract unix sockets, signals
_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL = (1 << 16) - 1


def abi() -> int:
    """The version of Landlock in this kernel, 0 if there is none or it is switched off."""
    try:
        return syscall(_CREATE, 0, 0, 1)
    except OSError:
        return 0


def restrict(version: int, *, read: Iterable[str], write: Iterable[str]) -> None:
    """Allow reading and executing beneath `read`, anything beneath `write`, and nothing else.

    Paths that do not exist are left out. Needs `no_new_privileges`. From version 4 on TCP is denied, from
    version 6 on signals to processes outside and abstract unix sockets.
    """
    handled = _ALL_BY_ABI.get(version, _ALL)
    attributes = struct.pack("=QQQ", handled, _NET_TCP, _SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = syscall(_CREATE, attributes[:size], size, 0)
    try:
        for path in read:
            _allow(ruleset, path, handled & (_EXECUTE | _READ | _LIST))
        for path in write:
            _allow(ruleset, path, handled)
        syscall(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            access &= _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
        syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", access, fd), 0)
    finally:
        os.close(fd)
