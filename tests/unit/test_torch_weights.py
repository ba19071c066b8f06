"""Models, weights, prompts, micro-batches and log-probabilities of `rft_torch`."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import EOS, context, make_model
from torch.utils._python_dispatch import TorchDispatchMode

from rft_core.errors import ConfigError, DataError, ModelError
from rft_core.types import Item, ModelRef, TrainBatch
from rft_core.weights import digest_of, verify
from rft_optimizer_sft.config import SftConfig
from rft_optimizer_sft.optimizer import Sft
from rft_torch.batching import plan, token_row
from rft_torch.forward import can_share_prefixes, pack, wanted_logits
from rft_torch.logprobs import token_logprobs
from rft_torch.models import PretrainedConfig, encode_prompt, eos_ids, load_model, load_tokenizer
from rft_torch.settings import TrainerConfig, learning_rate
from rft_torch.source import build_source
from rft_torch.weights import copy_side_files, load_adapter, load_full, publish_adapter, publish_full

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_published_weights_come_back_bit_by_bit(tmp_path: Path, tied: bool) -> None:
    """Tied and untied models: publish, load in place, publish again, same bytes; the parameters stay the same objects."""
    source = load_model(ModelRef(path=make_model(tmp_path / "a", seed=1, tie_word_embeddings=tied)))
    target = load_model(ModelRef(path=make_model(tmp_path / "b", seed=2, tie_word_embeddings=tied)))
    addresses = [p.data_ptr() for p in target.parameters()]
    publish_full(source, fresh(tmp_path / "one"))
    load_full(target, tmp_path / "one")
    publish_full(target, fresh(tmp_path / "two"))
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    assert torch.equal(source(IDS).logits, target(IDS).logits)
    assert [p.data_ptr() for p in target.parameters()] == addresses


def test_published_bytes_do_not_depend_on_the_process(folder: Path, tmp_path: Path) -> None:
    """Adapter and config written under different hash seeds are the same bytes."""
    code = (
        "import sys; from pathlib import Path; from rft_core.types import ModelRef; from rft_torch.models import load_model\n"
        "from rft_torch.lora import LoraSettings, add_lora; from rft_torch.weights import publish_adapter\n"
        "model = load_model(ModelRef(path=Path(sys.argv[1])))\n"
        "add_lora(model, LoraSettings(rank=2), seed=3, base_path='base'); publish_adapter(model, Path(sys.argv[2]))"
    )
    for seed in ("1", "2"):
        arguments = [sys.executable, "-c", code, str(folder), str(fresh(tmp_path / seed))]
        subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_published_folder_with_its_base_loads_in_transformers(folder: Path, tmp_path: Path) -> None:
    """With the base's side files, the published folder is a whole Hugging Face model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = load_model(ModelRef(path=folder))
    publish_full(model, fresh(tmp_path / "out"))
    copy_side_files(folder, tmp_path / "out")
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "out")(IDS).logits, model(IDS).logits)
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "out")("1+2")["input_ids"]
        == load_tokenizer(folder)("1+2")["input_ids"]
    )


def test_an_adapter_is_one_that_peft_loads(folder: Path, tmp_path: Path) -> None:
    """Our adapter in peft's own class gives our logits; loading it again in place, and over another, too."""
    from peft import PeftModel

    from rft_torch.lora import LoraSettings, add_lora

    model = load_model(ModelRef(path=folder))
    add_lora(model, LoraSettings(rank=4), seed=1, base_path=str(folder))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(2))
    publish_adapter(model, fresh(tmp_path / "adapter"))
    wrapped = PeftModel.from_pretrained(load_model(ModelRef(path=folder)), tmp_path / "adapter")
    expected = model(IDS).logits
    assert not torch.equal(expected, load_model(ModelRef(path=folder))(IDS).logits)
    assert torch.equal(wrapped(IDS).logits, expected)
    other = load_model(ModelRef(path=folder))
    add_lora(other, LoraSettings(rank=4), seed=9, base_path=str(folder))
    load_adapter(other, tmp_path / "adapter")
    assert torch.equal(other(IDS).logits, expected)
    assert torch.equal(load_model(ModelRef(path=folder, adapter=tmp_path / "adapter"))(IDS).logits, expected)
    verify(tmp_path / "adapter", digest_of(tmp_path / "adapter"))


