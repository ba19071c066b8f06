"""The data source `preferences`: a JSONL file of preference pairs in any of the layouts of `layouts`."""

from __future__ import annotations

from pathlib import Path

from rft_core import strict_json
from rft_core.errors import DataError
from rft_core.jsonl import JsonlFile
from rft_core.types import Json, Row
from rft_preference.config import PreferencesConfig
from rft_preference.layouts import pair_row


class PreferencesSource(JsonlFile):
    """Implements `rft_core.DataSource`. Row keys name the file and its line. DataError, with file and line, for
    a row that is no pair, unless bad rows are to be skipped; for a file that changed while it was in use."""

    def __init__(self, config: PreferencesConfig, base_dir: Path) -> None:
        super().__init__(
            base_dir / Path(config.path).expanduser(),
            _pair,
            on_bad_row=config.on_bad_row,
            offset=config.offset,
            limit=config.limit,
        )


def _pair(line: bytes) -> Row:
    return pair_row(_parsed(line))


def _parsed(raw: bytes) -> Json:
    try:
        return strict_json.loads(raw.decode())
    except UnicodeDecodeError as error:
        if raw.startswith(b"\x1f\x8b"):
            raise DataError("the file is compressed", hint="unpack it first") from None
        raise DataError(f"byte 0x{raw[error.start]:02x} is not UTF-8", hint="save the file as UTF-8") from None
