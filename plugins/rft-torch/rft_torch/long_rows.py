"""Rows that are longer than the model reads: refused, or with `on_long_row: drop` left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rft_core.errors import DataError
from rft_core.protocols import DataSource
from rft_core.types import Item

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def context_of(model: PreTrainedModel) -> int | None:
    """Most tokens that the model reads; None if it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def too_long(key: str, length: int, context: int) -> DataError:
    """What is wrong with a row of `length` tokens."""
    return DataError(
        f"row {key} has {length} tokens, but the model reads {context}; shorten the row, or set "
        "optimizer.on_long_row: drop"
    )


def check_some_fit(source: DataSource | None, fits: Callable[[Item], bool], context: int | None) -> None:
    """DataError if all rows to train on would be dropped. Looks no further than the first that fits."""
    if source is not None and not any(fits(source.item(index)) for index in range(len(source))):
        raise DataError(
            f"all {len(source)} training rows are longer than the {context} tokens that the model reads, and "
            "optimizer.on_long_row: drop leaves them out; shorten them, or take a model that reads more"
        )


def alarms_of(rows: int, kept: int, context: int | None) -> tuple[str, ...]:
    """What to say of a step that trained on `kept` of its rows: nothing, unless all were dropped."""
    if kept or not rows:
        return ()
    return (
        f"nothing was learned: all {rows} rows of the step are longer than the {context} tokens that the model reads, "
        "and optimizer.on_long_row: drop leaves them out",
    )
