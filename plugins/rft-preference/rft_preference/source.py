"""The data source `preferences`: a JSONL file of preference pairs in any of the layouts of `layouts`.

One pass checks every line and keeps where it stands, 24 bytes a row; rows are read again when asked for, with
`pread`, so any number of threads may read at once.
"""

from __future__ import annotations

import hashlib
import os
import weakref
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

from rft_core import Item, strict_json
from rft_core.errors import DataError, nearest
from rft_core.types import Json
from rft_preference.config import PreferencesConfig
from rft_preference.layouts import pair_row


class PreferencesSource:
    """Implements `rft_core.DataSource`. Row keys name the file and its line. DataError, with file and line, for
    a row that is no pair, unless bad rows are to be skipped; for a file that changed while it was in use."""

    def __init__(self, config: PreferencesConfig, base_dir: Path) -> None:
        path = base_dir / Path(config.path).expanduser()
        self._name = path.name
        self._offsets, self._lengths, self._lines, self._checksums = (array(kind) for kind in "QQQI")
        self.skipped: tuple[str, ...] = ()
        """What was wrong with each row that was left out."""
        self._fd = _open(path)
        self.close = weakref.finalize(self, os.close, self._fd)
        try:
            self._fingerprint = self._index(config)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._offsets)

    def item(self, index: int) -> Item:
        """The row at `index`. IndexError outside the range, DataError if the file changed meanwhile."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a source with {len(self)} rows")
        line = self._lines[index]
        data = os.pread(self._fd, self._lengths[index], self._offsets[index])
        if zlib.crc32(data) != self._checksums[index]:
            raise DataError(
                "the file was changed while it was in use",
                file=self._name,
                line=line,
                hint="start again, and leave the file alone during a run",
            )
        return Item(key=f"{self._name}:{line}", index=index, row=pair_row(_parsed(data)))

    def fingerprint(self) -> str:
        """`sha256:…` of the usable lines."""
        return self._fingerprint

    def _index(self, config: PreferencesConfig) -> str:
        sha = hashlib.sha256()
        skipped: list[str] = []
        seen = 0
        for line, offset, raw in self._numbered():
            seen += 1
            if seen <= config.offset:
                continue
            try:
                pair_row(_parsed(raw))
            except DataError as error:
                located = DataError(error.problem, file=self._name, line=line, column=error.column, hint=error.hint)
                if config.on_bad_row == "error":
                    raise located from None
                skipped.append(str(located))
            else:
                for values, value in (
                    (self._offsets, offset),
                    (self._lengths, len(raw)),
                    (self._lines, line),
                    (self._checksums, zlib.crc32(raw)),
                ):
                    values.append(value)
                sha.update(raw + b"\n")
            if config.limit is not None and seen - config.offset >= config.limit:
                break
        self.skipped = tuple(skipped)
        if not self._offsets:
            why = f"no row can be used; the first error is: {skipped[0]}" if skipped else f"{seen} rows, none is taken"
            raise DataError(why, file=self._name, hint="each line must be one JSON object")
        return f"sha256:{sha.hexdigest()}"

    def _numbered(self) -> Iterator[tuple[int, int, bytes]]:
        """(line, offset, content) of each line that is not blank."""
        offset = 0
        with os.fdopen(os.dup(self._fd), "rb") as handle:
            for line, raw in enumerate(handle, start=1):
                if content := raw.strip():
                    yield line, offset + len(raw) - len(raw.lstrip()), content
                offset += len(raw)


def _parsed(raw: bytes) -> Json:
    try:
        return strict_json.loads(raw.decode())
    except UnicodeDecodeError as error:
        if raw.startswith(b"\x1f\x8b"):
            raise DataError("the file is compressed", hint="unpack it first") from None
        raise DataError(f"byte 0x{raw[error.start]:02x} is not UTF-8", hint="save the file as UTF-8") from None


def _open(path: Path) -> int:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file", hint="name the file in it")
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.glob("*.jsonl")] if path.parent.is_dir() else []
        raise DataError(f"there is no file {path}{nearest(path.name, siblings) if siblings else ''}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
