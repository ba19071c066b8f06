"""The data source `hf_dataset`: a folder that `datasets` wrote, or one of Parquet files as the hub has them.

    path/dataset_dict.json, path/<split>/state.json     DatasetDict.save_to_disk
    path/state.json                                     Dataset.save_to_disk, which has one split
    path/**/<split>-00000-of-00001.parquet              a snapshot of the hub
    path/**/<split>/*.parquet                           the same, with a folder a split

Arrow files are read as they are: the library `datasets` is not needed, and no loading script, pickle or
download is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from rft_core.errors import DataError, nearest
from rft_data_tables.arrow_rows import arrow_rows, layout_of
from rft_data_tables.config import HfDatasetConfig
from rft_data_tables.parquet_source import parquet_rows
from rft_data_tables.spool import RawRow, SpooledSource, source_path

_SHARD = re.compile(r"(?P<split>[\w.]+?)(?:-\d{5}-of-\d{5})?(?:-[0-9a-f]{16})?\.parquet")


def hf_dataset(config: HfDatasetConfig, base_dir: Path) -> SpooledSource:
    folder = source_path(base_dir, config.path, folder=True, suffix="")
    if (folder / "dataset_dict.json").is_file():
        splits = [str(name) for name in _json(folder / "dataset_dict.json").get("splits", ())]
        if config.split not in splits:
            raise _no_split(config.split, folder, splits)
        return SpooledSource(config, _arrow_files(config, folder / config.split, f"{config.split}/"))
    if (folder / "state.json").is_file():
        saved = _json(folder / "state.json").get("_split")
        if saved is not None and saved != config.split:
            raise _no_split(config.split, folder, [str(saved)])
        return SpooledSource(config, _arrow_files(config, folder, ""))
    by_split: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        by_split.setdefault(_split_of(path, folder, config.split), []).append(path)
    if not by_split:
        raise DataError(
            f"{folder} is no dataset: it has no state.json, no dataset_dict.json and no *.parquet",
            hint="name the folder that save_to_disk was given, or a snapshot of the hub",
        )
    if config.split not in by_split:
        raise _no_split(config.split, folder, list(by_split))
    return SpooledSource(config, parquet_rows(config, by_split[config.split], folder))


def _split_of(path: Path, folder: Path, wanted: str) -> str:
    """By the name of the file, or of its folder where that is the split, as for `train/0000.parquet`."""
    match = _SHARD.fullmatch(path.name)
    name = match["split"] if match else path.stem
    parent = path.parent.name if path.parent != folder else ""
    return parent if parent and (parent == wanted or name.isdigit()) else name


def _no_split(split: str, folder: Path, splits: list[str]) -> DataError:
    return DataError(f"the dataset in {folder} has no split '{split}'{nearest(split, splits)}")


def _arrow_files(config: HfDatasetConfig, folder: Path, prefix: str) -> Iterator[RawRow]:
    state = _json(folder / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(
            f"the dataset in {folder} was saved as a selection of rows", hint="call flatten_indices() and save it again"
        )
    names = [Path(str(entry["filename"])).name for entry in state.get("_data_files", ())]
    for name in names:
        path, label = folder / name, prefix + name
        try:
            with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as reader:
                yield from arrow_rows(reader, layout_of(config, reader.schema, label), label)
        except FileNotFoundError:
            raise DataError(
                f"state.json names a file {name} that is not in {folder}", hint="copy the folder whole"
            ) from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"the file cannot be read as Arrow: {str(error).splitlines()[0]}",
                file=label,
                hint="copy it again, whole",
            ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="save the dataset again") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} holds no object", hint="save the dataset again")
    return values
