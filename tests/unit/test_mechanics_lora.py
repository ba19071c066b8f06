"""LoRA in `rft_torch`'s trainer: one node per layer, DoRA, the reference, 4 bits; AdamW in 8 bits; schedules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import context, make_model
from torch import Tensor
from transformers import get_scheduler

from rft_core.errors import ConfigError, IntegrityError
from rft_core.types import ModelRef
from rft_torch.batching import token_row
from rft_torch.lora import LoraSettings
from rft_torch.lora_linear import fuse
from rft_torch.models import load_model
from rft_torch.settings import TrainerConfig, learning_rate
from rft_torch.trainer import Trainer

IDS = torch.tensor([[5, 6, 7, 8]])
ROWS = [token_row([5, 6, 7, 8, 9, i], range(3, 6), share_prompt=True) for i in range(4)]
with_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def step(trainer: Trainer, lr: float = 1e-2) -> float:
    with trainer.computing():
        _, logprobs_N, _ = trainer.logprobs(ROWS, 1.0)
        loss = (logprobs_N * torch.linspace(-1, 1, len(logprobs_N))).sum()
        loss.backward()
        trainer.update([(loss, ["rows"])], lr)
    trainer.policy += 1
    return float(loss.detach())


def values(trainer: Trainer) -> Tensor:
    with torch.no_grad(), trainer.autocast():
        return trainer.logprobs(ROWS, 1.0)[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_node_per_layer_computes_what_peft_does(folder: Path, dtype: str) -> None:
    """Outputs and gradients of an adapter that is not zero are peft's, to the rounding of the dtype."""
    config = TrainerConfig(lora=LoraSettings(rank=4))
    ours, pefts = (Trainer(config, context(folder, dtype=dtype)) for _ in range(2))
    found = []
    for trainer, fused in ((ours, True), (pefts, False)):
        generator = torch.Generator().manual_seed(0)
        for parameter in trainer.parameters.values():
            parameter.data.normal_(std=0.1, generator=generator)
        if not fused:
            for module in trainer.model.modules():
                if hasattr(module, "lora_A"):
                    module.forward = module.forward._plain
        with trainer.computing():
            _, logprobs_N, _ = trainer.logprobs(ROWS, 1.0)
            (logprobs_N * torch.linspace(-1, 1, len(logprobs_N))).sum().backward()
            gradients = [p.grad.clone() for p in trainer.parameters.values() if p.grad is not None]
        assert len(gradients) == len(trainer.parameters)
        found.append([logprobs_N.detach(), *gradients])
    limit = 1e-5 if dtype == "float32" else 0.03
    assert all(one.dtype == torch.float32 for one in found[0])
    for part in (slice(0, 1), slice(1, None)):
        a, b = (torch.cat([one.flatten() for one in each[part]]) for each in found)
        assert (a - b).norm() <= limit * b.norm()


def test_the_node_passes_gradcheck(folder: Path) -> None:
    """Numeric differences in float64, with a bias, batched inputs and all inputs' gradients."""
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    model: Any = inject_adapter_in_model(
        LoraConfig(r=2, lora_alpha=3, target_modules=["0"]), torch.nn.Sequential(torch.nn.Linear(3, 4)).double()
    )
    fuse(model)
    layer = model[0].double().eval()
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    b.data.normal_()
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = layer.base_layer(x) + 1.5 * (x @ a.T @ b.T)
    assert torch.allclose(layer(x), expected, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, a, b))


def test_a_reference_of_a_fresh_adapter_is_the_base(folder: Path) -> None:
    """Before and after updates it is bit for bit the model without an adapter; nothing is copied, the policy stays as
    it was, and what requires gradients too."""
    trainer = Trainer(TrainerConfig(lora=LoraSettings(rank=2)), context(folder), keep_reference=True)
    assert trainer._initial == {}
    base = load_model(ModelRef(path=folder))(IDS).logits
    trainable = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    for _ in range(3):
        step(trainer)
        before = values(trainer)
        with trainer.reference():
            assert torch.equal(trainer.model(IDS).logits, base)
        assert torch.equal(values(trainer), before)
    assert not torch.equal(trainer.model(IDS).logits, base)
    assert {name for name, p in trainer.model.named_parameters() if p.requires_grad} == trainable


