"""Rows that are longer than the model reads: refused, or with `on_long_row: drop` left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rft_core.errors import DataError

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


def alarms_of(rows: int, kept: int, context: int | None) -> tuple[str, ...]:
    """What to say of a step that trained on `kept` of its rows: nothing, unless all were dropped."""
    if kept or not rows:
        return ()
    return (
        f"nothing was learned: all {rows} rows of the step are longer than the {context} tokens that the model reads, "
        "and optimizer.on_long_row: drop leaves them out",
    )
