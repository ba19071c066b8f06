"""Rewards of several completions of one prompt, with the prompt computed once.

Legend: T tokens behind the shared ones, N completions, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rft_preference.tokens import scored_row
from rft_torch.forward import can_share_prefixes, pack, wanted_hidden
from rft_torch.memory import enough_memory
from rft_torch.scalar import scalar_values

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TO_FIT = "Lower the grader's batch_size, or free the device: samplers and the trainer share it."


class Scorer:
    """Holds a reward model. Not for several threads at once. In half precision it computes under autocast, as in
    training: an adapter and its head are float32."""

    def __init__(self, model: PreTrainedModel, *, dtype: torch.dtype, batch_size: int) -> None:
        self._model = model
        self._dtype = dtype
        self._batch_size = batch_size
        self._share = can_share_prefixes(model)

    def rewards(self, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> list[float]:
        """The reward of each completion, which ends in its end of sequence. `batch_size` of them are computed at
        once; one by one, they do not depend on each other."""
        half = self._dtype != torch.float32
        autocast = torch.autocast(self._model.device.type, dtype=self._dtype if half else None, enabled=half)
        with torch.no_grad(), autocast, enough_memory("scoring", TO_FIT):
            if self._batch_size == 1 and self._share and len(prompt) > 1:
                return [
                    float(scalar_values(self._model, hidden_1H)) for hidden_1H in self._one_by_one(prompt, completions)
                ]
            found: list[float] = []
            for start in range(0, len(completions), self._batch_size):
                part = completions[start : start + self._batch_size]
                rows = [scored_row(prompt, completion, share_prompt=self._share) for completion in part]
                batch = pack(rows, self._model.device)
                values_N: Tensor = scalar_values(self._model, wanted_hidden(self._model, batch))
                found += values_N.tolist()
            return found

    def _one_by_one(self, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> list[Tensor]:
        """hidden_1H at the last token of each completion. All continue one key-value cache of the prompt, which is
        put back to it each time."""
        from transformers import DynamicCache

        below = self._model.base_model
        cache = DynamicCache(config=self._model.config)
        shared = len(prompt) - 1
        below(input_ids=self._ids(prompt[:shared]), past_key_values=cache, use_cache=True)
        kept = [(layer.keys, layer.values) for layer in cache.layers]
        found = []
        for completion in completions:
            ids_1T = self._ids([prompt[-1], *completion])
            hidden_1TH: Tensor = below(input_ids=ids_1T, past_key_values=cache, use_cache=True).last_hidden_state
            found.append(hidden_1TH[:, -1])
            for layer, (keys, values) in zip(cache.layers, kept, strict=True):
                layer.keys, layer.values = keys, values
        return found

    def _ids(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(ids)], device=self._model.device)
