"""What must not change a gradient, in `rft_torch`: how rows are cut, shared, packed and computed again."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import context, make_model
from torch import Tensor

from rft_core.errors import ConfigError
from rft_torch.batching import TokenRow, plan, plan_streams, token_row
from rft_torch.forward import pack, wanted_logits
from rft_torch.lora import LoraSettings
from rft_torch.settings import TrainerConfig
from rft_torch.trainer import Trainer

ARCHITECTURES = ("llama", "qwen2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of each architecture; Qwen2 has biases."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    root = tmp_path_factory.mktemp("models")
    make_model(root / "llama", tie_word_embeddings=False)
    torch.manual_seed(1)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=28, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, use_sliding_window=False,
        )
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        parameter.data.mul_(3) if parameter.ndim > 1 else parameter.data.add_(0.3 if "bias" in name else 0)
    model.save_pretrained(root / "qwen2")
    return {name: root / name for name in ARCHITECTURES}


@cache
def ragged(share_prompt: bool) -> tuple[TokenRow, ...]:
    """20 rows of 5 prompts: lengths from 2 to 60, some stretches in a row not wanted."""
    draw = random.Random(7)
    rows = []
    for length in (1, 3, 9, 20, 4):
        prompt = [draw.randrange(28) for _ in range(length)]
        for _ in range(4):
            ids = [*prompt, *[draw.randrange(28) for _ in range(draw.choice((1, 3, 11, 40)))]]
            wanted = [i for i in range(length, len(ids)) if i == length or draw.random() < 0.8]
            rows.append(token_row(ids, wanted, share_prompt=share_prompt))
    draw.shuffle(rows)
    return tuple(rows)


def gradient(trainer: Trainer, *, share_prompt: bool, budget: int = 100_000) -> Tensor:
    """Of a loss with another weight for every token and its entropy, all parameters as one vector."""
    rows = ragged(share_prompt)
    trainer.model.zero_grad()
    with trainer.computing():
        for indices in (plan_streams if trainer.config.packing else plan)(rows, budget):
            chosen = [rows[i] for i in indices]
            batch, logprobs_N, entropy_N = trainer.logprobs(chosen, 0.9, entropy_grad=True)
            names_N = torch.tensor([i for i in indices for _ in rows[i].wanted])
            assert batch.row_N.tolist() == [j for j, row in enumerate(chosen) for _ in row.wanted]
            weights_N = (names_N * 7 % 5 - 2.0) + batch.targets_N / 28
            ((weights_N * logprobs_N).sum() + 0.3 * entropy_N.sum()).backward()
        return torch.cat([p.grad.flatten() for p in trainer.parameters.values() if p.grad is not None])


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).norm()) < 1e-5 * float(expected.norm())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
@pytest.mark.parametrize(
    ("settings", "share_prompt", "budget", "chunk"),
    [
        ({}, True, 100_000, None),
        ({}, True, 150, None),
        ({}, False, 1, None),
        ({}, False, 300, 7),
        ({"packing": True}, True, 100_000, None),
        ({"packing": True}, True, 100, 7),
        ({"packing": True}, False, 150, None),
        ({"packing": True, "activation_checkpointing": True}, True, 200, None),
        ({"activation_checkpointing": True}, True, 100_000, None),
        ({"activation_checkpointing": True}, False, 200, None),
    ],
)
def test_how_a_batch_is_computed_does_not_change_its_gradient(
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    lora: LoraSettings | None,
    settings: dict[str, Any],
    share_prompt: bool,
    budget: int,
    chunk: int | None,
) -> None:
    """Micro-batches, buckets, shared prompts, chunks of logits, packing and recomputation: less than 1e-5 of the norm
    off the whole batch, padded, without any of them."""
    start = context(folders[architecture])
    expected = gradient(Trainer(TrainerConfig(lora=lora), start), share_prompt=False)
    if chunk is not None:
        monkeypatch.setattr("rft_torch.output_layer.BLOCK_LOGITS", chunk * 28)
        monkeypatch.setattr("rft_torch.output_layer.BLOCK_WORDS", 9)
    trainer = Trainer(TrainerConfig(lora=lora, **settings), start)
    assert trainer.share_prompts
    assert_same(gradient(trainer, share_prompt=share_prompt, budget=budget), expected)


def test_recomputation_keeps_the_inputs_of_layers_alone(folders: dict[str, Path]) -> None:
    """What autograd saves for the backward pass is less than half with it, with shared prompts."""
    saved: dict[bool, int] = {}
    for again in (False, True):
        trainer = Trainer(TrainerConfig(activation_checkpointing=again), context(folders["llama"]))
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        weights = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
        with trainer.computing(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trainer.logprobs(ragged(True), 1.0)
        saved[again] = sum(size for address, size in sizes.items() if address not in weights)
    assert saved[True] < saved[False] / 2


def test_dropout_is_the_same_when_layers_are_computed_again(folders: dict[str, Path]) -> None:
    """LoRA's dropout: the gradient with recomputation is the one without, to rounding, and another one than without
    dropout."""
    start = context(folders["llama"])

    def found(dropout: float, again: bool) -> Tensor:
        lora = LoraSettings(rank=2, dropout=dropout)
        trainer = Trainer(TrainerConfig(lora=lora, activation_checkpointing=again), start)
        return gradient(trainer, share_prompt=True)

    assert_same(found(0.3, again=True), found(0.3, again=False))
    with pytest.raises(AssertionError):
        assert_same(found(0.3, again=True), found(0.0, again=True))


def test_gradients_are_not_kept_where_none_are_wanted(folders: dict[str, Path]) -> None:
    """A reference pass with recomputation is the same bits as without, and has no graph."""
    start = context(folders["llama"])
    found = []
    for again in (False, True):
        trainer = Trainer(TrainerConfig(activation_checkpointing=again), start, keep_reference=True)
        with trainer.reference():
            found.append(trainer.logprobs(ragged(True), 1.0)[1])
    assert torch.equal(*found)
    assert not found[1].requires_grad


def test_architectures_without_such_layers_get_a_sentence(tmp_path: Path) -> None:
    """A model whose layers transformers cannot recompute is refused when it is built."""
    from rft_torch.recompute import checkpoint_layers

    with pytest.raises(ConfigError, match="activation_checkpointing"):
        checkpoint_layers(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [(0, 0, 1, 1), (0, 1, 0, 1), (0, 0, 0, 1), (1, 1, 0, 0)])
def test_prefixes_stand_before_their_own_rows(folders: dict[str, Path], order: tuple[int, ...]) -> None:
    """Rows of a prefix together and as many of each, mixed, and not as many: logits are those of each row alone."""
    trainer = Trainer(TrainerConfig(), context(folders["qwen2"]))
    model = trainer.model.double()
    draw = random.Random(2)
    prompts = [[draw.randrange(28) for _ in range(n)] for n in (5, 9)]
    rows = []
    for number in order:
        ids = [*prompts[number], *[draw.randrange(28) for _ in range(draw.randint(2, 6))]]
        rows.append(token_row(ids, range(len(prompts[number]), len(ids)), share_prompt=True))
    found = wanted_logits(model, pack(rows, torch.device("cpu")))
    expected = torch.cat([model(torch.tensor([row.ids])).logits[0, [p - 1 for p in row.wanted]] for row in rows])
    assert torch.allclose(found, expected, atol=1e-10)


def test_the_longest_micro_batch_is_computed_first() -> None:
    """If memory is short, it is short in the first one."""
    for share_prompt in (False, True):
        rows = ragged(share_prompt)
        longest = [max(rows[i].remainder for i in batch) for batch in plan(rows, 120)]
        assert len(longest) > 2
        assert longest == sorted(longest, reverse=True)
