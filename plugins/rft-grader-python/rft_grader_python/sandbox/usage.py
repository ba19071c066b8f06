"""What a job and its children hold, read from /proc and its folder.

Process numbers are those of the /proc that is read, which may belong to an outer namespace.
"""

from __future__ import annotations

import os

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MOST_PROCESSES = 200


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
    """Sizes of the files in a folder, as far as they can be listed."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                continue  # it is gone again
    return total


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
