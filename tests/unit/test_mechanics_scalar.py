"""Hidden states at wanted positions, and models with one number per position, of `rft_torch`."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import context, make_model

from rft_core.errors import ModelError
from rft_core.types import ModelRef
from rft_torch.batching import TokenRow, token_row
from rft_torch.forward import pack, wanted_hidden, wanted_logits
from rft_torch.lora import LoraSettings
from rft_torch.models import load_model
from rft_torch.scalar import load_scalar_model
from rft_torch.settings import TrainerConfig
from rft_torch.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def ragged(share_prompt: bool = True) -> list[TokenRow]:
    draw = random.Random(0)
    rows = []
    for prompt in [[draw.randrange(28) for _ in range(n)] for n in (1, 4, 9)] * 2:
        ids = [*prompt, *[draw.randrange(28) for _ in range(draw.randint(2, 9))]]
        rows.append(token_row(ids, range(len(prompt), len(ids)), share_prompt=share_prompt))
    return rows


def trained(folder: Path, **settings: Any) -> Trainer:
    """A critic after three steps towards a value of 1 everywhere."""
    trainer = Trainer(TrainerConfig(learning_rate=1e-2, **settings), context(folder), load=load_scalar_model)
    for _ in range(3):
        step(trainer)
    return trainer


def step(trainer: Trainer) -> float:
    with trainer.computing():
        _, values_N = trainer.values(ragged())
        loss = (values_N - 1).square().mean()
        loss.backward()
        trainer.update([(loss, ["rows"])], 1e-2)
    trainer.policy += 1
    return float(loss.detach())


def alone(model: Any, rows: list[TokenRow]) -> torch.Tensor:
    """Values at wanted positions of each row by itself, by transformers' own parts."""
    hidden = [model.base_model(torch.tensor([row.ids])).last_hidden_state[0] for row in rows]
    return torch.cat([model.score(h[[p - 1 for p in row.wanted]])[:, 0] for h, row in zip(hidden, rows, strict=True)])


@pytest.mark.parametrize("share_prompt", [True, False])
def test_hidden_states_are_what_the_output_layer_reads(folder: Path, share_prompt: bool) -> None:
    """The output layer over them gives the wanted logits, with the prompt shared or not."""
    model = load_model(ModelRef(path=folder)).double()
    batch = pack(ragged(share_prompt), CPU)
    hidden = wanted_hidden(model, batch)
    assert torch.equal(model.lm_head(hidden), wanted_logits(model, batch))


def test_what_stands_between_decoder_and_output_layer_is_passed(tmp_path: Path) -> None:
    """BERT as a decoder has a dense layer and a norm there: hidden states are those behind them."""
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 28, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    model = BertLMHeadModel(BertConfig(**sizes, num_attention_heads=2, is_decoder=True)).double().eval()
    batch = pack(ragged(share_prompt=False), CPU)
    hidden = wanted_hidden(model, batch)
    assert torch.allclose(model.get_output_embeddings()(hidden), wanted_logits(model, batch), atol=1e-12)


@pytest.mark.parametrize("kind", ["AutoModelForSequenceClassification", "AutoModelForTokenClassification"])
def test_classifiers_give_the_hidden_states_below_their_head(folder: Path, kind: str) -> None:
    """Those of each row by itself, to rounding."""
    import transformers

    model = getattr(transformers, kind).from_pretrained(folder, num_labels=1).double().eval()
    rows = ragged()
    expected = torch.cat(
        [model.base_model(torch.tensor([r.ids])).last_hidden_state[0, [p - 1 for p in r.wanted]] for r in rows]
    )
    assert torch.allclose(wanted_hidden(model, pack(rows, CPU)), expected, atol=1e-10)


def test_a_language_model_gets_a_head_of_zeros(folder: Path) -> None:
    """Values start at exactly 0, the decoder is the language model's, and the caller's random numbers stay."""
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    model = load_scalar_model(ModelRef(path=folder), trainable=True)
    assert torch.equal(torch.rand(1), expected)
    assert not model.score.weight.any()
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(
        model.base_model.embed_tokens.weight, load_model(ModelRef(path=folder)).get_decoder().embed_tokens.weight
    )
    trainer = Trainer(TrainerConfig(), context(folder), load=load_scalar_model)
    batch, values = trainer.values(ragged())
    assert values.shape == batch.targets_N.shape
    assert not values.any()
    assert values.requires_grad


