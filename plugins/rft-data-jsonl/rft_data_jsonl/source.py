"""The data source `jsonl`: rows of a JSONL file, read when they are asked for."""

from __future__ import annotations

import json
from pathlib import Path

from rft_core.jsonl import JsonlFile
from rft_core.rows import parse_row
from rft_core.types import Row
from rft_data_jsonl.config import JsonlConfig


class JsonlSource(JsonlFile):
    """Implements `rft_core.DataSource`."""

    def __init__(self, config: JsonlConfig, base_dir: Path) -> None:
        super().__init__(
            base_dir / config.path,
            parse_row,
            read=_checked_row,
            on_bad_row=config.on_bad_row,
            offset=config.offset,
            limit=config.limit,
        )


def _checked_row(line: bytes) -> Row:
    row: Row = json.loads(line.decode())  # `parse_row` has checked these very bytes, for the index
    return row
