"""JSONL rows in the format of OpenAI's RFT: the data source `jsonl`."""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import BuildContext, DataSource, DataSourceSpec, hookimpl
from rft_data_jsonl.config import JsonlConfig


def _build(config: JsonlConfig, context: BuildContext) -> DataSource:
    from rft_data_jsonl.source import JsonlSource

    return JsonlSource(config, context.base_dir)


@hookimpl
def rft_data_sources() -> Iterable[DataSourceSpec]:
    return [
        DataSourceSpec(
            name="jsonl", config=JsonlConfig, build=_build, summary="Rows of a JSONL file, one object per line."
        )
    ]
