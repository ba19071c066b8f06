"""Settings of the data sources of this package."""

from __future__ import annotations

import codecs
import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rft_core import ComponentConfig
from rft_core.template import compile_variable, variables

Operation = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "contains", "exists", "missing"]


class RowsConfig(ComponentConfig):
    """`offset` and `limit` count rows, good and bad, so that two selections that do not overlap never share
    a row."""

    path: str = Field(min_length=1, description="A relative path starts at the folder of the run file.")
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="Stop at a row that cannot be used, or leave it out and count it."
    )
    offset: int = Field(0, ge=0, description="Pass over this many rows at the start.")
    limit: int | None = Field(None, ge=1, description="Take at most this many rows; null takes all.")


class TableConfig(RowsConfig):
    """Rows that have columns."""

    columns: list[str] | None = Field(
        None, min_length=1, description="Columns to keep, the others are never read; null keeps all."
    )
    prompt: str | None = Field(
        None,
        description="Template of the user's message, such as `What is {{item.question}}?`; null where a column `messages` holds the prompt.",
    )
    system: str | None = Field(None, description="Template of a developer message before the prompt.")

    @field_validator("prompt", "system")
    @classmethod
    def _of_the_row(cls, template: str | None) -> str | None:
        for name in variables(template or ""):
            if not name.startswith("item."):
                raise ValueError(
                    f"{{{{{name}}}}} is of a completion, and the prompt comes before it; use {{{{item.…}}}}"
                )
        return template

    @model_validator(mode="after")
    def _system_needs_prompt(self) -> TableConfig:
        if self.system is not None and self.prompt is None:
            raise ValueError("system goes with prompt; without one the column messages is the whole prompt")
        return self


class CsvConfig(TableConfig):
    delimiter: str = Field(",", min_length=1, max_length=1, description='What separates columns; "\\t" for tabs.')
    encoding: str = Field("utf-8", description="How the file's text is encoded; a byte order mark is passed over.")
    json_columns: list[str] = Field(
        [],
        description="Columns whose cells are JSON, such as numbers and lists; all others are text. `messages` and `tools` are JSON always.",
    )

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str) -> str:
        if delimiter in '"\r\n':
            raise ValueError(f"{delimiter!r} cannot separate columns")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            codecs.lookup(encoding)
            "".encode(encoding)
        except LookupError:
            raise ValueError(
                f"there is no text encoding '{encoding}'; most files are utf-8, utf-16 or cp1252"
            ) from None
        return encoding


class ParquetConfig(TableConfig):
    """One file, or all `*.parquet` of a folder in the order of their names."""


class HfDatasetConfig(TableConfig):
    split: str = Field("train", min_length=1, description="Which split of the dataset.")


class ShardsConfig(RowsConfig):
    """All `*.jsonl` and `*.jsonl.gz` of a folder, in the order of their names."""


class WrapperConfig(ComponentConfig):
    source: dict[str, Any] = Field(description="The data source that rows come from, with its `type`.")

    @field_validator("source")
    @classmethod
    def _typed(cls, source: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(source.get("type"), str):
            raise ValueError("the source needs a 'type', such as csv")
        return source


class SplitConfig(WrapperConfig):
    part: str = Field("train", description="Which of the parts these rows are.")
    fractions: dict[str, float] = Field(
        {"train": 0.8, "validation": 0.1, "test": 0.1}, description="How large each part is, by its name; together 1."
    )
    by: str | None = Field(
        None,
        description="Key, such as `pmid` or `patient.id`, whose equal values stay in one part; null for the whole row.",
    )
    seed: int = Field(0, ge=0, description="Another seed, another split. The same for all parts of one.")

    @field_validator("by")
    @classmethod
    def _is_a_key(cls, key: str | None) -> str | None:
        return None if key is None else checked_key(key)

    @model_validator(mode="after")
    def _parts(self) -> SplitConfig:
        if self.part not in self.fractions:
            raise ValueError(f"there is no part '{self.part}' in fractions ({', '.join(self.fractions)})")
        if any(not 0 < fraction <= 1 for fraction in self.fractions.values()):
            raise ValueError("each of the fractions is above 0 and at most 1")
        if abs(math.fsum(self.fractions.values()) - 1) > 1e-9:
            raise ValueError(f"the fractions add up to {math.fsum(self.fractions.values()):g}, not to 1")
        return self


class Condition(ComponentConfig):
    key: str = Field(description="Key of the row, such as `year` or `patient.age`.")
    op: Operation = Field(
        "eq",
        description="eq, ne, lt, le, gt, ge compare; in and not_in look in a list; contains looks in the row's text or list; exists and missing ask for the key.",
    )
    value: Any = Field(None, description="What to compare with; none for exists and missing.")

    @field_validator("key")
    @classmethod
    def _is_a_key(cls, key: str) -> str:
        return checked_key(key)

    @model_validator(mode="after")
    def _fits(self) -> Condition:
        if self.op in ("in", "not_in") and not isinstance(self.value, list):
            raise ValueError(f"{self.op} needs a list as its value")
        if self.op in ("lt", "le", "gt", "ge") and (
            isinstance(self.value, bool) or not isinstance(self.value, int | float | str)
        ):
            raise ValueError(f"{self.op} needs a number or a text as its value")
        if self.op in ("exists", "missing") and "value" in self.model_fields_set:
            raise ValueError(f"{self.op} takes no value")
        if self.op not in ("exists", "missing") and "value" not in self.model_fields_set:
            raise ValueError(f"{self.op} needs a value")
        return self


class FilterConfig(WrapperConfig):
    where: list[Condition] = Field(min_length=1, description="Conditions that a row meets, all of them.")


def checked_key(key: str) -> str:
    """ValueError unless the key leads somewhere in a row, as `item.<key>` does in a template."""
    compile_variable(f"item.{key}")
    return key
