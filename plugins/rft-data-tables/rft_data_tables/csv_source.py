"""The data source `csv`: a table with a line of column names, quoted as spreadsheets do (RFC 4180)."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rft_core import strict_json
from rft_core.errors import DataError, nearest
from rft_core.types import Json
from rft_data_tables.config import CsvConfig
from rft_data_tables.spool import RawRow, SpooledSource, source_path
from rft_data_tables.table import RESERVED, Layout, unique

MAX_CELL_CHARS = 64 * 1024 * 1024
_OTHER_DELIMITERS = {";": "a semicolon", "\t": "a tab", "|": "a bar", ",": "a comma"}
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def csv_source(config: CsvConfig, base_dir: Path) -> SpooledSource:
    path = source_path(base_dir, config.path, folder=False, suffix=".csv")
    return SpooledSource(config, _rows(config, path))


def _rows(config: CsvConfig, path: Path) -> Iterator[RawRow]:
    csv.field_size_limit(MAX_CELL_CHARS)
    encoding = "utf-8-sig" if codecs.lookup(config.encoding).name == "utf-8" else config.encoding
    line = 1
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=config.delimiter, strict=True)
            names = next((cells for cells in reader if cells), None)
            if names is None:
                raise DataError(
                    "the file is empty", file=path.name, hint="the first line holds the names of the columns"
                )
            if any("\0" in name for name in names):
                raise DataError("the file holds NUL bytes", file=path.name, line=1, hint=_encoding_hint(path))
            unique(names, path.name)
            layout = Layout(config, names, file=path.name, hint=_delimiter_hint(names, config.delimiter))
            as_json = _json_columns(config, layout.columns, path.name)
            line = reader.line_num + 1
            for cells in reader:
                if cells:  # a blank line is no row
                    yield RawRow(path.name, line, partial(_row, layout, names, cells, as_json))
                line = reader.line_num + 1
    except UnicodeDecodeError:
        raise _wrong_encoding(path, encoding) from None
    except csv.Error as error:
        raise DataError(
            f"the row cannot be read: {error}",
            file=path.name,
            line=line,
            hint='a quote inside a quoted cell is written twice (""), and every quote is closed',
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _row(layout: Layout, names: list[str], cells: list[str], as_json: frozenset[str]) -> Json:
    if len(cells) != len(names):
        raise DataError(
            f"the row has {len(cells)} cells, there are {len(names)} columns",
            hint="put cells that hold the delimiter or line breaks in double quotes",
        )
    values: dict[str, Json] = {}
    wanted = set(layout.columns)
    for number, (name, cell) in enumerate(zip(names, cells, strict=True), 1):
        if name not in wanted:
            continue
        if "\0" in cell:
            raise DataError(f"the cell of '{name}' holds NUL bytes", column=number, hint="save the file as UTF-8")
        values[name] = _cell(name, number, cell) if name in as_json else cell
    return layout.row(values)


def _cell(name: str, number: int, cell: str) -> Json:
    """A cell of JSON; an empty one is null."""
    if not cell.strip():
        return None
    try:
        return strict_json.loads(cell)
    except DataError as error:
        raise DataError(f"the cell of '{name}' is not JSON: {error.problem}", column=number, hint=error.hint) from None


def _json_columns(config: CsvConfig, columns: list[str], file: str) -> frozenset[str]:
    for name in config.json_columns:
        if name not in columns:
            raise DataError(f"there is no column '{name}', which json_columns names{nearest(name, columns)}", file=file)
    return frozenset((*config.json_columns, *RESERVED))


def _delimiter_hint(names: list[str], delimiter: str) -> str:
    """For a header that another delimiter would split."""
    for other, called in _OTHER_DELIMITERS.items():
        if len(names) == 1 and other != delimiter and other in names[0]:
            return f"the line of names holds {called}: write delimiter: {other!r}"
    return ""


def _encoding_hint(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    for mark, name in _MARKS:
        if start.startswith(mark):
            return f"write encoding: {name}"
    if b"\0" in start:
        return "write encoding: utf-16-le or utf-16-be, or save the file as UTF-8"
    return "save the file as UTF-8, or name its encoding, such as encoding: cp1252"


def _wrong_encoding(path: Path, encoding: str) -> DataError:
    """Which byte it is. The file is read again, as a text stream does not say where it stands."""
    data = path.read_bytes()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        return DataError(
            f"byte 0x{data[error.start]:02x} is not {encoding.removesuffix('-sig')}",
            file=path.name,
            line=line,
            column=column,
            hint=_encoding_hint(path),
        )
    return DataError("the file was changed while it was read", file=path.name, hint="start again")
