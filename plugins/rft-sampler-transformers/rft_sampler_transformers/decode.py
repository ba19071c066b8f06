"""Decoding the rollouts of one unit: a batch whose finished rows make room for waiting ones.

Which rows share a batch, and when one enters, follows from the unit and the tokens drawn so far, never
from time: the same unit is computed in the same way everywhere.

Shapes: B live rows, V vocabulary, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rft_core.types import FinishReason, SamplingParams
from rft_sampler_transformers.cache import SlotCache, Window
from rft_sampler_transformers.distribution import choose, log_distribution
from rft_sampler_transformers.draws import keys_of, uniforms
from rft_sampler_transformers.prefill import Prefilled, join, prefill
from rft_sampler_transformers.steps import choose_step
from rft_sampler_transformers.stops import Decoder, find_stop

FIRST_COLUMNS = 128
"""Columns for completions that a cache starts with; it doubles when they are used up."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout to draw."""

    prompt: int
    """Number of its distinct prompt."""
    seed: int
    limit: int
    """Most tokens of its completion, at least 1."""


@dataclass(slots=True)
class Drawn:
    """What a row has drawn so far."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason = "length"
    cut: int | None = None
    """Where in the text a stop string begins."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What decoding needs to know beside the model."""

    layers: int
    vocab_size: int
    max_batch: int
    max_cache_bytes: int
    token_bytes: int
    """Memory for the keys and values of one token."""
    prefill_tokens: int
    eos: frozenset[int]


