"""The data source `jsonl_shards`: all *.jsonl and *.jsonl.gz of a folder, in the order of their names."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from rft_core.errors import DataError
from rft_core.rows import parse_row
from rft_core.types import Json
from rft_data_tables.config import ShardsConfig
from rft_data_tables.spool import RawRow, SpooledSource, source_path

MAX_ROW_BYTES = 64 * 1024 * 1024
"""A longer line is refused, so that neither a file without line breaks nor a zip bomb fills the memory."""
_BLANK = b" \t\r\n\v\f"


def jsonl_shards(config: ShardsConfig, base_dir: Path) -> SpooledSource:
    folder = source_path(base_dir, config.path, folder=True, suffix="")
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")], key=lambda path: path.name)
    if not files:
        raise DataError(f"there is no file *.jsonl or *.jsonl.gz in {folder}")
    names = {path.name for path in files}
    for name in sorted(names):
        if name.endswith(".gz") and name.removesuffix(".gz") in names:
            raise DataError(f"{folder} holds {name} and its unpacked copy", hint="remove one of them")
    return SpooledSource(config, (row for path in files for row in _rows(path)))


def _rows(path: Path) -> Iterator[RawRow]:
    line = 0
    try:
        with _open(path) as file:
            while raw := file.readline(MAX_ROW_BYTES + 1):
                line += 1
                if len(raw) > MAX_ROW_BYTES:
                    raise DataError(
                        f"the row is longer than {MAX_ROW_BYTES} bytes",
                        file=path.name,
                        line=line,
                        hint="each line must be one JSON object",
                    )
                if stripped := raw.strip(_BLANK):
                    yield RawRow(path.name, line, partial(_row, stripped))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the file cannot be unpacked: {error}",
            file=path.name,
            line=line + 1,
            hint="it is cut off or damaged: copy it again",
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _row(line: bytes) -> Json:
    return parse_row(line)


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
