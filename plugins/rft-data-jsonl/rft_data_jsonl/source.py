"""The data source `jsonl`: rows of a JSONL file, read when they are asked for.

One pass checks every selected row and keeps 28 bytes about it: offset, length, line and checksum. The file
itself is never held in memory. Rows are read with `pread`, which moves no shared position, so any
number of threads may read at once, and which reports a file that was cut short instead of crashing
the process, as a memory map would.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rft_core import Item
from rft_core.errors import DataError, nearest
from rft_core.rows import parse_row
from rft_data_jsonl.config import JsonlConfig

MAX_ROW_BYTES = 64 * 1024 * 1024
"""A longer line is refused, so that a file without line breaks cannot fill the memory."""
_BLANK = b" \t\r\n\v\f"
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that `on_bad_row: skip` left out."""

    line: int
    """Line of the file, from 1."""
    column: int | None
    """Column of the problem, from 1, where it is known."""
    reason: str


class JsonlSource:
    """Implements `rft_core.DataSource`. The rows are those that the file held when it was opened:
    a row whose bytes changed since then is a DataError, never other data."""

    skipped: tuple[SkippedRow, ...]
    """Rows that were left out, in the order of the file; empty with `on_bad_row: error`."""

    def __init__(self, config: JsonlConfig, base_dir: Path) -> None:
        self._config = config
        path = base_dir / config.path
        self._name = path.name
        self._offsets, self._lengths, self._lines = array("Q"), array("Q"), array("Q")
        self._checksums = array("I")
        handle = _open(path)
        try:
            self._fd = os.dup(handle.fileno())
            self.close = weakref.finalize(self, os.close, self._fd)
            """Closes the file. Called on garbage collection at the latest; safe to call twice."""
            self._fingerprint, self.skipped = self._index(handle)
        except DataError:
            self.close()
            raise
        finally:
            handle.close()

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
        row = json.loads(data.decode())  # `parse_row` has checked these very bytes, for the index
        return Item(key=f"{self._name}:{line}", index=index, row=row)

    def fingerprint(self) -> str:
        """`sha256:…` of the usable rows' bytes, without blank lines and line ends."""
        return self._fingerprint

    def _index(self, handle: BinaryIO) -> tuple[str, tuple[SkippedRow, ...]]:
        sha = hashlib.sha256()
        skipped: list[SkippedRow] = []
        first_error: DataError | None = None
        first, limit = self._config.offset, self._config.limit
        rows = 0
        for line, start, indent, raw in _rows(handle):
            rows += 1
            if rows <= first:
                continue
            try:
                if len(raw) > MAX_ROW_BYTES:
                    raise DataError(
                        f"the row is longer than {MAX_ROW_BYTES} bytes", hint="each line must be one JSON object"
                    )
                parse_row(raw)
            except DataError as error:
                column = None if error.column is None else indent + error.column
                located = DataError(error.problem, file=self._name, line=line, column=column, hint=error.hint)
                if self._config.on_bad_row == "error":
                    raise located from None
                first_error = first_error or located
                skipped.append(SkippedRow(line, column, f"{error.problem}; {error.hint}"))
            else:
                self._offsets.append(start + indent)
                self._lengths.append(len(raw))
                self._lines.append(line)
                self._checksums.append(zlib.crc32(raw))
                sha.update(raw)
                sha.update(b"\n")
            if limit is not None and rows - first >= limit:
                break
        if not self._offsets:
            raise self._nothing_left(rows, first_error)
        return f"sha256:{sha.hexdigest()}", tuple(skipped)

    def _nothing_left(self, rows: int, first_error: DataError | None) -> DataError:
        if first_error is not None:
            return DataError(f"no row can be used; the first error is: {first_error}", file=self._name)
        if rows == 0:
            return DataError("the file is empty", file=self._name, hint="each line must be one JSON object")
        return DataError(
            f"offset {self._config.offset} passes over all {rows} rows", file=self._name, hint="lower the offset"
        )


def _rows(handle: BinaryIO) -> Iterator[tuple[int, int, int, bytes]]:
    """(line, offset, indent, bytes) of every line that is not blank: where it starts, how much white space
    it starts with, and what it holds without white space around it. Of a line that is too long, the first
    MAX_ROW_BYTES + 1 bytes."""
    line = offset = 0
    readline, limit = handle.readline, MAX_ROW_BYTES + 1
    while raw := readline(limit):
        line += 1
        start, offset = offset, offset + len(raw)
        rest = raw
        while not rest.endswith(b"\n") and (rest := readline(limit)):
            offset += len(rest)
        stripped = raw.strip(_BLANK) if len(raw) < limit else raw
        if stripped:
            yield line, start, len(raw) - len(raw.lstrip(_BLANK)), stripped


def _open(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file", hint="name the file in it")
        return path.open("rb", buffering=_BUFFER_BYTES)
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.glob("*.jsonl")] if path.parent.is_dir() else []
        raise DataError(f"there is no file {path}{nearest(path.name, siblings) if siblings else ''}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
