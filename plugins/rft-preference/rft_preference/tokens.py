"""From a prompt and a completion to tokens: one way for training and for serving.

    prompt by the chat template · completion · end of sequence

A reward is the value at the end of sequence, so every completion gets one, cut off or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rft_core.errors import ModelError
from rft_torch.batching import TokenRow
from rft_torch.models import encode_completion, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ANY = 0
"""A token behind the last one that is read: its value is asked for, what it is changes nothing."""


class Encoder:
    """Tokens of prompts and completions. ModelError for a tokenizer without an end of sequence."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the model's tokenizer names no end-of-sequence token, so no completion could be ended")
        self._tokenizer = tokenizer

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        """DataError if the chat template refuses the messages, or if they come to no token."""
        return tuple(encode_prompt(self._tokenizer, messages, tools))

    def completion(self, text: str) -> tuple[int, ...]:
        """At least one token: the end of sequence."""
        return (*self._tokenizer(text, add_special_tokens=False)["input_ids"], self._tokenizer.eos_token_id)

    def lesson(self, text: str) -> tuple[int, ...]:
        """The same of a completion to learn from. DataError for a text that the tokenizer does not know whole."""
        return tuple(encode_completion(self._tokenizer, text))


def policy_row(prompt: Sequence[int], completion: Sequence[int], *, share_prompt: bool) -> TokenRow:
    """A row whose wanted tokens are those of the completion."""
    length = len(prompt) + len(completion)
    shared = len(prompt) - 1 if share_prompt else 0
    return TokenRow(ids=(*prompt, *completion), wanted=tuple(range(len(prompt), length)), shared=shared)


def scored_row(prompt: Sequence[int], completion: Sequence[int], *, share_prompt: bool) -> TokenRow:
    """A row of which one value is wanted: that at the last token, which stands before the one asked for."""
    ids = (*prompt, *completion, ANY)
    return TokenRow(ids=ids, wanted=(len(ids) - 1,), shared=len(prompt) - 1 if share_prompt else 0)
