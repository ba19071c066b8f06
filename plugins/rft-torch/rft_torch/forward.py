"""The model's hidden states and logits where they are wanted, and nowhere else.

Legend: U distinct prefixes, P prefix length, B rows, T remainder length, N wanted tokens, H hidden size, V vocabulary.

Prefixes that rows share are computed once and expanded as key-value cache, gradients included. Rows
and prefixes are padded on the right: under a causal mask no real token sees a later pad, so prefixes
(and rows without a prefix) need no mask at all and take the fast causal kernel. The output layer runs
on the N wanted positions alone, which makes prompts free of the vocabulary's size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rft_torch.batching import TokenRow, token_row
from rft_torch.spans import NAME, Spans, cut, register

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FILL = 0
"""The pad token. Its embedding is computed and never seen."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows as tensors. Wanted tokens are ordered by row, then by position."""

    inputs_BT: Tensor
    index_N: Tensor
    """Where in the flattened B×T inputs the token before each wanted one stands."""
    targets_N: Tensor
    row_N: Tensor
    """Which row of the micro-batch a wanted token belongs to."""
    prefix_UP: Tensor | None
    prefix_of_B: Tensor
    prefix_length_B: Tensor
    remainder_B: Tensor
    """Tokens of each row behind its prefix; what follows them in `inputs_BT` are pads."""
    spans: Spans | None = None
    """Of a stream: `inputs_BT` is then one row without pads, prefixes first."""
    positions_BT: Tensor | None = None
    """Of a stream: each token's position in its own row."""


def pack(rows: Sequence[TokenRow], device: torch.device) -> MicroBatch:
    """Rows as one padded micro-batch on `device`."""
    prefixes = {prefix: i for i, prefix in enumerate(dict.fromkeys(row.prefix for row in rows))}
    width = max(row.remainder for row in rows)
    inputs: list[list[int]] = []
    index: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    for i, row in enumerate(rows):
        inputs.append(_pad(row.ids[row.shared : -1], width))
        index.extend(i * width + position - 1 - row.shared for position in row.wanted)
        targets.extend(row.ids[position] for position in row.wanted)
        owner.extend([i] * len(row.wanted))
    length = max(map(len, prefixes))
    return MicroBatch(
        inputs_BT=torch.tensor(inputs, device=device),
        index_N=torch.tensor(index, device=device),
        targets_N=torch.tensor(targets, device=device),
        row_N=torch.tensor(owner, device=device),
        prefix_UP=torch.tensor([_pad(p, length) for p in prefixes], device=device) if length else None,
        prefix_of_B=torch.tensor([prefixes[row.prefix] for row in rows], device=device),
        prefix_length_B=torch.tensor([row.shared for row in rows], device=device),
        remainder_B=torch.tensor([row.remainder for row in rows], device=device),
    )


def pack_stream(rows: Sequence[TokenRow], device: torch.device) -> MicroBatch:
    """Rows as one stream of tokens without pads, each distinct prefix once: prefixes first, then the rows in order."""
    stream: list[int] = []
    positions: list[int] = []
    cuts: list[tuple[range, range]] = []
    prefixes: dict[tuple[int, ...], range] = {(): range(0)}
    for row in rows:
        if row.prefix not in prefixes:
            prefixes[row.prefix] = own = range(len(stream), len(stream) + row.shared)
            cuts.append((range(0), own))
            stream.extend(row.prefix)
            positions.extend(range(row.shared))
    index: list[int] = []
    for row in rows:
        own = range(len(stream), len(stream) + row.remainder)
        cuts.append((prefixes[row.prefix], own))
        index.extend(own.start + position - 1 - row.shared for position in row.wanted)
        stream.extend(row.ids[row.shared : -1])
        positions.extend(range(row.shared, len(row.ids) - 1))
    names = {prefix: i for i, prefix in enumerate(prefixes)}
    return MicroBatch(
        inputs_BT=torch.tensor([stream], device=device),
        index_N=torch.tensor(index, device=device),
        targets_N=torch.tensor([row.ids[position] for row in rows for position in row.wanted], device=device),
        row_N=torch.tensor([i for i, row in enumerate(rows) for _ in row.wanted], device=device),
        prefix_UP=None,
        prefix_of_B=torch.tensor([names[row.prefix] for row in rows], device=device),
        prefix_length_B=torch.tensor([row.shared for row in rows], device=device),
        remainder_B=torch.tensor([row.remainder for row in rows], device=device),
        spans=cut(cuts, device),
        positions_BT=torch.tensor([positions], device=device),
    )


