"""Rows of any file format, read once, checked, and kept as JSON in a temporary file without a name.

The rows are those that the files held when they were opened, whatever becomes of the files. Memory is some
24 bytes a row. Rows are read with `pread`, so any number of threads may read at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rft_core import Item
from rft_core.canonical import canonical_json
from rft_core.errors import DataError, nearest
from rft_core.rows import check_row
from rft_core.types import Json
from rft_data_tables.config import RowsConfig

_BUFFER_BYTES = 1024 * 1024
_in_order = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as a reader finds it."""

    file: str
    number: int
    """Line or row of the file, from 1."""
    make: Callable[[], Json]
    """The row as JSON values; DataError without a place if there is none."""


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that `on_bad_row: skip` left out."""

    file: str
    line: int
    column: int | None
    reason: str


class SpooledSource:
    """Implements `rft_core.DataSource` over what a reader yields."""

    skipped: tuple[SkippedRow, ...]
    """Rows that were left out, in order; empty with `on_bad_row: error`."""

    def __init__(self, config: RowsConfig, rows: Iterable[RawRow]) -> None:
        self._files: list[str] = []
        self._file_of, self._numbers = array("L"), array("Q")
        self._ends = array("Q", [0])
        with tempfile.TemporaryFile(buffering=_BUFFER_BYTES) as spool:
            self._fd = os.dup(spool.fileno())
            self.close = weakref.finalize(self, os.close, self._fd)
            """Frees the temporary file. Called on garbage collection at the latest; safe to call twice."""
            try:
                sha, self.skipped = self._fill(config, rows, spool.write)
                spool.flush()
            except OSError as error:
                self.close()
                raise DataError(
                    f"the rows cannot be kept in {tempfile.gettempdir()}: {error.strerror}",
                    hint="free space there, or name another folder in TMPDIR",
                ) from error
            except BaseException:
                self.close()
                raise
        self._fingerprint = f"sha256:{sha}"

    def __len__(self) -> int:
        return len(self._numbers)

    def item(self, index: int) -> Item:
        """The row at `index`. IndexError outside the range."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a source with {len(self)} rows")
        start = self._ends[index]
        data = os.pread(self._fd, self._ends[index + 1] - start, start)
        key = f"{self._files[self._file_of[index]]}:{self._numbers[index]}"
        return Item(key=key, index=index, row=json.loads(data))

    def fingerprint(self) -> str:
        """`sha256:…` of the usable rows as canonical JSON: the same rows have it from any format and place."""
        return self._fingerprint

    def _fill(
        self, config: RowsConfig, rows: Iterable[RawRow], write: Callable[[bytes], object]
    ) -> tuple[str, tuple[SkippedRow, ...]]:
        sha = hashlib.sha256()
        skipped: list[SkippedRow] = []
        first_error: DataError | None = None
        count = 0
        for row in _selected(rows, config.offset, config.limit):
            count += 1
            try:
                values = row.make()
                check_row(values)
                data, canonical = _as_json(values)
            except DataError as error:
                located = error.located(row.file, row.number)
                if config.on_bad_row == "error":
                    raise located from None
                first_error = first_error or located
                skipped.append(SkippedRow(row.file, row.number, error.column, f"{error.problem}; {error.hint}"))
                continue
            if not self._files or self._files[-1] != row.file:
                self._files.append(row.file)
            self._file_of.append(len(self._files) - 1)
            self._numbers.append(row.number)
            self._ends.append(self._ends[-1] + len(data))
            write(data)
            sha.update(canonical + b"\n")
        if not self._numbers:
            if first_error is not None:
                raise DataError(f"no row can be used; the first error is: {first_error}", file=Path(config.path).name)
            hint = f"lower the offset {config.offset}" if config.offset else "there must be at least one row"
            raise DataError("there are no rows", file=Path(config.path).name, hint=hint)
        return sha.hexdigest(), tuple(skipped)


def _selected(rows: Iterable[RawRow], offset: int, limit: int | None) -> Iterator[RawRow]:
    for number, row in enumerate(rows):
        if number >= offset:
            yield row
        if limit is not None and number + 1 >= offset + limit:
            return


def _as_json(values: Json) -> tuple[bytes, bytes]:
    """The row as JSON, keys in their order, and as canonical JSON. DataError for what no JSON holds."""
    try:
        canonical = canonical_json(values)
    except ValueError:  # a NaN, an infinity, or half of a surrogate pair
        raise DataError("a text of the row is no Unicode, or a number no JSON number", hint="mend the cell") from None
    return _in_order(values).encode(), canonical


def source_path(base_dir: Path, path: str, *, folder: bool | None, suffix: str) -> Path:
    """The path, there and of the right kind (`folder`; None for either). DataError with the nearest name."""
    found = base_dir / path
    if not found.exists():
        siblings = [p.name for p in found.parent.iterdir()] if found.parent.is_dir() else []
        near = [name for name in siblings if name.endswith(suffix)] or siblings
        raise DataError(f"there is no file or folder {found}{nearest(found.name, near) if near else ''}")
    if folder is True and not found.is_dir():
        raise DataError(f"{found} is a file, not a folder", hint="name the folder that it lies in")
    if folder is False and found.is_dir():
        raise DataError(f"{found} is a folder, not a file", hint="name the file in it")
    return found
