"""Settings of the data source `jsonl`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rft_core import ComponentConfig


class JsonlConfig(ComponentConfig):
    """`offset` and `limit` count the rows of the file, good and bad, so that two selections that do
    not overlap never share a row, whatever `on_bad_row` says. Blank lines are no rows."""

    path: str = Field(min_length=1, description="The file; a relative path starts at the folder of the run file.")
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="Stop at a row that cannot be used, or leave it out and count it."
    )
    offset: int = Field(0, ge=0, description="Pass over this many rows at the start of the file.")
    limit: int | None = Field(None, ge=1, description="Take at most this many rows; null takes all.")
