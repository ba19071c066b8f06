"""Models, weights, micro-batches and log-probabilities of `rft_torch`."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import REGISTRY, make_model
from torch.utils._python_dispatch import TorchDispatchMode

from rft_core.errors import ConfigError, ModelError
from rft_core.types import ModelRef
from rft_core.weights import digest_of, verify
from rft_torch.batching import plan, token_row
from rft_torch.forward import can_share_prefixes, pack, wanted_logits
from rft_torch.logprobs import token_logprobs
from rft_torch.lora import LoraSettings, add_lora
from rft_torch.models import load_model, load_tokenizer
from rft_torch.scalar import load_scalar_model
from rft_torch.settings import TrainerConfig, learning_rate
from rft_torch.weights import adapter_tensors, copy_side_files, load_adapter, load_full, publish_adapter, publish_full

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
    """Adapter and config written here and under another hash seed are the same bytes."""
    code = (
        "import sys; from pathlib import Path; from rft_core.types import ModelRef; from rft_torch.models import load_model\n"
        "from rft_torch.lora import LoraSettings, add_lora; from rft_torch.weights import publish_adapter\n"
        "model = load_model(ModelRef(path=Path(sys.argv[1])))\n"
        "add_lora(model, LoraSettings(rank=2), seed=3, base_path='base'); publish_adapter(model, Path(sys.argv[2]))"
    )
    arguments = [sys.executable, "-c", code, str(folder), str(fresh(tmp_path / "there"))]
    subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    model = load_model(ModelRef(path=folder))
    add_lora(model, LoraSettings(rank=2), seed=3, base_path="base")
    publish_adapter(model, fresh(tmp_path / "here"))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


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

    def adapted(*targets: str) -> int:
        model = load_model(ModelRef(path=folder))
        add_lora(model, LoraSettings(rank=2, targets=targets), seed=0, base_path="base")
        return sum(name.endswith("lora_A") for name, _ in model.named_modules())

    assert adapted("q_proj", "self_attn.v_proj", "model.layers.1.mlp.up_proj") == 5
    with pytest.raises(ConfigError, match=r"lora\.targets: .*'v_prj'; did you mean 'v_proj'\?") as caught:
        adapted("q_proj", "v_prj")
    assert "'q_proj'" not in str(caught.value)
    with pytest.raises(
        ConfigError, match=r"lora\.targets: LoRA cannot adapt 'norm', a LlamaRMSNorm; choose from down_proj, "
    ):
        adapted("q_proj", "norm")


@pytest.mark.parametrize(
    ("targets", "meant"),
    [("q_proj", ("q_proj",)), (["all-linear"], "all-linear"), ([], None), ([""], None), (3, None), ([3], None)],
)
def test_lora_targets_are_a_name_or_names(targets: Any, meant: object) -> None:
    """One name is a list of one; anything else is one sentence under the key."""
    if meant is not None:
        assert LoraSettings(targets=targets).targets == meant
        return
    with pytest.raises(
        ConfigError, match=r"^optimizer\.lora\.targets: give the names of modules, such as \[q_proj, v_proj\]"
    ):
        REGISTRY.configure("optimizer", {"type": "policy_gradient", "lora": {"targets": targets}}, where="optimizer")


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
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0broken"),
            "was cut short or damaged; fetch",
        ),
        (lambda f: os.truncate(f / "model.safetensors", 9000), r"model\.safetensors was cut short or damaged; fetch"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json was cut short or damaged; fetch"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "nobody-knows"}'),
            r"cannot be loaded .*; fetch it again",
        ),
        (
            lambda f: rewrite_config(f, architectures=["LlamaForSequenceClassification"]),
            "reward model .* writes none; give",
        ),
        (
            lambda f: rewrite_weights(f, math.nan),
            r"the tensor model\.layers\.1\.mlp\.up_proj\.weight in .* not finite; fetch",
        ),
        (
            lambda f: rewrite_weights(f, 3e38),
            "not finite in float32, although its weights are; load it in another dtype",
        ),
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


def rewrite_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite_weights(folder: Path, value: float) -> None:
    """One number of an inner layer becomes `value`, another of the same row too."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][0, :2] = value
    save_file(tensors, file, metadata={"format": "pt"})


def test_an_adapter_that_is_not_finite_is_named(folder: Path, tmp_path: Path) -> None:
    """By its folder and by the tensor's name in its file, also where a scalar head stands beside it."""
    for name, load in (("policy", load_model), ("critic", load_scalar_model)):
        model = load(ModelRef(path=folder))
        add_lora(model, LoraSettings(rank=2), seed=0, base_path="base")
        last = list(adapter_tensors(model).values())[-1]
        with torch.no_grad():
            last[0, 0] = math.inf
        publish_adapter(model, fresh(tmp_path / name))
        tensor = "score" if name == "critic" else r"v_proj\.lora_B"
        with pytest.raises(ModelError, match=rf"the tensor .*{tensor}\.weight in {tmp_path / name} holds"):
            load(ModelRef(path=folder, adapter=tmp_path / name))


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
