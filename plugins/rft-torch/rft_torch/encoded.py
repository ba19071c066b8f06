"""Rows to learn from as tokens: all made before the first step, so that a bad one is known at once, and only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rft_core.errors import DataError
from rft_core.protocols import DataSource
from rft_core.types import Item

Encoded = TypeVar("Encoded")

MOST_KEPT = 1 << 16
"""Rows that are encoded before the first step, and kept: of 400 tokens each, 1.3 ms and 15 KB, in all some 80 s and 1 GB.
What comes after them is encoded when it is drawn."""


class EncodedRows(Generic[Encoded]):
    """The rows of one data source as what `encode` makes of them, None for those to leave out. Every epoch sees them
    again, so they are remembered by key, which is unique in its source only."""

    def __init__(self, encode: Callable[[Item], Encoded | None]) -> None:
        self._encode = encode
        self._kept: dict[str, Encoded | None] = {}

    def of(self, items: Sequence[Item]) -> list[Encoded | None]:
        """One for each item. Errors of `encode` pass."""
        return [self._one(item) for item in items]

    def look_at(self, source: DataSource | None, context: int | None) -> None:
        """Encode the rows to train on. DataError for the first that is bad, and if all are to be left out, being longer
        than the `context`."""
        if source is None:
            return
        some = False
        for index in range(len(source)):
            if some and index >= MOST_KEPT:
                return
            some |= self._one(source.item(index)) is not None
        if not some:
            raise DataError(
                f"all {len(source)} training rows are longer than the {context} tokens that the model reads, and "
                "optimizer.on_long_row: drop leaves them out; shorten them, or take a model that reads more"
            )

    def _one(self, item: Item) -> Encoded | None:
        if item.key in self._kept:
            return self._kept[item.key]
        row = self._encode(item)
        if len(self._kept) < MOST_KEPT:
            self._kept[item.key] = row
        return row
