"""The system calls that Python has no function for, by ctypes. Linux on x86_64 and aarch64.

Every function raises OSError with the errno of the call. Sources: the manual pages of each call.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_NOSUID, MS_NODEV, MS_RDONLY, MS_REC, MS_PRIVATE = 2, 4, 1, 16384, 1 << 18
MNT_DETACH = 2
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
"""Attributes of `mount_setattr`."""

_AT_FDCWD, _AT_RECURSIVE, _AT_EMPTY_PATH = -100, 0x8000, 0x1000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522

# Calls that are younger than the tables of the architectures have one number on all of them.
_OPEN_TREE, _MOVE_MOUNT, _CLOSE_RANGE, _MOUNT_SETATTR = 428, 429, 436, 442
_NUMBERS = {"x86_64": {"capset": 126, "pivot_root": 155}, "aarch64": {"capset": 91, "pivot_root": 41}}

MACHINE = platform.machine()
SUPPORTED = platform.system() == "Linux" and MACHINE in _NUMBERS

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """The result of a system call. Integers are passed as longs, bytes by address."""
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(libc.syscall(ctypes.c_long(number), *converted))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def unshare(flags: int) -> None:
    """Enter new namespaces."""
    _checked(libc.unshare(ctypes.c_int(flags)))


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` names."""
    _checked(libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _checked(
        libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            data.encode() if data else None,
        )
    )


def umount(target: str, flags: int) -> None:
    _checked(libc.umount2(target.encode(), ctypes.c_int(flags)))


def pivot_root(new: str, old: str) -> None:
    syscall(_NUMBERS[MACHINE]["pivot_root"], new.encode(), old.encode())


def clone_tree(path: str) -> int:
    """A detached copy of the mounts at `path`, as a file descriptor for `attach_tree`."""
    open_tree_clone, cloexec = 1, 0o2000000
    return syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), open_tree_clone | cloexec | _AT_RECURSIVE)


def attach_tree(fd: int, target: str) -> None:
    """Mount a detached tree at `target`."""
    from_empty_path = 4
    syscall(_MOVE_MOUNT, fd, b"", _AT_FDCWD, target.encode(), from_empty_path)


def restrict_tree(fd: int, attributes: int) -> None:
    """Set attributes on all mounts of a detached tree."""
    request = struct.pack("=QQQQ", attributes, 0, 0, 0)
    syscall(_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, request, len(request))


def restrict_mount(target: str, attributes: int) -> None:
    """Set attributes on the mount at `target` alone."""
    request = struct.pack("=QQQQ", attributes, 0, 0, 0)
    syscall(_MOUNT_SETATTR, _AT_FDCWD, target.encode(), 0, request, len(request))


def close_all_but(keep: set[int]) -> None:
    """Close every file descriptor but those."""
    start = 0
    for fd in [*sorted(keep), 1 << 20]:
        if fd > start:
            try:
                syscall(_CLOSE_RANGE, start, fd - 1, 0)
            except OSError:  # a kernel before 5.9
                os.closerange(start, min(fd, 65_536))
        start = fd + 1


def prctl(option: int, argument: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero))


def die_with_parent() -> None:
    """SIGKILL this process when the thread that forked it ends."""
    prctl(_PR_SET_PDEATHSIG, 9)


def set_dumpable(value: bool) -> None:
    """Without it no process of the same user may read this one's memory or its files in /proc."""
    prctl(_PR_SET_DUMPABLE, int(value))


def no_new_privileges() -> None:
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability. With `no_new_privileges` no program that is executed gets one back."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    syscall(_NUMBERS[MACHINE]["capset"], header, bytes(24))
