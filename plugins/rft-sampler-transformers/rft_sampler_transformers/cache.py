"""Key-value caches written in place.

transformers' own DynamicCache grows by concatenation, which copies all keys and values for every
token. Here all rows write the same column of one allocation, so a step writes one slice per layer and
attends to a view. A row whose prompt is shorter, or which joins later, starts at a later column; the
positions that its rotary embedding sees are its own, so only the mask knows about columns.

Shapes: S slots, B live rows, H key-value heads, C columns, D head size, P prompts, L prompt tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Window:
    """What a decoding step sees: slots [0, rows) and columns [first, column], of which it writes the last."""

    def __init__(self) -> None:
        self.rows = 0
        self.first = 0
        self.column = 0


class PrefillLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """Keeps the keys and values of one forward pass over whole prompts."""

    is_sliding = False

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = key_states, value_states
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self.lazy_initialization(key_states, value_states)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """The keys and values of one layer for all rows that are being decoded: (S, H, C, D) each."""

    is_sliding = False

    def __init__(self, window: Window, slots: int, columns: int) -> None:
        super().__init__()
        self._window, self._slots, self._columns = window, slots, columns

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for rows shaped like `key_states` and `value_states`. Zeroed: what a row's mask hides
        is multiplied by 0, and must therefore be finite."""
        shape_k = (self._slots, key_states.shape[1], self._columns, key_states.shape[3])
        shape_v = (self._slots, value_states.shape[1], self._columns, value_states.shape[3])
        self.keys, self.values = key_states.new_zeros(shape_k), value_states.new_zeros(shape_v)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return self.write(key_states[:, :, 0], value_states[:, :, 0])

    def write(self, key_BHD: Tensor, value_BHD: Tensor) -> tuple[Tensor, Tensor]:
        """Write the current column; the keys and values of all columns that the window shows."""
        w = self._window
        keys, values = self.keys[: w.rows], self.values[: w.rows]
        keys[:, :, w.column] = key_BHD
        values[:, :, w.column] = value_BHD
        return keys[:, :, w.first : w.column + 1], values[:, :, w.first : w.column + 1]

    def grow(self, more: int) -> None:
        """Add `more` columns on the right."""
        self._columns += more
        if self.is_initialized:
            self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, more))
            self.values = torch.nn.functional.pad(self.values, (0, 0, 0, more))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._window.column - self._window.first

    def get_max_length(self) -> int:
        return self._columns


class SlotCache(Cache):  # type: ignore[misc]  # transformers is untyped
    """One SlotLayer per layer of the model, and the moves that keep its live rows together."""

    def __init__(self, window: Window, *, layers: int, slots: int, columns: int) -> None:
        self.window = window
        self.columns = columns
        super().__init__(layers=[SlotLayer(window, slots, columns) for _ in range(layers)])

    def enter(self, slot: int, prompts: list[PrefillLayer], which_R: Tensor, source_RL: Tensor | None) -> None:
        """Put R rows into the slots from `slot` on, their prompts ending before the current column.

        `which_R` is each row's prompt in `prompts`; `source_RL` the prompt token that belongs into each
        of the last L columns, or None if all prompts have the same length.
        """
        end = self.window.column
        for layer, prompt in zip(self.layers, prompts, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(prompt.keys, prompt.values)
            for live, given_PHLD in ((layer.keys, prompt.keys), (layer.values, prompt.values)):
                if source_RL is None:
                    rows_RHLD = given_PHLD.index_select(0, which_R)
                else:
                    rows_RHLD = given_PHLD.transpose(1, 2)[which_R[:, None], source_RL].transpose(1, 2)
                live[slot : slot + len(which_R), :, end - rows_RHLD.shape[2] : end] = rows_RHLD

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy the rows in the slots `source` into the slots `target`; the two are disjoint."""
        columns = slice(self.window.first, self.window.column)
        for layer in self.layers:
            for live in (layer.keys, layer.values):
                live[target, :, columns] = live[source, :, columns]

    def shift(self, columns: int) -> None:
        """Move the seen columns of the live rows to the left, and the window with them."""
        w = self.window
        for layer in self.layers:
            for live in (layer.keys, layer.values):
                seen = live[: w.rows, :, w.first : w.column].clone()
                live[: w.rows, :, w.first - columns : w.column - columns] = seen
        w.first -= columns
        w.column -= columns

    def grow(self, columns: int) -> None:
        """Make room for `columns` columns; what is stored stays."""
        more = columns - self.columns
        for layer in self.layers:
            layer.grow(more)
        self.columns = columns


def prefill_cache(layers: int) -> Cache:
    """An empty cache for one forward pass over prompts."""
    return Cache(layers=[PrefillLayer() for _ in range(layers)])


def concatenate(parts: list[list[PrefillLayer]], length: int) -> list[PrefillLayer]:
    """The prompts of several forward passes as one, padded on the right to `length` tokens."""
    if len(parts) == 1:
        return parts[0]
    joined = []
    for layers in zip(*parts, strict=True):
        layer = PrefillLayer()
        keys = torch.cat([_pad(part.keys, length) for part in layers])
        values = torch.cat([_pad(part.values, length) for part in layers])
        layer.lazy_initialization(keys, values)
        joined.append(layer)
    return joined


def _pad(states_PHLD: Tensor, length: int) -> Tensor:
    missing = length - states_PHLD.shape[2]
    return torch.nn.functional.pad(states_PHLD, (0, 0, 0, missing)) if missing else states_PHLD
