"""Stop strings, found without decoding every completion after every token.

A completion can only come to contain a stop string by a token whose text holds a stop string's last
character. Of rows with such a token the last few are decoded and searched; the whole row, where that
finds something.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

REPLACEMENT = "\ufffd"
"""What a decoder writes for a part of a character: such a token may complete any character."""
TOKENS_PER_CHARACTER = 4
"""Most tokens that one character takes: the bytes of its UTF-8."""
MARGIN = 8
"""Tokens at the head of a tail, whose text may differ from theirs in the whole: parts of a character, a lost space."""


class Decoder:
    """Token ids to text, as graders see it: without special tokens, otherwise unchanged."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._silent = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        self.candidates = lru_cache(maxsize=16)(self._candidates)

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The text of each row of token ids."""
        return [str(text) for text in self._decode(rows)]

    def tails(self, rows: Sequence[Sequence[int]], stop: tuple[str, ...]) -> list[str]:
        """The end of each row's text: it holds a stop string if the row's last token has completed one."""
        count = TOKENS_PER_CHARACTER * max(map(len, stop)) + MARGIN
        spoken = ((token for token in reversed(row) if token not in self._silent) for row in rows)
        return self.texts([list(islice(tokens, count))[::-1] for tokens in spoken])

    def _candidates(self, stop: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which tokens can complete a stop string: bool of shape (vocabulary,)."""
        last = {text[-1] for text in stop}
        if any(character.isspace() for character in last):
            return np.ones(self._vocab_size, dtype=np.bool_)  # a lone token's text may lack its space
        pieces = self._decode([[token] for token in range(self._vocab_size)])
        return np.array([not last.isdisjoint(piece) or REPLACEMENT in piece for piece in pieces], dtype=np.bool_)

    def _decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        decoded: list[str] = self._tokenizer.batch_decode(
            [list(row) for row in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return decoded


def find_stop(text: str, stop: tuple[str, ...]) -> int | None:
    """Where the first match of any stop string begins, or None."""
    found = [at for at in (text.find(string) for string in stop) if at >= 0]
    return min(found) if found else None
