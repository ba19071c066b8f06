"""Completions to check a grader with: from a file, or those that a run stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rft_core import strict_json
from rft_core.errors import ConfigError, DataError, RunDirError
from rft_core.storage import store
from rft_core.storage.rundir import RunDir
from rft_core.types import Item, Json

MAX_FILES = 4
ROW_KEYS = ("item", "item_key", "key", "index", "row")
TEXT_KEYS = ("completions", "samples", "texts", "completion", "sample", "text", "output_text", "model_sample")
EXPECTED = 'a line is {"item": key or position of the row, "completions": ["…", "…"]}'


def read_samples(file: Path, items: Sequence[Item]) -> dict[int, list[str]]:
    """Completions by the row's position in `items`.

    Each line names a row by its key (`train.jsonl:3`) or its position from 0, and gives one text or a list.
    Lines that `rft-engine samples --json` would give, one a line, do too. ConfigError for anything else."""
    by_key = {item.key: n for n, item in enumerate(items)}
    by_index = {item.index: n for n, item in enumerate(items)}
    found: dict[int, list[str]] = {}
    unknown = 0
    for where, line in _lines(file):
        name = next((line[k] for k in ROW_KEYS if isinstance(line.get(k), str | int)), None)
        value = next((line[k] for k in TEXT_KEYS if k in line), None)
        texts = [value] if isinstance(value, str) else value
        if name is None or not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise ConfigError(f"a line without a row or without texts; {EXPECTED}", where=where)
        position = by_key.get(name) if isinstance(name, str) else by_index.get(name)
        if position is None:
            unknown += 1
        else:
            found.setdefault(position, []).extend(texts)
    if unknown and not found:
        raise ConfigError(f"none of the {unknown} lines of {file} names a row of the data; {EXPECTED}")
    return found


def read_run(path: Path, limit: int) -> tuple[list[Item], dict[int, list[str]]]:
    """Rows and completions of the latest training steps that a run stored. RunDirError if there are none."""
    folder = RunDir.open(path).rollouts
    files = sorted(folder.glob("step-*.parquet"), reverse=True)[:MAX_FILES] if folder.is_dir() else []
    if not files:
        raise RunDirError(f"{path} holds no training rollouts; give --samples FILE instead")
    items: dict[str, Item] = {}
    texts: dict[str, list[str]] = {}
    for file in files:
        table = store.read_table(file, ["item_key", "item_index", "item", "text"])
        for row in table.to_pylist():
            key = row["item_key"]
            if key not in items:
                if len(items) == limit:
                    continue
                items[key] = Item(key=key, index=row["item_index"], row=strict_json.loads(row["item"]))
            texts.setdefault(key, []).append(row["text"])
    return list(items.values()), {n: texts[key] for n, key in enumerate(items)}


def _lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of samples {file} cannot be read: {error}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value: Json = strict_json.loads(line)
            except DataError as error:
                raise error.located(str(file), number) from None
            if not isinstance(value, dict):
                raise ConfigError(f"no JSON object; {EXPECTED}", where=f"{file}, line {number}")
            yield f"{file}, line {number}", value
