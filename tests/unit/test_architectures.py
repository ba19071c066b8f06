"""Models other than the Llama family in `rft_torch`: composite ones, learned positions, attention of their own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tiny_models import EOS, context, make_model

from rft_core.errors import DataError, ModelError
from rft_core.types import Item, ModelRef, TrainBatch
from rft_optimizer_sft.config import SftConfig
from rft_optimizer_sft.optimizer import Sft
from rft_torch.batching import token_row
from rft_torch.forward import can_share_prefixes, pack, wanted_logits
from rft_torch.models import eos_ids, load_model, load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def test_composite_models_are_asked_about_their_text_part(folder: Path, tmp_path: Path) -> None:
    """Gemma 3 with a vision tower: settings of its language model end completions, keep its windows from
    sharing prefixes, bound rows, and size the export's probe."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    from rft_torch.export import _probe

    tokenizer = load_tokenizer(folder)
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
        "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"], "eos_token_id": 7, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    }  # fmt: skip
    config = Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, boi_token_index=20, eoi_token_index=21,
        image_token_index=22,
    )  # fmt: skip
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load_model(ModelRef(path=tmp_path))
    assert eos_ids(model, tokenizer) == {EOS, 7}
    assert not can_share_prefixes(model)
    assert _probe(model).shape[-1] == len(tokenizer)
    optimizer = Sft(SftConfig(target="{{item.answer}}"), context(tmp_path))
    row = {"messages": [{"role": "user", "content": "1" * 70}], "answer": "2"}
    with pytest.raises(DataError, match="the model reads 64"):
        optimizer.step(TrainBatch(step=1, total_steps=1, items=(Item(key="k", index=0, row=row),)))


def test_a_long_prompt_and_a_long_completion_share_a_micro_batch(tmp_path: Path) -> None:
    """Each row fits a learned table of 32 positions; the longest prompt and the longest completion together would not."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=28, n_positions=32, n_embd=16, n_layer=2, n_head=2)).double().eval()
    assert can_share_prefixes(model)
    draw = random.Random(0)
    rows = []
    for prompt, completion in ((28, 4), (2, 30), (28, 2)):
        ids = [draw.randrange(28) for _ in range(prompt + completion)]
        rows.append(token_row(ids, range(prompt, len(ids)), share_prompt=True))
    found = wanted_logits(model, pack(rows, torch.device("cpu")))
    expected = torch.cat([model(torch.tensor([row.ids])).logits[0, [p - 1 for p in row.wanted]] for row in rows])
    assert torch.allclose(found, expected, atol=1e-10)


def test_models_without_fused_attention_are_trained_on_whole_rows(tmp_path: Path) -> None:
    """GPT-J has its own attention only: no prefix is shared, and logits are those of each row alone."""
    from transformers import GPTJConfig, GPTJForCausalLM

    torch.manual_seed(0)
    config = GPTJConfig(vocab_size=28, n_positions=32, n_embd=16, n_layer=2, n_head=2, rotary_dim=4)
    GPTJForCausalLM(config).save_pretrained(tmp_path)
    model = load_model(ModelRef(path=tmp_path)).double()
    assert model.config._attn_implementation == "eager"
    assert not can_share_prefixes(model)
    draw = random.Random(0)
    rows = []
    for prompt, completion in ((9, 4), (2, 11), (9, 2)):
        ids = [draw.randrange(28) for _ in range(prompt + completion)]
        rows.append(token_row(ids, range(prompt, len(ids)), share_prompt=False))
    found = wanted_logits(model, pack(rows, torch.device("cpu")))
    expected = torch.cat([model(torch.tensor([row.ids])).logits[0, [p - 1 for p in row.wanted]] for row in rows])
    assert torch.allclose(found, expected, atol=1e-10)


def test_prefixes_are_not_shared_where_attention_is_windowed(tmp_path: Path) -> None:
    """A sliding window needs the architecture's own mask."""
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {
        "vocab_size": 8,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    windowed = MistralForCausalLM(MistralConfig(**sizes, num_key_value_heads=2, sliding_window=4))
    assert not can_share_prefixes(windowed)


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_model_that_looks_ahead_is_refused(folder: Path, tmp_path: Path, is_decoder: bool) -> None:
    """transformers loads BERT as a causal model, and it is one only if its config says so."""
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 28, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    model = BertLMHeadModel(BertConfig(**sizes, num_attention_heads=2, is_decoder=is_decoder))
    for parameter in model.parameters():
        parameter.data.normal_(std=0.5)
    model.save_pretrained(tmp_path)
    if is_decoder:
        load_model(ModelRef(path=tmp_path))
    else:
        with pytest.raises(ModelError, match="looks ahead"):
            load_model(ModelRef(path=tmp_path))
