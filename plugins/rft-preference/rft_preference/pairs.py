"""Data rows as pairs of token sequences, and which pairs are computed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rft_core.errors import DataError
from rft_core.types import Item
from rft_preference.config import PairsConfig
from rft_preference.texts import margin_of, pair_texts
from rft_preference.tokens import Encoder
from rft_torch.batching import TokenRow, plan, plan_streams
from rft_torch.long_rows import too_long


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt with the completion that is preferred and the other one, both with their end of sequence."""

    key: str
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    margin: float = 0.0

    @property
    def name(self) -> str:
        return f"row {self.key}"

    @property
    def completion_tokens(self) -> int:
        return len(self.chosen) + len(self.rejected)


class PairEncoder:
    """Items as pairs. DataError, with the item's key, for a row that cannot be one."""

    def __init__(self, encoder: Encoder, config: PairsConfig, *, margin: str | None, max_tokens: int | None) -> None:
        self._encoder = encoder
        self._config = config
        self._margin = margin
        self._max_tokens = max_tokens
        self._drop_long = config.on_long_row == "drop"

    def encode(self, item: Item) -> Pair | None:
        """None for one that is too long, where these are to be dropped."""
        messages = item.row.get("messages")
        if not isinstance(messages, list | tuple) or not messages:
            raise DataError(f"row {item.key} has no messages to answer; give it a list of messages")
        try:
            prompt = self._encoder.prompt(messages, item.row.get("tools") or ())
        except DataError as error:
            raise DataError(f"row {item.key}: {error}") from error
        chosen, rejected = self._completions(item)
        length = len(prompt) + max(len(chosen), len(rejected))
        if self._max_tokens is not None and length > self._max_tokens:
            if self._drop_long:
                return None
            raise too_long(item.key, length, self._max_tokens)
        return Pair(item.key, prompt, chosen, rejected, margin_of(item, self._margin))

    def _completions(self, item: Item) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens of the chosen and of the rejected completion."""
        texts = pair_texts(item, self._config)
        chosen, rejected = (self._tokens(item, side, text) for side, text in texts.items())
        if len(chosen) == 1:
            raise DataError(
                f"the chosen completion of row {item.key} comes to no token; write another, or remove the row"
            )
        return chosen, rejected

    def _tokens(self, item: Item, side: str, text: str) -> tuple[int, ...]:
        try:
            return self._encoder.lesson(text)
        except DataError as error:
            raise DataError(f"the {side} completion of row {item.key} {error}") from error


def plan_pairs(rows: Sequence[tuple[TokenRow, TokenRow]], budget_tokens: int, *, packing: bool) -> list[list[int]]:
    """Indices into `rows` per micro-batch, every pair once and whole: its loss needs both of its rows.

    Padded, a pair stands for twice its longer row; in a stream, for both its rows behind one prompt. So micro-batches
    stay within the budget but for a pair that does not fit by itself: it is computed alone.
    """
    if packing:
        both = [replace(chosen, ids=(*chosen.ids, *rejected.ids[rejected.shared : -1])) for chosen, rejected in rows]
        return plan_streams(both, budget_tokens)
    longer = [max(pair, key=lambda row: row.remainder) for pair in rows]
    return plan(longer, budget_tokens // 2)