def can_stream(model: PreTrainedModel) -> bool:
    """Whether the model computes a stream of rows as it computes the rows. It is asked for its hidden states both
    ways on a few tokens, and whether those of a row stay when another row changes. From then on its attention is that
    of `rft_torch.spans`."""
    if not can_share_prefixes(model):
        return False
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    ids = tuple(i % vocabulary for i in range(3, 15))
    rows = [
        token_row(ids[: 5 + i], range(4, 5 + i), share_prompt=share) for i, share in ((0, True), (5, True), (3, False))
    ]
    others = [
        *rows[:2],
        token_row([*ids[:4], *[(i + 1) % vocabulary for i in ids[4:8]]], range(4, 8), share_prompt=False),
    ]
    with torch.no_grad():
        expected_NH = wanted_hidden(model, pack(rows, device)).float()
        register()
        model.config.get_text_config()._attn_implementation = NAME
        try:
            found_NH, again_NH = (wanted_hidden(model, pack_stream(some, device)).float() for some in (rows, others))
        except (TypeError, ValueError, RuntimeError):
            return False
    exact = next(model.parameters()).dtype == torch.float32 and not torch.is_autocast_enabled(device.type)
    own = sum(len(row.wanted) for row in rows[:2])
    scale = float(expected_NH.norm())
    leaked, off = float((found_NH - again_NH)[:own].norm()), float((found_NH - expected_NH).norm())
    return leaked <= 1e-6 * scale and off <= (1e-3 if exact else 0.05) * scale


def wanted_logits(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """logits_NV that predict `batch.targets_N`, of a causal language model."""

    def select(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (_at(arguments[0], batch.index_N)[None],)

    with _before(model.get_output_embeddings(), select):
        logits_NV: Tensor = model(input_ids=batch.inputs_BT, **_context(model, batch)).logits[0]
    return logits_NV


def wanted_hidden(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """hidden_NH behind the last norm, before the token that each of `batch.targets_N` is.

    Of a language model: exactly what its output layer reads, whatever the architecture does before it; the
    layer itself is given no position, so it costs nothing. Of a classifier of sequences or tokens: the last
    hidden states of the model below its head.
    """
    output = model.get_output_embeddings()
    if output is None:
        below = model.base_model(input_ids=batch.inputs_BT, **_context(model, batch))
        return _at(below.last_hidden_state, batch.index_N)
    seen: list[Tensor] = []

    def keep(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        seen.append(_at(arguments[0], batch.index_N))
        return (arguments[0][:, :0],)

    with _before(output, keep):
        model(input_ids=batch.inputs_BT, **_context(model, batch))
    return seen[0]


def can_share_prefixes(model: PreTrainedModel) -> bool:
    """Whether a prefix computed once gives what the whole row would: full attention in every layer,
    with explicit positions and a mask of our own."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        kinds == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
        and config._attn_implementation == "sdpa"
        and not getattr(config, "is_encoder_decoder", False)
        and "position_ids" in inspect.signature(type(model).forward).parameters
    )


def _context(model: PreTrainedModel, batch: MicroBatch) -> dict[str, Any]:
    if batch.spans is not None:  # the mask is never read: it keeps transformers from making one of the stream's size
        mask_1111 = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=batch.inputs_BT.device)
        return {
            "use_cache": False,
            "position_ids": batch.positions_BT,
            "attention_mask": mask_1111,
            "spans": batch.spans,
        }
    return {"use_cache": False} if batch.prefix_UP is None else _after_prefix(model, batch, batch.prefix_UP)


def _after_prefix(model: PreTrainedModel, batch: MicroBatch, prefix_UP: Tensor) -> dict[str, Any]:
    """Arguments that make the rows continue their prefixes."""
    from rft_torch.prefix import AfterPrefix, PrefixKeys

    prefixes = PrefixKeys()
    model.get_decoder()(input_ids=prefix_UP, past_key_values=prefixes, use_cache=True)
    rows, width = batch.inputs_BT.shape
    length = prefix_UP.shape[1]
    device = batch.inputs_BT.device
    seen_B1P = torch.arange(length, device=device) < batch.prefix_length_B[:, None, None]
    causal_TT = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    mask_BTK = torch.cat([seen_B1P.expand(rows, width, length), causal_TT.expand(rows, width, width)], dim=-1)
    # A pad repeats its row's last position: a learned position table need not reach any further.
    step_BT = torch.arange(width, device=device).minimum(batch.remainder_B[:, None] - 1)
    return {
        "past_key_values": AfterPrefix(prefixes, length, batch.prefix_of_B),
        "use_cache": True,
        "attention_mask": mask_BTK[:, None],
        "position_ids": batch.prefix_length_B[:, None] + step_BT,
    }


def _at(hidden_BTH: Tensor, index_N: Tensor) -> Tensor:
    return hidden_BTH.flatten(0, 1).index_select(0, index_N)


@contextmanager
def _before(module: torch.nn.Module, change: Callable[[torch.nn.Module, tuple[Tensor, ...]], Any]) -> Iterator[None]:
    """Let `change` replace what the module is called with."""
    handle = module.register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()


def _pad(ids: Sequence[int], width: int) -> list[int]:
    return [*ids, *[FILL] * (width - len(ids))]