def test_weights_that_do_not_fit_change_nothing(folder: Path, tmp_path: Path) -> None:
    """Another shape, a missing and an unknown tensor are refused before anything is copied."""
    model = load_model(ModelRef(path=folder))
    before = model(IDS).logits
    for name, settings in (("wide", {"hidden": 64}), ("deep", {"layers": 3}), ("shallow", {"layers": 1})):
        publish_full(load_model(ModelRef(path=make_model(tmp_path / name, **settings))), fresh(tmp_path / f"{name}-w"))
        with pytest.raises(ModelError, match="do not fit"):
            load_full(model, tmp_path / f"{name}-w")
    with pytest.raises(ModelError, match="no weights file"):
        load_full(model, tmp_path)
    assert torch.equal(model(IDS).logits, before)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rank": 4, "alpha": 64.0}, "lora_alpha 64.0, and the model's 32.0"),
        ({"rank": 8}, "r 8, and the model's 4"),
        ({"rank": 4, "targets": ("q_proj",)}, "the file lacks tensor"),
    ],
)
def test_an_adapter_of_other_settings_is_not_copied_over_another(
    folder: Path, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    """Equal shapes under another scale would compute something else without a word: refused, nothing is copied."""
    from rft_torch.lora import LoraSettings, add_lora

    other, live = load_model(ModelRef(path=folder)), load_model(ModelRef(path=folder))
    add_lora(other, LoraSettings(**settings), seed=1, base_path="base")
    publish_adapter(other, fresh(tmp_path / "adapter"))
    add_lora(live, LoraSettings(rank=4, alpha=32.0), seed=2, base_path="base")
    before = {name: p.clone() for name, p in live.named_parameters()}
    with pytest.raises(ModelError, match=sentence):
        load_adapter(live, tmp_path / "adapter")
    assert all(torch.equal(p, before[name]) for name, p in live.named_parameters())


def test_every_lora_target_is_a_module(folder: Path) -> None:
    """One right name does not hide a misspelt one, which gets its nearest; suffixes and whole paths are names too."""
    from rft_torch.lora import LoraSettings, add_lora

    def adapted(*targets: str) -> int:
        model = load_model(ModelRef(path=folder))
        add_lora(model, LoraSettings(rank=2, targets=targets), seed=0, base_path="base")
        return sum(name.endswith("lora_A") for name, _ in model.named_modules())

    assert adapted("q_proj", "self_attn.v_proj", "model.layers.1.mlp.up_proj") == 5
    with pytest.raises(ConfigError, match=r"lora\.targets: .*'v_prj'; did you mean 'v_proj'\?") as caught:
        adapted("q_proj", "v_prj")
    assert "'q_proj'" not in str(caught.value)


def test_a_loaded_model_is_frozen_in_eval_mode_unless_asked(folder: Path, tmp_path: Path) -> None:
    """Eval mode always, gradients only for a trainer, attention by sdpa even if the config wishes otherwise."""
    model = load_model(ModelRef(path=folder))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    wish = json.loads((folder / "config.json").read_text()) | {"attn_implementation": "eager"}
    shutil.copytree(folder, tmp_path / "wish")
    (tmp_path / "wish" / "config.json").write_text(json.dumps(wish))
    assert load_model(ModelRef(path=tmp_path / "wish")).config._attn_implementation == "sdpa"
    trainable = load_model(ModelRef(path=folder), trainable=True)
    assert not trainable.training
    assert all(p.requires_grad for p in trainable.parameters())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: shutil.rmtree(f), "there is no model folder"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "no safetensors weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "only pickled weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0broken"), "cannot be loaded"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
        (lambda f: (f / "config.json").write_text('{"model_type": "nobody-knows"}'), "cannot be loaded"),
    ],
)
def test_unusable_folders_get_a_sentence(folder: Path, tmp_path: Path, change: Any, sentence: str) -> None:
    """Each says what is wrong with which folder, as ModelError."""
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    change(broken)
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model(ModelRef(path=broken))
    assert str(broken) in str(caught.value)


def test_missing_tensors_are_not_made_up(tmp_path: Path) -> None:
    """Transformers would fill a missing layer with random weights and a warning; we refuse."""
    small, large = make_model(tmp_path / "small", layers=1), make_model(tmp_path / "large", layers=2)
    shutil.copyfile(small / "model.safetensors", large / "model.safetensors")
    with pytest.raises(ModelError, match="lack"):
        load_model(ModelRef(path=large))


