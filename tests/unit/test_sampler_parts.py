"""Parts of the sampler `transformers` that need no model: random numbers, draws, the nucleus, stop strings."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from rft_sampler_transformers.distribution import choose, log_distribution
from rft_sampler_transformers.draws import keys_of, uniforms
from rft_sampler_transformers.stops import Decoder, find_stop


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    """Numbers of neighbouring seeds and positions look independent, and have known values."""
    seeds, positions = 200, 200
    keys = keys_of([seed for seed in range(seeds) for _ in range(positions)])
    u = uniforms(keys, np.tile(np.arange(positions), seeds)).reshape(seeds, positions)
    assert u.min() >= 0
    assert u.max() < 1
    cells = np.histogram(u, bins=100)[0]
    assert ((cells - 400) ** 2 / 400).sum() < 150  # chi-square with 99 degrees of freedom, p ≈ 0.0007
    for left, right in ((u[:-1], u[1:]), (u[:, :-1], u[:, 1:])):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.02


def test_uniforms_follow_the_documented_formula() -> None:
    """The vectorised hash equals the formula of its docstring in plain integers, at both ends of the seeds."""
    gamma, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(value: int) -> int:
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & mask
        return value ^ (value >> 31)

    for seed in (0, 1, 2**63 - 1):
        for position in (0, 1, 4096):
            expected = (mix(mix(seed + gamma & mask) + (position + 1) * gamma & mask) >> 12) * 2.0**-52
            assert uniforms(keys_of([seed]), np.array([position])).tolist() == [expected]
    # The first output of splitmix64 seeded with 0, from its reference implementation.
    assert mix(gamma) == 0xE220A8397B1DCDAF


def test_draw_takes_no_impossible_token() -> None:
    """At both ends of [0, 1) the draw stays within the tokens that have a probability."""
    logp = torch.tensor([[-torch.inf, 0.5, 0.5, -torch.inf]]).log_softmax(-1)
    assert choose(logp, torch.tensor([0.0], dtype=torch.float64)).item() == 1
    assert choose(logp, torch.tensor([1 - 2.0**-52], dtype=torch.float64)).item() == 2


def test_nucleus_is_the_smallest_set_with_the_mass() -> None:
    """top_p keeps the most probable tokens up to the one that reaches the mass, renormalised; ties by index."""
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.2, 0.1]]).log()
    kept = log_distribution(logits, temperature=1.0, top_p=0.55).exp()
    torch.testing.assert_close(kept, torch.tensor([[0.0, 2 / 3, 1 / 3, 0.0, 0.0]]))
    only = log_distribution(logits, temperature=1.0, top_p=0.01).exp()
    torch.testing.assert_close(only, torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]]))


def byte_level() -> tokenizers.Tokenizer:
    """One token per byte, as every byte-level BPE has."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({text: i for i, text in enumerate(alphabet)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return made


def byte_fallback() -> tokenizers.Tokenizer:
    """Words with a mark for the space before them, and bytes: how Llama 2 and Gemma write."""
    words = ["<unk>", "▁", "▁a", "a", "b", "ab", "▁b\n", "\n", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {text: i for i, text in enumerate(words)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    parts = tokenizers.decoders
    made.decoder = parts.Sequence([parts.Replace("▁", " "), parts.ByteFallback(), parts.Fuse(), parts.Strip(" ", 1, 0)])
    return made


@pytest.mark.parametrize("backend", [byte_level, byte_fallback])
@pytest.mark.parametrize("stop", [(" ",), ("a ", "é\n"), ("😀",), ("b a", "ab\nab\n")])
def test_a_tail_shows_what_the_last_token_completed(
    backend: Callable[[], tokenizers.Tokenizer], stop: tuple[str, ...]
) -> None:
    """After every token of random rows, with bytes that are no text, special tokens in between and spaces that
    decoders drop, a stop string first stands in the whole text exactly when it stands in the tail."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
    decoder = Decoder(tokenizer, len(tokenizer))
    special = tokenizer.convert_tokens_to_ids("<think>")
    pieces = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", " ", "b", "é", "😀", "\n", "ab")]
    draw, found = random.Random(0), 0
    for _ in range(60):
        row: list[int] = []
        while len(row) < 80:
            row += draw.choice([*pieces, [special] * 30, [draw.randrange(len(tokenizer))]])
        for end in range(1, len(row) + 1):
            (text,), (tail,) = decoder.texts([row[:end]]), decoder.tails([row[:end]], stop)
            if find_stop(text, stop) is not None:
                assert find_stop(tail, stop) is not None
                found += 1
                break
    assert found > 5
