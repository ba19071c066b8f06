"""Files that are there whole or not at all, and disk errors as sentences."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rft_core.boundary import RESUME
from rft_core.errors import RftError, StorageError


@contextlib.contextmanager
def storage(action: str, path: Path, then: str = RESUME) -> Iterator[None]:
    """Turns an OSError into a StorageError that says what could not be done, where, and what to do."""
    try:
        yield
    except RftError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"could not {action} in {path}: {reason}; free space or fix the permissions, {then}"
        ) from error


def fsync_file(path: Path) -> None:
    """Make what was written to a file survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """Sync every file and folder below `folder`, and itself."""
    for root, _, names in os.walk(folder):
        for name in names:
            fsync_file(Path(root) / name)
        fsync_folder(Path(root))


def write_json(path: Path, value: Any, *, sync: bool = True, then: str = RESUME) -> None:
    """Write readable JSON under a temporary name, then rename it over `path`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(), sync=sync, then=then)


def write_bytes(path: Path, data: bytes, *, sync: bool = True, then: str = RESUME) -> None:
    """Write under a temporary name in the same folder, sync, then rename over `path`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with storage(f"write {path.name}", path.parent, then):
        try:
            with temporary.open("wb") as handle:
                handle.write(data)
                if sync:
                    handle.flush()
                    os.fsync(handle.fileno())
            temporary.replace(path)
            if sync:
                fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
