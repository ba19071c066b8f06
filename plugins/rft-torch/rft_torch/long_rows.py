"""Rows that are longer than the model reads: refused, or with `on_long_row: drop` left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rft_core.errors import DataError
from rft_core.protocols import DataSource
from rft_core.rows import prompt_text
from rft_torch.models import load_tokenizer
from rft_torch.prompts import check_length, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def context_of(model: PreTrainedModel) -> int | None:
    """Most tokens that the model reads; None if it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def refuse_long_prompts(source: DataSource | None, context: int | None, folder: Path) -> None:
    """DataError for the first row whose prompt fills the `context` of the model in `folder`, so that a run does not end
    in the middle for want of room. Only rows whose text has half as many bytes as the model reads tokens, or that have
    tools, are encoded: without them what the template adds does not fill the other half, and if it did, the sampler
    would say so."""
    if source is None or context is None:
        return
    tokenizer = None
    for index in range(len(source)):
        item = source.item(index)
        messages, tools = item.row["messages"], item.row.get("tools") or ()
        if not tools and 2 * len(prompt_text(item.row).encode()) < context:
            continue
        tokenizer = tokenizer or load_tokenizer(folder)
        try:
            check_length(encode_prompt(tokenizer, messages, tools), context)
        except DataError as error:
            raise error.located(item.key, None) from None


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
