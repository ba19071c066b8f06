"""Rows in one stream of tokens, of `rft_torch`: which go together, how they are laid out, what they attend to."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tiny_models import context, make_model
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rft_core.errors import ConfigError
from rft_core.types import ModelRef
from rft_torch import spans as spans_module
from rft_torch.batching import TokenRow, plan_streams, token_row
from rft_torch.forward import can_stream, pack_stream, wanted_hidden
from rft_torch.lora import LoraSettings
from rft_torch.models import load_model
from rft_torch.settings import TrainerConfig
from rft_torch.spans import attend, cut
from rft_torch.trainer import Trainer

CPU = torch.device("cpu")


def rows_of(seed: int, *, share_prompt: bool = True, groups: int = 5, each: int = 4) -> list[TokenRow]:
    draw = random.Random(seed)
    rows = []
    for _ in range(groups):
        prompt = [draw.randrange(28) for _ in range(draw.choice((1, 2, 9, 20)))]
        for _ in range(each):
            ids = [*prompt, *[draw.randrange(28) for _ in range(draw.randint(1, 15))]]
            rows.append(token_row(ids, range(len(prompt), len(ids)), share_prompt=share_prompt))
    return rows


def tokens(rows: list[TokenRow], stream: list[int]) -> int:
    """What a stream holds: each distinct prefix once, and the remainders."""
    prefixes = {rows[i].prefix for i in stream}
    return sum(map(len, prefixes)) + sum(rows[i].remainder for i in stream)


@pytest.mark.parametrize("share_prompt", [True, False])
@pytest.mark.parametrize("budget", [1, 40, 120, 100_000])
def test_streams_hold_every_row_once_within_the_budget(budget: int, share_prompt: bool) -> None:
    """Only a row that is too long by itself exceeds it, alone; the stream with most tokens is the first; the plan is
    the same again; and a stream is never opened for a row that an earlier one had room for."""
    for seed in range(20):
        rows = rows_of(seed, share_prompt=share_prompt)
        streams = plan_streams(rows, budget)
        assert sorted(i for stream in streams for i in stream) == list(range(len(rows)))
        sizes = [tokens(rows, stream) for stream in streams]
        assert all(size <= budget or len(stream) == 1 for size, stream in zip(sizes, streams, strict=True))
        assert sizes == sorted(sizes, reverse=True)
        assert sizes == [len(pack_stream([rows[i] for i in s], CPU).inputs_BT[0]) for s in streams]
        assert streams == plan_streams(rows, budget)
    assert plan_streams([], budget) == []


def test_first_fit_decreasing_fills_streams() -> None:
    """Rows of 6, 5, 4, 3 and 2 inputs in streams of 10: two full ones, where first-fit in the given order needs three."""
    rows = [token_row([1] * (n + 1), range(1, n + 1), share_prompt=False) for n in (2, 5, 4, 3, 6)]
    streams = plan_streams(rows, 10)
    assert sorted(sorted(rows[i].remainder for i in stream) for stream in streams) == [[2, 3, 5], [4, 6]]


def test_rows_of_a_prompt_are_placed_together_and_the_longest_first() -> None:
    """Two prompts whose rows come in turns: a stream each, none of them holding a prefix twice."""
    prompts = ([1] * 6, [2] * 6)
    rows = [token_row([*prompts[n % 2], *[3] * (1 + n)], range(6, 7 + n), share_prompt=True) for n in range(6)]
    streams = plan_streams(rows, 20)
    assert streams == [[5, 3, 1], [4, 2, 0]]


def test_a_stream_pays_no_padding() -> None:
    """Positions restart with each row behind its prefix, and nothing but tokens of the rows is there."""
    rows = [
        token_row([5, 6, 7, 8, 9], (3, 4), share_prompt=True),
        token_row([5, 6, 7, 3], (3,), share_prompt=True),
        token_row([4, 2], (1,), share_prompt=True),
    ]
    batch = pack_stream(rows, CPU)
    assert batch.inputs_BT.tolist() == [[5, 6, 7, 8, 7, 4]]
    assert batch.positions_BT is not None
    assert batch.positions_BT.tolist() == [[0, 1, 2, 3, 2, 0]]
    assert batch.index_N.tolist() == [2, 3, 4, 5]
    assert batch.targets_N.tolist() == [8, 9, 3, 2]
    assert batch.row_N.tolist() == [0, 0, 1, 2]


def stream(dtype: torch.dtype) -> tuple[list[tuple[range, range]], list[Tensor]]:
    """Two contexts and spans of many lengths, out of order in the buckets; queries of 4 heads, keys of 2."""
    lengths = [(0, 5), (0, 9), (5, 3), (9, 17), (5, 1), (0, 4), (9, 2), (0, 1)]
    starts = {5: range(5), 9: range(5, 14), 0: range(0)}
    made, start = [], 0
    for length, own in lengths:
        made.append((starts[length], range(start, start + own)))
        start += own
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(start, heads, 8, generator=generator, dtype=dtype) for heads in (4, 2, 2)]
    return made, [one.requires_grad_() for one in states]


def whole_mask(cuts: list[tuple[range, range]]) -> Tensor:
    size = sum(len(own) for _, own in cuts)
    mask = torch.zeros(size, size, dtype=torch.bool)
    for context_, own in cuts:
        for at in own:
            mask[at, list(context_)] = True
            mask[at, own.start : at + 1] = True
    return mask


@pytest.mark.parametrize("most", [1, 300, 1 << 22])
def test_spans_attend_as_under_a_block_diagonal_causal_mask(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Outputs and the gradients of queries, keys and values in float64, with scores made whole and in parts."""
    monkeypatch.setattr(spans_module, "MOST_SCORES", most)
    cuts, states = stream(torch.float64)
    upstream = torch.randn(states[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = attend(*states, cut(cuts, CPU), 0.4)
    query, key, value = (one.transpose(0, 1)[None] for one in states)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=whole_mask(cuts), scale=0.4, enable_gqa=True)
    assert torch.allclose(found, expected[0].transpose(0, 1), atol=1e-12)
    gradients = torch.autograd.grad(found, states, upstream)
    references = torch.autograd.grad(expected, states, upstream.transpose(0, 1)[None])
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(gradients, references, strict=True))


