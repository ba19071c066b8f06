"""Rows from CSV, Parquet, Hugging Face dataset folders and JSONL shards; splits by key, and filters."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import BuildContext, DataSource, DataSourceSpec, hookimpl
from rft_core.errors import ConfigError
from rft_data_tables.config import (
    CsvConfig,
    FilterConfig,
    HfDatasetConfig,
    ParquetConfig,
    ShardsConfig,
    SplitConfig,
    WrapperConfig,
)


def _csv(config: CsvConfig, context: BuildContext) -> DataSource:
    from rft_data_tables.csv_source import csv_source

    return csv_source(config, context.base_dir)


def _parquet(config: ParquetConfig, context: BuildContext) -> DataSource:
    from rft_data_tables.parquet_source import parquet_source

    return parquet_source(config, context.base_dir)


def _hf_dataset(config: HfDatasetConfig, context: BuildContext) -> DataSource:
    from rft_data_tables.hf_source import hf_dataset

    return hf_dataset(config, context.base_dir)


def _jsonl_shards(config: ShardsConfig, context: BuildContext) -> DataSource:
    from rft_data_tables.shards import jsonl_shards

    return jsonl_shards(config, context.base_dir)


def _inner(config: WrapperConfig, context: BuildContext) -> DataSource:
    if context.build_source is None:
        raise ConfigError("this data source needs a host that can build others, and this one cannot")
    return context.build_source(config.source)


def _split(config: SplitConfig, context: BuildContext) -> DataSource:
    from rft_data_tables.wrappers import split

    return split(config, _inner(config, context))


def _filter(config: FilterConfig, context: BuildContext) -> DataSource:
    from rft_data_tables.wrappers import filtered

    return filtered(config, _inner(config, context))


@hookimpl
def rft_data_sources() -> Iterable[DataSourceSpec]:
    return [
        DataSourceSpec(name="csv", config=CsvConfig, build=_csv, summary="Rows of a CSV file with a line of names."),
        DataSourceSpec(
            name="parquet",
            config=ParquetConfig,
            build=_parquet,
            summary="Rows of a Parquet file, or of a folder of them.",
        ),
        DataSourceSpec(
            name="hf_dataset",
            config=HfDatasetConfig,
            build=_hf_dataset,
            summary="Rows of a Hugging Face dataset on this machine: of save_to_disk, or a snapshot of the hub.",
        ),
        DataSourceSpec(
            name="jsonl_shards",
            config=ShardsConfig,
            build=_jsonl_shards,
            summary="Rows of all *.jsonl and *.jsonl.gz in a folder.",
        ),
        DataSourceSpec(
            name="split",
            config=SplitConfig,
            build=_split,
            summary="A part of another source; rows with the same key are in the same part.",
        ),
        DataSourceSpec(
            name="filter",
            config=FilterConfig,
            build=_filter,
            summary="The rows of another source that meet conditions.",
        ),
    ]