def test_code_of_a_model_repository_never_runs(folder: Path, tmp_path: Path) -> None:
    """A folder that brings its own model code is refused, and the code has not run."""
    hostile = tmp_path / "hostile"
    shutil.copytree(folder, hostile)
    config = json.loads((hostile / "config.json").read_text())
    config |= {"model_type": "hostile", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (hostile / "config.json").write_text(json.dumps(config))
    (hostile / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(ModelRef(path=hostile))
    assert not (tmp_path / "ran").exists()


def test_prompts_without_and_with_a_template(folder: Path) -> None:
    """No template: contents by line. A template: with the opening of the answer, and `system` for a refused `developer`."""
    tokenizer = load_tokenizer(folder)
    messages = [
        {"role": "developer", "content": "abc"},
        {"role": "user", "content": [{"type": "text", "text": "1+2="}]},
    ]
    assert encode_prompt(tokenizer, [messages[1]]) == tokenizer("1+2=")["input_ids"]
    assert len(encode_prompt(tokenizer, messages)) == 3 + 1 + 4
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role not in ['system', 'user'] %}{{ raise_exception('no role ' + m.role) }}{% endif %}"
        "{{ m.role[0] }}{{ m.content }}{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    plain = [{"role": "developer", "content": "abc"}, {"role": "user", "content": "12"}]
    assert tokenizer.decode(encode_prompt(tokenizer, plain)).replace("<unk>", "?") == "?abc?12="
    with pytest.raises(DataError, match="no role tool"):
        encode_prompt(tokenizer, [{"role": "tool", "content": "1"}])
    with pytest.raises(DataError, match="no tokens"):
        encode_prompt(load_tokenizer(folder), [{"role": "user", "content": ""}])


QWEN3 = """{%- if messages[0].role == 'system' %}{{- '<system>' + messages[0].content }}{%- endif %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<' + message.role + '>' + content }}
    {%- endif %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<assistant>' }}{%- endif %}"""
"""How the templates of Qwen3 treat roles and contents: an unknown role and a list of parts are dropped."""
HARMONY = "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}<assistant>"


@pytest.mark.parametrize(
    ("template", "expected"),
    [(QWEN3, "<system>abc<user>1+2=<assistant>"), (HARMONY, "<developer>abc<user>1+2=<assistant>")],
)
def test_templates_lose_no_text(folder: Path, template: str, expected: str) -> None:
    """A template that passes over the developer gets a system message, one that knows the role keeps it,
    and text parts arrive joined, also where the template has only strings in mind."""
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    messages = [
        {"role": "developer", "content": "abc"},
        {"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "input_text", "text": "2="}]},
    ]
    assert encode_prompt(tokenizer, messages) == tokenizer(expected)["input_ids"]
    tokenizer.chat_template = {"default": HARMONY, "tool_use": QWEN3}  # each template has its own answer
    found = [encode_prompt(tokenizer, messages, tools) for tools in ((), ({"type": "function"},))]
    assert found == [
        tokenizer(text)["input_ids"]
        for text in ("<developer>abc<user>1+2=<assistant>", "<system>abc<user>1+2=<assistant>")
    ]


def test_chat_templates_are_sandboxed(folder: Path) -> None:
    """A template that reaches for Python's internals is refused with a sentence."""
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(DataError, match="SecurityError"):
        encode_prompt(tokenizer, [{"role": "user", "content": "1"}])


def test_every_end_of_sequence_counts(folder: Path) -> None:
    """Those of the generation config, the model's config and the tokenizer, lists and single ids."""
    model, tokenizer = load_model(ModelRef(path=folder)), load_tokenizer(folder)
    assert eos_ids(model, tokenizer) == {EOS}
    model.generation_config.eos_token_id = [4, 5]
    assert eos_ids(model, tokenizer) == {EOS, 4, 5}


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


def test_pretrained_source_finds_folders(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative to the run file; what is neither a folder nor reachable on the hub gets a sentence."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    there = context(folder)
    ref = build_source(PretrainedConfig(path=folder.name, device="cpu"), there).materialize(tmp_path)
    assert (ref.path, ref.device, ref.dtype) == (folder, "cpu", "float32")
    for path in ("./nowhere", "/no/such/folder", "a/b/c"):
        with pytest.raises(ModelError, match="there is no model folder"):
            build_source(PretrainedConfig(path=path), there).materialize(tmp_path)


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download needs: one repository, whose files hold their own names."""

    files = (
        "config.json", "model.safetensors", "consolidated.safetensors", "consolidated-00001-of-00002.safetensors",
        "original/model.safetensors", "pytorch_model.bin", "tokenizer.json",
    )  # fmt: skip

    def do_GET(self) -> None:
        if self.path.startswith("/api/") and "/tree/" in self.path:
            self.answer(json.dumps([{"type": "file", "path": f, "size": len(f), "oid": f} for f in self.files]))
        elif self.path.startswith("/api/"):
            self.answer(json.dumps({"id": "a/b", "sha": "0" * 40, "siblings": [{"rfilename": f} for f in self.files]}))
        else:
            self.answer(self.path.partition("/resolve/")[2])

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, text: str) -> None:
        self.send_response(200)
        for name, value in (("Content-Length", len(text)), ("X-Repo-Commit", "0" * 40), ("ETag", '"1"')):
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing on the terminal."""


def test_weights_are_fetched_once(tmp_path: Path) -> None:
    """From a hub repository come safetensors, JSON and tokenizer, without the second copy of the weights that some hold."""
    code = (
        "from pathlib import Path; from rft_core.specs import BuildContext; from rft_torch.source import *\n"
        "ref = build_source(PretrainedConfig(path='a/b'), BuildContext(base_dir=Path('.'))).materialize(Path('.'))\n"
        "print(*sorted(str(f.relative_to(ref.path)) for f in ref.path.rglob('*') if f.is_file()))"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.stdout.split() == ["config.json", "model.safetensors", "tokenizer.json"], done.stderr


def test_pretrained_source_offline_names_the_way_out(folder: Path) -> None:
    """Without the network a hub id fails at once, in one sentence."""
    code = (
        "from pathlib import Path; from rft_core.specs import BuildContext; from rft_torch.source import *\n"
        "build_source(PretrainedConfig(path='nobody/nothing'), BuildContext(base_dir=Path('.'))).materialize(Path('.'))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "ModelError: the model 'nobody/nothing'" in done.stderr
    assert "go online, or set model.path to a folder" in done.stderr


@pytest.mark.parametrize("budget", [1, 60, 200, 800, 10_000])
def test_a_plan_holds_every_row_once_within_the_budget(budget: int) -> None:
    """Over random rows, long prompts with short completions among short ones with long completions; only a
    row that is too long by itself exceeds the budget."""
    draw = random.Random(budget)
    for _ in range(20):
        rows = []
        for _ in range(draw.randint(1, 200)):
            length = draw.choice([5, 50, 100])
            start = draw.choice([1, length // 2, length - 2])
            ids = [draw.randint(0, 2) for _ in range(length)]
            rows.append(token_row(ids, range(start, length), share_prompt=draw.random() < 0.7))
        batches = plan(rows, budget)
        assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
        for batch in batches:
            prefixes = {rows[i].prefix for i in batch}
            size = len(prefixes) * max(map(len, prefixes)) + len(batch) * max(rows[i].remainder for i in batch)
            assert size <= budget or len(batch) == 1
    assert plan([], budget) == []


def test_a_plan_pays_little_padding() -> None:
    """Groups of 8 with one prompt and completions of 4 to 48 tokens: at most 1.5 times the needed tokens (one batch: 1.8)."""
    draw = random.Random(0)
    rows = []
    for group in range(64):
        for _ in range(8):
            ids = [*range(group, group + 20), *[1] * draw.randint(4, 48)]
            rows.append(token_row(ids, range(20, len(ids)), share_prompt=True))
    batches = plan(rows, 8192)
    paid = sum(len({rows[i].prefix for i in b}) * 19 + len(b) * max(rows[i].remainder for i in b) for b in batches)
    assert paid <= 1.5 * (64 * 19 + sum(row.remainder for row in rows))


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_logits_at_wanted_positions_are_those_of_the_whole_row(tmp_path: Path, kv_heads: int) -> None:
    """Shared prefixes, padding and the narrowed output layer change logits by rounding alone, also with grouped heads,
    an empty prefix and several trained stretches in one row."""
    model = load_model(ModelRef(path=make_model(tmp_path / "m", num_key_value_heads=kv_heads))).double()
    assert can_share_prefixes(model)
    draw = random.Random(1)
    prompts = [[draw.randrange(28) for _ in range(n)] for n in (1, 3, 12)]
    rows = []
    for prompt in prompts * 3:
        ids = [*prompt, *[draw.randrange(28) for _ in range(draw.randint(2, 9))]]
        wanted = [i for i in range(len(prompt), len(ids)) if draw.random() < 0.6] or [len(ids) - 1]
        rows.append(token_row(ids, wanted, share_prompt=True))
    packed = pack(rows, torch.device("cpu"))
    found = wanted_logits(model, packed)
    expected = torch.cat([model(torch.tensor([row.ids])).logits[0, [p - 1 for p in row.wanted]] for row in rows])
    assert torch.allclose(found, expected, atol=1e-10)
    assert packed.targets_N.tolist() == [row.ids[p] for row in rows for p in row.wanted]


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


@pytest.mark.parametrize("chunk", [1, 30, 10_000])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_logprobs_and_their_gradient_equal_log_softmax(
    monkeypatch: pytest.MonkeyPatch, temperature: float, chunk: int
) -> None:
    """Values, entropy and gradient, in float64 against torch's own functions, in one chunk, some, and one a token."""
    monkeypatch.setattr("rft_torch.logprobs.CHUNK_LOGITS", chunk)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (7,), generator=generator)
    upstream = torch.randn(7, generator=generator, dtype=torch.float64)
    found, entropy = token_logprobs(logits, targets, temperature)
    (gradient,) = torch.autograd.grad((found * upstream).sum(), logits)
    expected = (logits / temperature).log_softmax(-1)
    chosen = expected.gather(1, targets[:, None])[:, 0]
    (reference,) = torch.autograd.grad((chosen * upstream).sum(), logits)
    assert torch.allclose(found, chosen, atol=1e-12)
    assert torch.allclose(gradient, reference, atol=1e-12)
    assert torch.allclose(entropy, -(expected.exp() * expected).sum(-1), atol=1e-12)
    assert not entropy.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_make_one_tensor_of_the_size_of_the_logits(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, temperature: float
) -> None:
    """Of what the two passes allocate only the gradient is larger than a chunk; a second time gives the same bits,
    and float32 those of one chunk to 1e-6."""
    made: list[str] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if isinstance(out, torch.Tensor) and out.numel() > 100 and name != "detach":  # a view
                made.append(name)
            return out

    def both(chunk: int) -> tuple[torch.Tensor, ...]:
        monkeypatch.setattr("rft_torch.logprobs.CHUNK_LOGITS", chunk)
        logits = torch.randn(40, 25, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
        targets = torch.arange(40) % 25
        with Watching():
            logprobs, entropy = token_logprobs(logits, targets, temperature)
            logprobs.backward(torch.linspace(-1, 1, 40))
        assert logits.grad is not None
        return logprobs.detach(), entropy, logits.grad

    first, second = both(100), both(100)
    assert made == ["empty_like"] * 2
    assert all(map(torch.equal, first, second))
    rounding = 1e-6 if dtype == torch.float32 else 1e-2
    assert all(torch.allclose(a, b, atol=rounding) for a, b in zip(first, both(10_000), strict=True))
    assert first[2].dtype == dtype


def test_entropy_of_ruled_out_tokens_is_finite_and_nan_is_kept() -> None:
    """A logit of minus infinity counts as probability 0; NaN logits stay visible in the log-probability."""
    logits = torch.tensor([[0.0, 0.0, -math.inf], [math.nan, 0.0, 0.0]])
    logprobs, entropy = token_logprobs(logits, torch.tensor([0, 1]))
    assert entropy[0] == pytest.approx(math.log(2))
    assert math.isnan(logprobs[1])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0.5, 1, 1, 0.85355, 0.5, 0.14645, 0]),
    ],
)
def test_learning_rate_schedules(schedule: Any, expected: list[float]) -> None:
    """Two steps of warm-up, then four of the schedule; one after the last would be the first at 0."""
    config = TrainerConfig(learning_rate=1.0, schedule=schedule, warmup_steps=2)
    assert [learning_rate(config, step, 6) for step in range(1, 8)] == pytest.approx(expected, abs=1e-5)


def test_the_plugins_import_without_torch() -> None:
    """Registering components costs no heavy import."""
    code = (
        "import sys, rft_torch, rft_optimizer_policy_gradient as a, rft_optimizer_sft as b\n"
        "list(a.rft_optimizers()), list(a.rft_optimizer_parts()), list(b.rft_optimizers()), list(rft_torch.rft_model_sources())\n"
        "print([m for m in ('torch', 'transformers', 'peft', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