def test_attention_passes_gradcheck() -> None:
    """Numeric differences along a random direction, with padding in buckets."""
    cuts, states = stream(torch.float64)
    assert torch.autograd.gradcheck(lambda *s: attend(*s, cut(cuts, CPU), 0.4), states, fast_mode=True)


def test_attention_in_bfloat16_is_as_close_as_torchs() -> None:
    """Of outputs and gradients, the distance to float64 is at most 1.5 times that of torch's own attention."""
    cuts, states = stream(torch.bfloat16)
    exact = [one.detach().double().requires_grad_() for one in states]
    upstream = torch.randn(states[0].shape, generator=torch.Generator().manual_seed(1)).bfloat16()

    def torchs(states: list[Tensor]) -> Tensor:
        query, key, value = (one.transpose(0, 1)[None] for one in states)
        out = scaled_dot_product_attention(query, key, value, attn_mask=whole_mask(cuts), scale=0.4, enable_gqa=True)
        return out[0].transpose(0, 1)

    def all_of(out: Tensor, states: list[Tensor]) -> list[Tensor]:
        return [out.detach().double(), *(g.double() for g in torch.autograd.grad(out, states, upstream.to(out.dtype)))]

    expected = all_of(torchs(exact), exact)
    ours, theirs = all_of(attend(*states, cut(cuts, CPU), 0.4), states), all_of(torchs(states), states)
    for a, b, reference in zip(ours, theirs, expected, strict=True):
        assert (a - reference).norm() <= 1.5 * (b - reference).norm()


@pytest.mark.parametrize("share_prompt", [True, False])
def test_rows_in_a_stream_do_not_see_each_other(tmp_path: Path, share_prompt: bool) -> None:
    """Hidden states of each row are those of the row alone, to rounding in float64, and they stay when all
    other rows of its prompt change or go."""
    model = load_model(ModelRef(path=make_model(tmp_path / "m"))).double()
    assert can_stream(model)
    rows = rows_of(3, share_prompt=share_prompt, groups=2)
    found = wanted_hidden(model, pack_stream(rows, CPU))
    alone = torch.cat([wanted_hidden(model, pack_stream([row], CPU)) for row in rows])
    assert torch.allclose(found, alone, atol=1e-10)
    others = [row if i == 0 else TokenRow((*row.ids[:-2], 1, 1), row.wanted, row.shared) for i, row in enumerate(rows)]
    changed = [rows[0], *[row for row in others[1:] if row.prefix != rows[0].prefix]]
    first = len(rows[0].wanted)
    again = wanted_hidden(model, pack_stream(changed, CPU))
    assert torch.allclose(found[:first], again[:first], atol=1e-12)


def test_models_that_do_not_fit_a_stream_get_a_sentence(tmp_path: Path) -> None:
    """A sliding window needs the architecture's own mask."""
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {"vocab_size": 28, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    model = MistralForCausalLM(MistralConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, sliding_window=4))
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"optimizer\.packing: MistralForCausalLM .* turn packing off"):
        Trainer(TrainerConfig(packing=True), context(tmp_path))


def test_learned_positions_fit_a_stream() -> None:
    """GPT-2 reads positions from a table; its stream is what its rows are."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=28, n_positions=64, n_embd=16, n_layer=2, n_head=2)).double().eval()
    assert can_stream(model)
    rows = rows_of(5)
    found = wanted_hidden(model, pack_stream(rows, CPU))
    alone = torch.cat([wanted_hidden(model, pack_stream([row], CPU)) for row in rows])
    assert torch.allclose(found, alone, atol=1e-10)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_streams_under_autocast_are_the_padded_layout_to_rounding(tmp_path: Path, lora: LoraSettings | None) -> None:
    """bfloat16 over float32 weights, and over bfloat16 ones with an adapter: log-probabilities to 2 percent."""
    folder = make_model(tmp_path / "m")
    rows = rows_of(3)
    found = []
    for packing in (False, True):
        trainer = Trainer(TrainerConfig(packing=packing, lora=lora), context(folder, dtype="bfloat16"))
        with torch.no_grad(), trainer.autocast():
            found.append(trainer.logprobs(rows, 1.0)[1])
    assert (found[0] - found[1]).norm() < 0.02 * found[0].norm()