def test_a_reference_of_a_given_adapter_is_that_adapter(folder: Path, tmp_path: Path) -> None:
    """A run that starts from an adapter keeps it as its reference."""
    lora = LoraSettings(rank=2)
    first = Trainer(TrainerConfig(lora=lora), context(folder))
    step(first)
    first.publish(tmp_path, run_id="r", lineage="l")
    trainer = Trainer(TrainerConfig(lora=lora), context(folder, adapter=tmp_path), keep_reference=True)
    start = trainer.model(IDS).logits
    step(trainer)
    with trainer.reference():
        assert torch.equal(trainer.model(IDS).logits, start)
    assert not torch.equal(trainer.model(IDS).logits, start)


def test_dora_is_trained_kept_and_loaded_by_peft(folder: Path, tmp_path: Path) -> None:
    """Magnitudes move, a checkpoint continues bit by bit, and peft's own class has the policy's logits."""
    from peft import PeftModel

    config = TrainerConfig(lora=LoraSettings(rank=2, dora=True))
    one, other = (Trainer(config, context(folder)) for _ in range(2))
    magnitudes = [name for name in one.parameters if "magnitude" in name]
    before = {name: one.parameters[name].detach().clone() for name in magnitudes}
    step(one)
    assert magnitudes
    assert all(not torch.equal(one.parameters[name], before[name]) for name in magnitudes)
    one.save(tmp_path)
    other.load(tmp_path)
    assert [step(one) for _ in range(2)] == [step(other) for _ in range(2)]
    one.save(tmp_path)
    wrapped = PeftModel.from_pretrained(load_model(ModelRef(path=folder)), tmp_path / "policy")
    assert torch.allclose(wrapped(IDS).logits, one.model(IDS).logits, atol=1e-5)
    forked = context(folder, adapter=tmp_path / "policy")
    assert torch.equal(Trainer(config, forked).model(IDS).logits, one.model(IDS).logits)
    with pytest.raises(ConfigError, match="rank 2, alpha 32, dropout 0, DoRA"):
        Trainer(TrainerConfig(lora=LoraSettings(rank=2)), forked)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lora": LoraSettings(quantize="4bit")}, r"optimizer\.lora\.quantize: .*`pip install .*bitsandbytes"),
        ({"adamw_8bit": True}, r"optimizer\.adamw_8bit: .*`pip install bitsandbytes`"),
    ],
)
def test_without_bitsandbytes_there_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], sentence: str
) -> None:
    """It names the setting, what is missing and the command."""
    monkeypatch.setattr("rft_torch.packages.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=sentence):
        Trainer(TrainerConfig(**settings), context(folder))


@with_bitsandbytes
def test_qlora_trains_an_adapter_over_four_bits(tmp_path: Path) -> None:
    """Linear layers are NF4, the adapter alone moves, a checkpoint continues, the reference is the quantised base."""
    folder = make_model(tmp_path / "wide", hidden=128)
    config = TrainerConfig(lora=LoraSettings(rank=2, quantize="4bit"))
    one, other = (Trainer(config, context(folder), keep_reference=True) for _ in range(2))
    assert type(one.model.get_decoder().layers[0].mlp.up_proj.base_layer).__name__ == "Linear4bit"
    start = values(one)
    assert 0 < (start - values(Trainer(TrainerConfig(), context(folder)))).abs().max() < 1.0
    losses = [step(one) for _ in range(3)]
    assert losses[2] < losses[0]
    with one.reference():
        assert torch.equal(one.logprobs(ROWS, 1.0)[1], start)
    (tmp_path / "save").mkdir()
    one.save(tmp_path / "save")
    other.load(tmp_path / "save")
    assert step(one) == step(other)


@with_bitsandbytes
def test_gradients_pass_through_four_bits(tmp_path: Path) -> None:
    """The adapter's gradient is that over a plain model with the same, dequantised weights, in every layer."""
    from bitsandbytes.functional import dequantize_4bit

    folder = make_model(tmp_path / "wide", hidden=128)
    one = Trainer(TrainerConfig(lora=LoraSettings(rank=2, quantize="4bit")), context(folder))
    plain = Trainer(TrainerConfig(lora=LoraSettings(rank=2)), context(folder))
    modules = dict(one.model.named_modules())
    for name, module in plain.model.named_modules():
        if hasattr(module, "lora_A"):
            weight = modules[name].base_layer.weight
            module.base_layer.weight.data.copy_(dequantize_4bit(weight.data, weight.quant_state))
    vectors = []
    for trainer in (one, plain):
        generator = torch.Generator().manual_seed(0)
        for parameter in trainer.parameters.values():
            parameter.data.normal_(std=0.1, generator=generator)
        _, logprobs_N, _ = trainer.logprobs(ROWS, 1.0)
        (logprobs_N * torch.linspace(-1, 1, len(logprobs_N))).sum().backward()
        vectors.append(torch.cat([p.grad.flatten() for p in trainer.parameters.values() if p.grad is not None]))
    assert (vectors[0] - vectors[1]).norm() < 1e-4 * vectors[1].norm()


@with_bitsandbytes
def test_adamw_in_eight_bits_learns_and_continues(tmp_path: Path) -> None:
    """Large matrices have states of bytes; a checkpoint continues bit by bit, and does not fit the other kind."""
    folder = make_model(tmp_path / "wide", hidden=64)
    config = TrainerConfig(adamw_8bit=True)
    one, other = (Trainer(config, context(folder)) for _ in range(2))
    losses = [step(one, 1e-3) for _ in range(3)]
    assert losses[2] < losses[0]
    matrix = one.parameters["model.layers.0.mlp.up_proj.weight"]
    assert one._adamw.state[matrix]["state1"].dtype == torch.uint8
    one.save(tmp_path)
    other.load(tmp_path)
    assert [step(one) for _ in range(2)] == [step(other) for _ in range(2)]
    plain = Trainer(TrainerConfig(), context(folder))
    with pytest.raises(IntegrityError, match=r"make optimizer\.adamw_8bit agree"):
        plain.load(tmp_path)


@pytest.mark.parametrize(
    ("schedule", "ratio", "expected"),
    [
        ("constant", 0.5, [0.5, 1, 1, 1, 1, 1, 1]),
        ("linear", 0.2, [0.5, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        ("cosine", 0.1, [0.5, 1, 1, 0.868198, 0.55, 0.231802, 0.1]),
        ("inverse_sqrt", 0.0, [0.5, 1, 1, 0.816497, 0.707107, 0.632456, 0.577350]),
        ("warmup_stable_decay", 0.0, [0.5, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_schedules_fall_to_their_lowest(schedule: Any, ratio: float, expected: list[float]) -> None:
    """Two steps of warm-up, then four of the schedule; one after the last would be the first at the lowest."""
    config = TrainerConfig(learning_rate=1.0, schedule=schedule, warmup_steps=2, min_lr_ratio=ratio)
    assert [learning_rate(config, step, 6) for step in range(1, 8)] == pytest.approx(expected, abs=1e-5)


def test_the_decay_of_warmup_stable_decay_is_the_last_fifth() -> None:
    """Ten steps: kept for eight, then half, then a fourth of the peak more than the lowest."""
    config = TrainerConfig(learning_rate=1.0, schedule="warmup_stable_decay", min_lr_ratio=0.5)
    assert [learning_rate(config, step, 10) for step in range(1, 12)] == pytest.approx([1.0] * 9 + [0.75, 0.5])


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        ("constant", ("constant_with_warmup", {})),
        ("linear", ("linear", {})),
        ("cosine", ("cosine_with_min_lr", {"min_lr_rate": 0.1})),
        ("inverse_sqrt", ("inverse_sqrt", {})),
        (
            "warmup_stable_decay",
            ("warmup_stable_decay", {"num_decay_steps": 4, "decay_type": "linear", "min_lr_ratio": 0.1}),
        ),
    ],
)
def test_schedules_are_those_of_transformers(schedule: Any, theirs: tuple[str, dict[str, Any]]) -> None:
    """After the warm-up, which here ends at the peak and takes a first step that is not 0."""
    name, settings = theirs
    warmup, steps = 4, 24
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    scheduler = get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=settings)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    lowest = 0.1 if schedule in ("cosine", "warmup_stable_decay") else 0.0
    config = TrainerConfig(schedule=schedule, learning_rate=3e-4, warmup_steps=warmup, min_lr_ratio=lowest)
    ours = [learning_rate(config, step, steps) for step in range(1, steps + 1)]
    assert ours[warmup:] == pytest.approx(expected[warmup:], rel=1e-6)
