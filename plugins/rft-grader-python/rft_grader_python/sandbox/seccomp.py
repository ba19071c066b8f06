"""The system call filter of a caged process, as a classic BPF program.

An allow list: a call that is in no table of `syscalls` fails with EPERM, `clone3` with ENOSYS so that libc
falls back to `clone`, whose flags can be read. Another architecture's calls kill the process.

Source: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Iterable
from itertools import pairwise

from rft_grader_python.sandbox import linux, syscalls
from rft_grader_python.sandbox.linux import MACHINE

_LOAD, _JEQ, _JGT, _JGE, _JSET, _AND, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOTTY, _ENOSYS = 1, 25, 38
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

# Everything but these may be done to a file descriptor: who gets its signals, leases, notifications.
_FCNTL_DENIED = (8, 10, 15, 1024, 1026)
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_PRCTL_ALLOWED = (3, 15, 16, 21, 23, 39, 0x53564D41)  # names, and what only reads
_NEW_NAMESPACES, _PARENT_OR_PTRACE, _THREAD = 0x7E020000, 0xA000, 0x10000
_AF_UNIX, _SOCK_STREAM = 1, 1

Instruction = tuple[int, int, int, int]


def _errno(code: int) -> int:
    return 0x50000 | code


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _argument(index: int, *, high: bool = False) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index + (4 if high else 0))


def _only_if(number: int, body: list[Instruction]) -> list[Instruction]:
    """`body`, which must return, for calls of that number. The accumulator holds the number before and after."""
    return [(_JEQ, 0, len(body), number), *body]


def _one_of(index: int, values: Iterable[int], yes: int, no: int) -> list[Instruction]:
    """Returns `yes` if the argument is one of the values, else `no`."""
    body = [_argument(index)]
    for value in values:
        body += [(_JEQ, 0, 1, value), _return(yes)]
    return [*body, _return(no)]


def _own_pid(index: int, pids: Iterable[int]) -> list[Instruction]:
    return _one_of(index, pids, _ALLOW, _errno(_EPERM))


def _checked(calls: dict[str, int], *, processes: bool) -> list[Instruction]:
    denied = _errno(_EPERM)
    forbidden_flags = _NEW_NAMESPACES | _PARENT_OR_PTRACE
    clone = [_argument(0), (_JSET, 0, 1, forbidden_flags), _return(denied)]
    clone += [] if processes else [(_JSET, 1, 0, _THREAD), _return(denied)]
    pair = [_argument(0), (_JEQ, 1, 0, _AF_UNIX), _return(denied)]
    # Of stream sockets alone is it certain that they cannot be sent to another address.
    pair += [_argument(1), (_AND, 0, 0, 0xF), (_JEQ, 1, 0, _SOCK_STREAM), _return(denied), _return(_ALLOW)]
    bodies = {
        "ioctl": _one_of(1, _IOCTL_ALLOWED, _ALLOW, _errno(_ENOTTY)),
        "prctl": _one_of(0, _PRCTL_ALLOWED, _ALLOW, denied),
        "fcntl": _one_of(1, _FCNTL_DENIED, denied, _ALLOW),
        "prlimit64": [_argument(0, high=True), (_JEQ, 1, 0, 0), _return(denied), *_own_pid(0, [0])],
        "sched_setaffinity": _own_pid(0, [0]),
        "socketpair": pair,
        "clone": [*clone, _return(_ALLOW)],
        "clone3": [_return(_errno(_ENOSYS))],
    }
    return [i for name, body in bodies.items() for i in _only_if(calls[name], body)]


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    ordered = sorted(numbers)
    breaks = [i + 1 for i, (a, b) in enumerate(pairwise(ordered)) if b != a + 1]
    return [(ordered[a], ordered[b - 1]) for a, b in pairwise([0, *breaks, len(ordered)])]


def build(*, processes: bool, metadata: bool) -> bytes:
    """The filter, but for who may be signalled. `processes` allows fork and exec, `metadata` chmod and the like."""
    checked = syscalls.numbers(syscalls.CHECKED, MACHINE)
    allowed = set(syscalls.numbers(syscalls.PLAIN, MACHINE).values())
    if processes:
        allowed |= set(syscalls.numbers(syscalls.PROCESSES, MACHINE).values())
        allowed |= {checked[name] for name in ("kill", "tgkill", "tkill")}
    if metadata:
        allowed |= set(syscalls.numbers(syscalls.METADATA, MACHINE).values())
    program = _checked(checked, processes=processes)
    for low, high in _ranges(allowed):
        program += [(_JGE, 0, 2, low), (_JGT, 1, 0, high), _return(_ALLOW)]
    return _packed([*program, _return(_errno(_EPERM))])


def _packed(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _head(pid: int | None) -> bytes:
    """Checks the architecture, and lets a process signal itself alone where `pid` is given."""
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JEQ, 1, 0, _ARCHITECTURES[MACHINE]),
        _return(_KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if MACHINE == "x86_64":
        program += [(_JGE, 0, 1, _X32_BIT), _return(_KILL)]
    if pid is not None:
        calls = syscalls.numbers(syscalls.CHECKED, MACHINE)
        program += _only_if(calls["kill"], _own_pid(0, [pid]))
        program += _only_if(calls["tgkill"], _own_pid(0, [pid]))
    return _packed(program)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def install(program: bytes, *, pid: int | None) -> None:
    """Put the filter in force, for good. Needs `no_new_privileges`."""
    code = _head(pid) + program
    buffer = ctypes.create_string_buffer(code)
    header = _Program(len(code) // 8, ctypes.addressof(buffer))
    set_seccomp, filter_mode = 22, 2
    if linux.libc.prctl(set_seccomp, filter_mode, ctypes.byref(header)) != 0:
        raise OSError(ctypes.get_errno(), "the system call filter was refused")


assert sys.byteorder == "little", "the filter reads the low word of an argument first"
