"""What a caged process can see of the file system: Python, the system's libraries, and next to nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
PRIVATE = "/tmp"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/mime.types",
)


def readable() -> list[str]:
    """Existing paths, none beneath another. Links are listed beside what they lead to."""
    prefixes = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    wanted = [*_SYSTEM, *_ETC, *prefixes, *map(os.path.realpath, prefixes)]
    return _outermost(path for path in wanted if os.path.lexists(path) and path != "/")


def _outermost(paths: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{outer}/") for outer in kept if not os.path.islink(outer)):
            kept.append(path)
    return kept


def beneath_private(paths: Iterable[str]) -> list[str]:
    """Those that the private /tmp of a job would hide."""
    return [path for path in paths if path.startswith(f"{PRIVATE}/")]
