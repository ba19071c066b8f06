"""Rows of Arrow tables as plain JSON values.

Nested lists, structs and maps stay nested; dates and times become ISO 8601, decimals text. Binary columns,
which is how images and audio are stored, are refused, and so are NaN and infinities.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from rft_core import strict_json
from rft_core.errors import DataError
from rft_core.types import Json
from rft_data_tables.config import TableConfig
from rft_data_tables.spool import RawRow
from rft_data_tables.table import RESERVED, Layout, unique


def layout_of(config: TableConfig, schema: pa.Schema, file: str) -> Layout:
    """The layout of a file with this schema. DataError for columns that hold what no JSON value is."""
    unique(schema.names, file)
    layout = Layout(config, schema.names, file=file)
    for name in layout.columns:
        if (kind := _refused(schema.field(name).type)) is not None:
            raise DataError(
                f"the column '{name}' holds {kind}: images and other media are not supported, only text is",
                file=file,
                hint="leave it out of columns",
            )
    return layout


def arrow_rows(batches: Iterable[pa.RecordBatch], layout: Layout, file: str) -> Iterator[RawRow]:
    number = 0
    for batch in batches:
        columns = {name: batch.column(name) for name in layout.columns}
        for index in range(batch.num_rows):
            number += 1
            yield RawRow(file, number, partial(_row, layout, columns, index))


def _row(layout: Layout, columns: dict[str, Any], index: int) -> Json:
    values: dict[str, Json] = {}
    for name, column in columns.items():
        try:
            value = column[index].as_py(maps_as_pydicts="strict")
        except (ValueError, OverflowError, KeyError) as error:  # a time finer or farther than Python's, a key twice
            raise DataError(f"'{name}' is no JSON value: {error}", hint="leave the column out of columns") from None
        values[name] = _messages(name, value) if name in RESERVED else _plain(name, value)
    return layout.row(values)


def _messages(name: str, value: Any) -> Json:
    """A prompt as Arrow holds it: as JSON text, or as structs, in which a key that is not there is null."""
    if isinstance(value, str):
        try:
            return strict_json.loads(value)
        except DataError as error:
            raise DataError(f"'{name}' is not JSON: {error.problem}", hint=error.hint) from None
    return _without_nulls(_plain(name, value))


def _without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value


def _plain(place: str, value: Any) -> Json:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DataError(
                f"'{place}' is {value}, which is not a JSON number", hint="write null, or leave the row out"
            )
        return value
    if isinstance(value, dict):
        return {str(key): _plain(f"{place}.{key}", inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(f"{place}[{n}]", inner) for n, inner in enumerate(value)]
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise DataError(f"'{place}' is of type {type(value).__name__}, which is no JSON value", hint="leave the column out")


def _refused(kind: pa.DataType) -> str | None:
    """What a type holds that cannot be a row's, or None."""
    if isinstance(kind, pa.BaseExtensionType):
        return _refused(kind.storage_type)
    types = pa.types
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return "bytes"
    if types.is_dictionary(kind):
        return _refused(kind.value_type)
    inner = [kind.field(n).type for n in range(kind.num_fields)]
    return next((found for part in inner if (found := _refused(part)) is not None), None)
