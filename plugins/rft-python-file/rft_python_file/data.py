"""The data source `python_file`: rows from a function of the user.

    def rows(split="train"):
        yield {"messages": [{"role": "user", "content": "2 + 2?"}], "answer": "4"}

The function is called once, when the source is built, and its rows are kept. They are checked like the
rows of a JSONL file and become plain JSON values (tuples become lists).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from rft_core import Item
from rft_core.canonical import canonical_json
from rft_core.errors import ConfigError, DataError
from rft_core.rows import parse_row
from rft_core.types import Json
from rft_python_file.config import PythonFileDataConfig
from rft_python_file.loading import describe, load_function


class PythonFileSource:
    """Implements `rft_core.DataSource`. Row n has the key `file.py:function[n]`."""

    def __init__(self, config: PythonFileDataConfig, base_dir: Path) -> None:
        path = (base_dir / config.file).resolve()
        self._name = f"{path.name}:{config.function}"
        function = load_function(base_dir, config.file, config.function)
        try:
            result = function(**config.kwargs)
            rows = list(result) if isinstance(result, Iterable) and not isinstance(result, str | bytes | dict) else None
        except (Exception, SystemExit) as error:
            raise DataError(f"{self._name} failed: {describe(error, path)}") from error
        if rows is None:
            raise ConfigError(
                f"{self._name} returned {type(result).__name__}; it must return a list of rows, or yield them"
            )
        if not rows:
            raise DataError(f"{self._name} gave no rows")
        self._rows = [self._checked(index, row) for index, row in enumerate(rows)]

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, index: int) -> Item:
        """The row at `index`. IndexError outside the range."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a source with {len(self)} rows")
        return Item(key=self._key(index), index=index, row=self._rows[index])

    def fingerprint(self) -> str:
        """`sha256:…` of the rows as canonical JSON lines."""
        sha = hashlib.sha256()
        for row in self._rows:
            sha.update(canonical_json(row) + b"\n")
        return f"sha256:{sha.hexdigest()}"

    def _key(self, index: int) -> str:
        return f"{self._name}[{index}]"

    def _checked(self, index: int, row: object) -> dict[str, Json]:
        try:
            text = json.dumps(row, ensure_ascii=False)
            return parse_row(text.encode())
        except DataError as error:
            raise DataError(error.problem, file=self._key(index), hint=error.hint) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(
                f"the row is not plain JSON: {error}",
                file=self._key(index),
                hint="use dict, list, str, int, float, bool and None",
            ) from None
