"""A JSONL file as rows by position, read when they are asked for: what data sources over such files share.

One pass checks every selected row and keeps 28 bytes about it: offset, length, line and checksum. The file
itself is never held in memory. Rows are read with `pread`, which moves no shared position, so any
number of threads may read at once, and which reports a file that was cut short instead of crashing
the process, as a memory map would.
"""

from __future__ import annotations

import hashlib
import os
import weakref
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from rft_core.errors import DataError, nearest
from rft_core.types import Item, Row

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


class JsonlFile:
    """Implements `rft_core.DataSource`. The rows are those that the file held when it was opened:
    a row whose bytes changed since then is a DataError, never other data.

    `parse` makes the row of a line, which it gets without white space around it. It raises DataError for what is
    no row, with the column in what it got if it is known; file and line are added here. `read` does the same for
    lines that `parse` has taken, where that is quicker. `offset` and `limit` count the rows of the file, good and bad;
    blank lines are no rows.

    DataError for a file that cannot be read, for a bad row unless they are to be skipped, and where no row is left.
    """

    skipped: tuple[SkippedRow, ...]
    """Rows that were left out, in the order of the file; empty with `on_bad_row: error`."""

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], Row],
        *,
        read: Callable[[bytes], Row] | None = None,
        on_bad_row: Literal["error", "skip"] = "error",
        offset: int = 0,
        limit: int | None = None,
    ) -> None:
        self.name = path.name
        self._parse, self._read = parse, read or parse
        self._on_bad_row, self._first, self._limit = on_bad_row, offset, limit
        self._offsets, self._lengths, self._lines = array("Q"), array("Q"), array("Q")
        self._checksums = array("I")
        with _open(path) as handle:
            self._fd = os.dup(handle.fileno())
            self.close = weakref.finalize(self, os.close, self._fd)
            """Closes the file. Called on garbage collection at the latest; safe to call twice."""
            try:
                self._fingerprint, self.skipped = self._index(handle)
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
                file=self.name,
                line=line,
                hint="start again, and leave the file alone during a run",
            )
        return Item(key=f"{self.name}:{line}", index=index, row=self._read(data))

    def fingerprint(self) -> str:
        """`sha256:…` of the usable rows' bytes, without blank lines and line ends."""
        return self._fingerprint

    def _located(self, error: DataError, line: int, indent: int) -> DataError:
        """What `parse` raised, said of the file, where `indent` bytes of white space stand before the row."""
        column = None if error.column is None else indent + error.column
        return DataError(error.problem, file=self.name, line=line, column=column, hint=error.hint)

    def _nothing_left(self, rows: int, first_error: DataError | None) -> DataError:
        """Why none of the `rows` rows is left: all were passed over, or bad and skipped."""
        if first_error is not None:
            return DataError(f"no row can be used; the first error is: {first_error}", file=self.name)
        if rows == 0:
            return DataError("the file is empty", file=self.name, hint="each line must be one JSON object")
        return DataError(f"offset {self._first} passes over all {rows} rows", file=self.name, hint="lower the offset")

    def _index(self, handle: BinaryIO) -> tuple[str, tuple[SkippedRow, ...]]:
        sha = hashlib.sha256()
        skipped: list[SkippedRow] = []
        first_error: DataError | None = None
        parse, first, limit = self._parse, self._first, self._limit
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
                parse(raw)
            except DataError as error:
                located = self._located(error, line, indent)
                if self._on_bad_row == "error":
                    raise located from None
                first_error = first_error or located
                reason = f"{error.problem}; {error.hint}" if error.hint else error.problem
                skipped.append(SkippedRow(line, located.column, reason))
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