@pytest.mark.parametrize("settings", [{}, {"lora": LoraSettings(rank=2)}])
def test_a_critic_continues_bit_by_bit(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Saved and loaded into another one, with the head's tensor in the file, the next steps are equal."""
    one, other = (
        trained(folder, **settings),
        Trainer(TrainerConfig(learning_rate=1e-2, **settings), context(folder), load=load_scalar_model),
    )
    assert one.model.score.weight.any()
    (tmp_path / "save").mkdir()
    one.save(tmp_path / "save")
    other.load(tmp_path / "save")
    assert torch.equal(one.values(ragged())[1], other.values(ragged())[1])
    assert [step(one) for _ in range(2)] == [step(other) for _ in range(2)]
    file = next((tmp_path / "save" / "policy").glob("*model.safetensors"))
    assert [name for name in load_file(file) if name.endswith("score.weight")]


def test_a_saved_critic_is_a_folder_that_transformers_loads(folder: Path, tmp_path: Path) -> None:
    """Whole weights: its values in transformers' class, and in ours as a folder that keeps its head."""
    from transformers import AutoModelForSequenceClassification

    trainer = trained(folder)
    trainer.save(tmp_path)
    values = trainer.values(ragged())[1]
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "policy")
    assert torch.allclose(alone(loaded, ragged()), values, atol=1e-5)
    again = Trainer(TrainerConfig(), context(tmp_path / "policy"), load=load_scalar_model)
    assert torch.equal(again.values(ragged())[1], values)


def test_a_published_critic_adapter_is_one_that_peft_loads(folder: Path, tmp_path: Path) -> None:
    """LoRA beside a whole head: peft's own class and a run that starts from the adapter have its values."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    trainer = trained(folder, lora=LoraSettings(rank=2))
    trainer.publish(tmp_path, run_id="r", lineage="l")
    values = trainer.values(ragged())[1]
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    wrapped = PeftModel.from_pretrained(base, tmp_path).eval()
    assert torch.allclose(alone(wrapped.base_model.model, ragged()), values, atol=1e-5)
    start = context(folder, adapter=tmp_path)
    again = Trainer(TrainerConfig(lora=LoraSettings(rank=2)), start, load=load_scalar_model)
    assert torch.equal(again.values(ragged())[1], values)
    assert sorted(again.parameters) == sorted(trainer.parameters)


def test_a_critic_merged_into_its_base_has_its_values(folder: Path, tmp_path: Path) -> None:
    """What `export --merge` makes of its adapter is a folder with a head, in transformers' class and in ours."""
    from rft_torch.export import merge_adapter

    for name in ("save", "out"):
        (tmp_path / name).mkdir()
    trainer = trained(folder, lora=LoraSettings(rank=2))
    trainer.save(tmp_path / "save")
    assert merge_adapter(ModelRef(path=folder), tmp_path / "save" / "policy", tmp_path / "out") < 1e-4
    merged = load_scalar_model(ModelRef(path=tmp_path / "out"))
    assert torch.allclose(alone(merged, ragged()), trainer.values(ragged())[1], atol=1e-4)


def test_an_adapter_with_a_head_does_not_fit_a_language_model(folder: Path, tmp_path: Path) -> None:
    """And one without does not fit a critic: a sentence each."""
    (tmp_path / "critic").mkdir()
    (tmp_path / "policy").mkdir()
    lora = LoraSettings(rank=2)
    trained(folder, lora=lora).publish(tmp_path / "critic", run_id="r", lineage="l")
    Trainer(TrainerConfig(lora=lora), context(folder)).publish(tmp_path / "policy", run_id="r", lineage="l")
    with pytest.raises(ModelError, match="without extra trained modules"):
        load_model(ModelRef(path=folder, adapter=tmp_path / "critic"))
    with pytest.raises(ModelError, match="with score beside it"):
        load_scalar_model(ModelRef(path=folder, adapter=tmp_path / "policy"))


def test_folders_without_a_scalar_model_get_a_sentence(folder: Path, tmp_path: Path) -> None:
    """Pickled weights, missing layers, a head of two outputs, an architecture without such a head."""
    from transformers import AutoModelForSequenceClassification, BloomConfig

    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).save_pretrained(tmp_path / "two")
    shutil.copytree(folder, tmp_path / "pickled")
    (tmp_path / "pickled/model.safetensors").rename(tmp_path / "pickled/pytorch_model.bin")
    deep = make_model(tmp_path / "deep", layers=3)
    shutil.copyfile(folder / "model.safetensors", deep / "model.safetensors")
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other/config.json").write_text(json.dumps({**BloomConfig().to_dict(), "model_type": "musicgen"}))
    for name, sentence in (
        ("pickled", "only pickled weights"),
        ("deep", "lack"),
        ("two", "cannot be loaded"),
        ("other", "cannot be loaded"),
    ):
        with pytest.raises(ModelError, match=sentence):
            load_scalar_model(ModelRef(path=tmp_path / name))


def test_an_encoder_is_no_critic(tmp_path: Path) -> None:
    """BERT's value of a token would know the tokens after it; and its head reads a pooled state."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"vocab_size": 28, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    model = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=2, num_labels=1))
    for parameter in model.parameters():
        parameter.data.normal_(std=0.5)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="looks ahead"):
        load_scalar_model(ModelRef(path=tmp_path))
