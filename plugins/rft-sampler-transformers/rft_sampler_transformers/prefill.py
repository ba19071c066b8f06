"""One forward pass over each distinct prompt of a unit.

Prompts are padded on the right: under a causal mask no prompt token sees the padding behind it, so no
padding mask is needed and the keys, values and logits are those of the prompt alone.

Shapes: P prompts, L prompt tokens, V vocabulary, R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rft_sampler_transformers.cache import PrefillLayer, concatenate, prefill_cache

MAX_LOGITS = 1 << 26
"""Most logits that one forward pass may make, 256 MiB of float32."""


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Prompts ready to be decoded from."""

    index: dict[int, int]
    """Number of the prompt in the unit → its row here."""
    lengths: dict[int, int]
    layers: list[PrefillLayer]
    last_logits: Tensor
    """(P, V): logits of each prompt's last token."""

    def only(self, prompt: int) -> Prefilled:
        """One prompt, in memory of its own."""
        row, length = self.index[prompt], self.lengths[prompt]
        layers = []
        for layer in self.layers:
            kept = PrefillLayer()
            kept.lazy_initialization(
                layer.keys[row : row + 1, :, :length].clone(), layer.values[row : row + 1, :, :length].clone()
            )
            layers.append(kept)
        return Prefilled({prompt: 0}, {prompt: length}, layers, self.last_logits[row : row + 1].clone())

    def sources(self, prompts: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor | None]:
        """For `SlotCache.enter`: each row's prompt here, and which prompt token goes to which of the last
        L columns (those before a prompt's start repeat its first token, behind the mask)."""
        which_R = torch.tensor([self.index[prompt] for prompt in prompts], device=device)
        lengths = [self.lengths[prompt] for prompt in prompts]
        longest = max(lengths)
        # The layers may be longer than these prompts, for the sake of others.
        if min(lengths) == longest == self.layers[0].keys.shape[2]:
            return which_R, None
        columns_L = torch.arange(longest, device=device) - longest
        source_RL = columns_L[None, :] + torch.tensor(lengths, device=device)[:, None]
        return which_R, source_RL.clamp_(min=0)


def prefill(model: Any, prompts: dict[int, list[int]], *, layers: int, vocab_size: int, max_tokens: int) -> Prefilled:
    """Keys, values and last logits of the prompts, by number. Prompts of like length share a pass."""
    parts: list[list[PrefillLayer]] = []
    logits: list[Tensor] = []
    order: list[int] = []
    for chunk in _chunks(prompts, vocab_size, max_tokens):
        part, logits_PV = _forward(model, [prompts[number] for number in chunk], layers)
        parts.append(part)
        logits.append(logits_PV)
        order += chunk
    longest = max(len(ids) for ids in prompts.values())
    lengths = {number: len(ids) for number, ids in prompts.items()}
    index = {number: row for row, number in enumerate(order)}
    return Prefilled(index, lengths, concatenate(parts, longest), torch.cat(logits))


def join(first: Prefilled | None, second: Prefilled | None) -> Prefilled:
    """Both in one."""
    if first is None or second is None:
        (only,) = [part for part in (first, second) if part is not None]
        return only
    offset = len(first.index)
    index = first.index | {number: row + offset for number, row in second.index.items()}
    lengths = first.lengths | second.lengths
    layers = concatenate([first.layers, second.layers], max(lengths.values()))
    return Prefilled(index, lengths, layers, torch.cat([first.last_logits, second.last_logits]))


def _chunks(prompts: dict[int, list[int]], vocab_size: int, max_tokens: int) -> Iterator[list[int]]:
    """Numbers of prompts by length, as many in a chunk as fit the limits; at least one."""
    chunk: list[int] = []
    lengths: set[int] = set()
    for number in sorted(prompts, key=lambda number: (len(prompts[number]), number)):
        length = len(prompts[number])
        rows = len(chunk) + 1
        too_many = rows * length > max_tokens or rows * len(lengths | {length}) * vocab_size > MAX_LOGITS
        if chunk and too_many:
            yield chunk
            chunk, lengths = [], set()
        chunk.append(number)
        lengths.add(length)
    yield chunk


def _forward(model: Any, prompts: list[list[int]], layers: int) -> tuple[list[PrefillLayer], Tensor]:
    longest = max(len(ids) for ids in prompts)
    ids_PL = torch.tensor([ids + [0] * (longest - len(ids)) for ids in prompts], device=model.device)
    ends = sorted({len(ids) - 1 for ids in prompts})
    cache = prefill_cache(layers)
    logits_PEV = model(
        input_ids=ids_PL,
        position_ids=torch.arange(longest, device=model.device)[None, :].expand(len(prompts), -1),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor(ends, device=model.device),
    ).logits
    where = torch.tensor([ends.index(len(ids) - 1) for ids in prompts], device=model.device)
    return cache.layers, logits_PEV[torch.arange(len(prompts), device=model.device), where]
