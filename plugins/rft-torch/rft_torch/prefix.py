"""Keys and values of shared prefixes, in place of transformers' growing cache.

Both caches answer `update` without changing what they would answer next: activation checkpointing calls it a second
time for each layer, in its own order, and has to find the same.

Legend: U distinct prefixes, P prefix length, B rows, T remainder length, K heads of keys, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

KeysValues = tuple[Tensor, Tensor]


class _Pure(Cache):  # type: ignore[misc]
    """A cache without state of transformers' kind, as long as `length`."""

    def __init__(self, length: int) -> None:
        super().__init__(layers=[])
        self._length = length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self._length

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self._length + query_length, 0


class PrefixKeys(_Pure):
    """Keeps what each layer computes for the prefixes, and gives it back as it is."""

    def __init__(self) -> None:
        super().__init__(0)
        self.kept: dict[int, KeysValues] = {}

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> KeysValues:
        # the first call's tensors are those the rows have read: a recomputation must not put others in their place
        self.kept.setdefault(layer_idx, (key_states, value_states))
        return key_states, value_states


class AfterPrefix(_Pure):
    """Puts each row's prefix before its keys and values, in one copy."""

    def __init__(self, prefixes: PrefixKeys, length: int, prefix_of_B: Tensor) -> None:
        super().__init__(length)
        self._kept = prefixes.kept
        self._of_B = prefix_of_B
        count = int(prefix_of_B.max()) + 1
        self._rows = len(prefix_of_B) // count  # of each prefix, if all have as many and lie together
        lying = torch.arange(count, device=prefix_of_B.device).repeat_interleave(self._rows)
        self._even = len(lying) == len(prefix_of_B) and bool((lying == prefix_of_B).all())

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> KeysValues:
        keys, values = self._kept[layer_idx]
        return self._join(keys, key_states), self._join(values, value_states)

    def _join(self, prefix_UKPD: Tensor, own_BKTD: Tensor) -> Tensor:
        if not self._even:
            return torch.cat([prefix_UKPD.index_select(0, self._of_B), own_BKTD], dim=2)
        own_URKTD = own_BKTD.reshape(len(prefix_UKPD), self._rows, *own_BKTD.shape[1:])
        before_URKPD = prefix_UKPD[:, None].expand(-1, self._rows, -1, -1, -1)
        return torch.cat([before_URKPD, own_URKTD], dim=3).flatten(0, 1)
