"""Rows that are longer than the model reads: refused, or with `on_long_row: drop` left out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rft_core.canonical import canonical_json
from rft_core.errors import DataError
from rft_core.protocols import DataSource
from rft_torch.models import load_tokenizer
from rft_torch.prompts import check_length, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def context_of(model: PreTrainedModel) -> int | None:
    """Most tokens that the model reads; None if it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


MOST_LOOKED_AT = 1 << 16
ADDED_BY_TEMPLATE = 512
"""Tokens that a chat template writes, at most, whatever the messages are: a system prompt of its own, how to call tools.
What it writes around each message is less than JSON does."""


def refuse_long_prompts(source: DataSource, context: int | None, folder: Path, whose: str = "the model") -> None:
    """DataError for the first row whose prompt fills the `context` of the model in `folder`, so that a run does not end
    in the middle for want of room. Rows are encoded whose messages and tools, as JSON, could come to so many tokens, and
    what the chat template adds: a token for each byte is more than they make. Of a source of millions of rows the first
    `MOST_LOOKED_AT` are looked at; the sampler says the same of the others when they are drawn."""
    if context is None:
        return
    tokenizer, added = None, ADDED_BY_TEMPLATE
    for index in range(min(len(source), MOST_LOOKED_AT)):
        item = source.item(index)
        messages, tools = item.row["messages"], item.row.get("tools") or ()
        size = len(canonical_json([messages, tools]))
        if size + (max(ADDED_BY_TEMPLATE, added) if tools else added) < context:
            continue
        if tokenizer is None:
            tokenizer = load_tokenizer(folder)
            added = _added_by_template(tokenizer)
        try:
            check_length(encode_prompt(tokenizer, messages, tools), context, whose)
        except DataError as error:
            raise error.located(item.key, None) from None


def _added_by_template(tokenizer: PreTrainedTokenizerFast) -> int:
    """Of a conversation of one short message; a template may refuse that."""
    with suppress(DataError):
        return len(encode_prompt(tokenizer, [{"role": "user", "content": "1"}]))
    return ADDED_BY_TEMPLATE


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
