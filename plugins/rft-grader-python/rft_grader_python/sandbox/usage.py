"""What a job and its children hold, read from /proc and its folder.

Process numbers are those of the /proc that is read, which may belong to an outer namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MOST_PROCESSES = 200
_MOST_ENTRIES, _DEEPEST = 20_000, 100
_TOO_MUCH = 1 << 62


def children_are_listed(proc_fd: int) -> bool:
    """Whether this kernel lists the children of a process, without which a tree cannot be measured."""
    return _read(proc_fd, "thread-self/children") is not None


def newest_child(proc_fd: int, known: set[int]) -> int | None:
    """The child of this process that is not known yet."""
    listed = {int(number) for number in (_read(proc_fd, "thread-self/children") or "").split()}
    new = listed - known
    return max(new) if new else None


def memory_bytes(proc_fd: int, pid: int) -> int:
    """Memory of a process and all beneath it, without what it shares with files and the zygote's pages."""
    pages, pending, seen = 0, [pid], 0
    while pending and seen < _MOST_PROCESSES:
        seen += 1
        current = pending.pop()
        sizes = (_read(proc_fd, f"{current}/statm") or "0 0 0").split()
        pages += int(sizes[1]) - int(sizes[2])
        pending += _children(proc_fd, current)
    return pages * _PAGE_BYTES


def disk_bytes(folder: str) -> int:
    """Sizes of what lies in a folder. Too many entries, or too deep, count as too much."""
    total = entries = 0
    pending = [(folder, 0)]
    while pending:
        path, depth = pending.pop()
        with contextlib.suppress(OSError), os.scandir(path) as listed:  # or it is gone again
            for entry in listed:
                entries += 1
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, depth + 1))
        if entries > _MOST_ENTRIES or depth > _DEEPEST:
            return _TOO_MUCH
    return total


def remove(folder: str) -> None:
    """Delete a folder, whatever a job made of its modes and its depth."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        for command in (["chmod", "-R", "u+rwx", folder], ["rm", "-rf", folder]):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _children(proc_fd: int, pid: int) -> list[int]:
    try:
        fd = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=proc_fd)
    except OSError:
        return []
    try:
        threads = os.listdir(fd)
    except OSError:
        threads = []
    finally:
        os.close(fd)
    return [int(n) for t in threads for n in (_read(proc_fd, f"{pid}/task/{t}/children") or "").split()]


def _read(proc_fd: int, path: str) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY, dir_fd=proc_fd)
        with open(fd, encoding="ascii") as file:
            return file.read()
    except OSError:
        return None