class Decoding:
    """See the module. One object decodes one unit. FloatingPointError if the model computes no numbers."""

    def __init__(
        self,
        model: Any,
        decoder: Decoder,
        limits: Limits,
        prompts: Sequence[list[int]],
        rows: Sequence[Row],
        params: SamplingParams,
    ) -> None:
        self._model, self._decoder, self._limits, self._params = model, decoder, limits, params
        self._prompts, self._rows = prompts, rows
        self._step = choose_step(model)
        self._drawn = [Drawn() for _ in rows]
        # Rows of one prompt wait next to each other, so that at most one prompt is split between waves.
        self._waiting = sorted(range(len(rows)), key=lambda row: (rows[row].prompt, row))
        self._carried: Prefilled | None = None
        self._keys_all = keys_of([row.seed for row in rows])
        self._limits_all = np.array([row.limit for row in rows], dtype=np.int64)
        self._ends = np.zeros(limits.vocab_size, dtype=np.bool_)
        self._ends[[token for token in limits.eos if token < limits.vocab_size]] = True
        self._candidates = decoder.candidates(params.stop) if params.stop else None
        self._device: torch.device = model.device
        self._longest_prompt = max(len(prompts[row.prompt]) for row in rows)
        self._slots, self._most_columns = _cache_size(
            limits, len(rows), self._longest_prompt + max(row.limit for row in rows)
        )
        columns = min(self._longest_prompt + FIRST_COLUMNS, self._most_columns)
        self._window = Window()
        self._window.column = self._longest_prompt
        self._cache = SlotCache(self._window, layers=limits.layers, slots=self._slots, columns=columns)
        # Of the live rows, by slot: number, first column, tokens drawn.
        self._live: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._starts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def run(self) -> list[Drawn]:
        """Draw all rows; the results are in their order."""
        logits_BV: Tensor | None = None
        while self._waiting or len(self._live):
            if self._admits():
                entered_BV = self._admit()
                logits_BV = entered_BV if logits_BV is None else torch.cat([logits_BV, entered_BV])
            assert logits_BV is not None
            tokens = self._draw(logits_BV)
            logits_BV = self._forward(tokens) if len(tokens) else None
        return self._drawn

    def _admits(self) -> bool:
        """Whether waiting rows enter now: in waves of at least an eighth of the batch, as every wave costs
        a forward pass over its prompts."""
        free = self._slots - len(self._live)
        return bool(self._waiting) and free >= min(max(1, self._slots // 8), len(self._waiting))

    def _admit(self) -> Tensor:
        """Let waiting rows enter; the logits for their first tokens."""
        free = self._slots - len(self._live)
        wave, self._waiting = self._waiting[:free], self._waiting[free:]
        prompts = [self._rows[row].prompt for row in wave]
        ready = self._prefilled(prompts)
        last = prompts[-1]
        split = bool(self._waiting) and self._rows[self._waiting[0]].prompt == last
        which_R, source_RL = ready.sources(prompts, self._device)
        self._cache.enter(len(self._live), ready.layers, which_R, source_RL)
        self._carried = ready.only(last) if split else None
        lengths = np.array([len(self._prompts[prompt]) for prompt in prompts], dtype=np.int64)
        self._live = np.concatenate([self._live, np.array(wave, dtype=np.int64)])
        self._starts = np.concatenate([self._starts, self._window.column - lengths])
        self._counts = np.concatenate([self._counts, np.zeros(len(wave), dtype=np.int64)])
        return ready.last_logits[which_R]

    def _prefilled(self, prompts: list[int]) -> Prefilled:
        carried = self._carried
        new = {number: self._prompts[number] for number in prompts if carried is None or number not in carried.index}
        limits = self._limits
        if not new:
            assert carried is not None
            return carried
        made = prefill(
            self._model, new, layers=limits.layers, vocab_size=limits.vocab_size, max_tokens=limits.prefill_tokens
        )
        return join(carried, made)

    def _draw(self, logits_BV: Tensor) -> NDArray[np.int64]:
        """Draw a token for every live row, retire the finished ones; the tokens of those that go on."""
        params = self._params
        logp_BV = log_distribution(logits_BV, temperature=params.temperature, top_p=params.top_p)
        uniform_B = None
        if params.temperature > 0:
            uniform_B = torch.from_numpy(uniforms(self._keys_all[self._live], self._counts)).to(self._device)
        tokens_B = choose(logp_BV, uniform_B)
        logprobs: NDArray[np.float32] = logp_BV.gather(-1, tokens_B[:, None]).squeeze(-1).cpu().numpy()
        if not np.isfinite(logprobs).all():
            raise FloatingPointError("the logits are not finite")
        tokens: NDArray[np.int64] = tokens_B.cpu().numpy()
        self._counts += 1
        for row, token, logprob in zip(self._live.tolist(), tokens.tolist(), logprobs.tolist(), strict=True):
            drawn = self._drawn[row]
            drawn.tokens.append(token)
            drawn.logprobs.append(logprob)
        finished = self._finished(tokens)
        return self._retire(finished, tokens) if finished.any() else tokens

    def _finished(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        ended = self._ends[tokens]
        if self._candidates is not None:
            self._search_stops(np.flatnonzero(self._candidates[tokens] & ~ended), ended)
        for row in self._live[ended].tolist():
            self._drawn[row].finish_reason = "stop"
        return ended | (self._counts >= self._limits_all[self._live])

    def _search_stops(self, slots: NDArray[np.int64], ended: NDArray[np.bool_]) -> None:
        if not len(slots):
            return
        stop = self._params.stop
        drawn = [self._drawn[row] for row in self._live[slots].tolist()]
        tails = self._decoder.tails([one.tokens for one in drawn], stop)
        for slot, one, tail in zip(slots.tolist(), drawn, tails, strict=True):
            if find_stop(tail, stop) is None:
                continue
            (text,) = self._decoder.texts([one.tokens])
            one.cut = find_stop(text, stop)
            ended[slot] = one.cut is not None

    def _retire(self, finished: NDArray[np.bool_], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take the finished rows out of the batch: the last live rows move into their slots."""
        left = int(len(finished) - finished.sum())
        holes = np.flatnonzero(finished[:left])
        movers = np.flatnonzero(~finished[left:]) + left
        if len(holes):
            self._window.first = int(self._starts.min())
            self._cache.move(torch.from_numpy(movers).to(self._device), torch.from_numpy(holes).to(self._device))
        for array in (self._live, self._starts, self._counts, tokens):
            array[holes] = array[movers]
        self._live, self._starts, self._counts = self._live[:left], self._starts[:left], self._counts[:left]
        return tokens[:left]

    def _forward(self, tokens: NDArray[np.int64]) -> Tensor:
        """Feed every live row its last token; the logits for the next ones."""
        self._make_room()
        window = self._window
        window.rows = len(tokens)
        window.first = int(self._starts.min())
        mask_BC = None
        if int(self._starts.max()) != window.first:
            columns_C = torch.arange(window.first, window.column + 1)
            hidden_BC = columns_C[None, :] < torch.from_numpy(self._starts)[:, None]
            mask_BC = torch.zeros(hidden_BC.shape, dtype=self._model.dtype).masked_fill_(hidden_BC, -torch.inf)
            mask_BC = mask_BC.to(self._device)
        token_B = torch.from_numpy(tokens).to(self._device)
        position_B = torch.from_numpy(window.column - self._starts).to(self._device)
        logits_BV = self._step(self._model, self._cache, token_B, position_B, mask_BC)
        window.column += 1
        return logits_BV

    def _make_room(self) -> None:
        """If the last column is used: move the live rows to the left when that frees enough, else grow."""
        window = self._window
        if window.column < self._cache.columns:
            return
        window.rows, window.first = len(self._live), int(self._starts.min())
        target = max(self._longest_prompt, window.column - window.first)
        if target <= self._cache.columns * 3 // 4 or self._cache.columns == self._most_columns:
            shift = window.column - target
            self._cache.shift(shift)
            self._starts -= shift
        else:
            self._cache.grow(min(2 * self._cache.columns, self._most_columns))


def _cache_size(limits: Limits, rows: int, longest: int) -> tuple[int, int]:
    """Slots, and columns at most, for rows of up to `longest` tokens: within the limits, but for a single row."""

    def fitting(columns: int) -> int:
        return min(limits.max_batch, limits.max_cache_bytes // (limits.token_bytes * columns))

    if fitting(longest) >= rows:
        return rows, longest
    # A batch that others join needs a third more columns than its longest row, so as not to shift often.
    wider = longest * 4 // 3 + 4
    return max(1, fitting(wider)), wider
