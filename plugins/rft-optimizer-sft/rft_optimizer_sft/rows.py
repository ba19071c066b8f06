"""Data rows as token rows: the prompt by the chat template, then the target and the end of sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rft_core.errors import DataError, ModelError
from rft_core.types import Item
from rft_optimizer_sft.targets import target_of
from rft_torch.batching import TokenRow, token_row
from rft_torch.long_rows import too_long
from rft_torch.models import encode_completion, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class RowEncoder:
    """Encodes items, each by itself."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, target: str, *, max_tokens: int | None, drop_long: bool = False
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "the model's tokenizer names no end-of-sequence token, so a completion could not be taught to end"
            )
        self._tokenizer = tokenizer
        self._target = target
        self._max_tokens = max_tokens
        self._drop_long = drop_long

    def encode(self, item: Item) -> TokenRow | None:
        """None for an item that is too long and to be dropped. DataError, with the item's key, for one that cannot be a
        row."""
        messages = item.row.get("messages")
        if not isinstance(messages, list | tuple) or not messages:
            raise DataError(f"row {item.key} has no messages to answer; give it a list of messages")
        try:
            prompt = encode_prompt(self._tokenizer, messages, item.row.get("tools") or ())
        except DataError as error:
            raise DataError(f"row {item.key}: {error}") from error
        completion = self._completion(item)
        length = len(prompt) + len(completion)
        if self._max_tokens is not None and length > self._max_tokens:
            if self._drop_long:
                return None
            raise too_long(item.key, length, self._max_tokens)
        return token_row([*prompt, *completion], range(len(prompt), length), share_prompt=False)

    def _completion(self, item: Item) -> list[int]:
        text = target_of(item, self._target)
        try:
            completion = encode_completion(self._tokenizer, text)
        except DataError as error:
            raise DataError(f"the target of row {item.key} {error}") from error
        if len(completion) == 1:
            raise DataError(f"the target of row {item.key} comes to no token; write another, or remove the row")
        return completion
