"""The data source `parquet`: a file, or the files of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rft_core.errors import DataError
from rft_data_tables.arrow_rows import arrow_rows, layout_of
from rft_data_tables.config import ParquetConfig, TableConfig
from rft_data_tables.spool import RawRow, SpooledSource, source_path

BATCH_ROWS = 512


def parquet_source(config: ParquetConfig, base_dir: Path) -> SpooledSource:
    path = source_path(base_dir, config.path, folder=None, suffix=".parquet")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"there is no file *.parquet in {path}")
    return SpooledSource(config, parquet_rows(config, files, files[0].parent))


def parquet_rows(config: TableConfig, files: Sequence[Path], root: Path) -> Iterator[RawRow]:
    """The rows of all files, in order, named by their paths below `root`."""
    for path in files:
        name = path.relative_to(root).as_posix()
        try:
            with pq.ParquetFile(path) as file:
                layout = layout_of(config, file.schema_arrow, name)
                yield from arrow_rows(file.iter_batches(batch_size=BATCH_ROWS, columns=layout.columns), layout, name)
        except pa.ArrowException as error:
            raise DataError(
                f"the file cannot be read as Parquet: {str(error).splitlines()[0]}",
                file=name,
                hint="it is cut off or of another format",
            ) from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
