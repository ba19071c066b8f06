"""The optimizer `policy_gradient`, on small random models, against a slow float64 reference."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import REGISTRY, context, graded_group, make_model, random_groups, rollout

from rft_core.errors import ConfigError, IntegrityError, ModelError
from rft_core.specs import BuildContext
from rft_core.types import Grade, GradedGroup, ModelRef, TrainBatch
from rft_core.weights import digest_of, tensor_digests
from rft_optimizer_policy_gradient.optimizer import PolicyGradient
from rft_torch.models import load_model

SETTINGS: dict[str, Any] = {"type": "policy_gradient", "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def build(
    folder: Path, *, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0, **settings: Any
) -> PolicyGradient:
    return make(context(folder, temperature=temperature, top_p=top_p, seed=seed), **settings)


def make(where: BuildContext, **settings: Any) -> PolicyGradient:
    optimizer: PolicyGradient = REGISTRY.build("optimizer", {**SETTINGS, **settings}, where)
    return optimizer


def batch(groups: tuple[GradedGroup, ...], step: int = 1) -> TrainBatch:
    return TrainBatch(step=step, total_steps=10, groups=groups)


def digest(optimizer: PolicyGradient, folder: Path) -> str:
    folder.mkdir(parents=True)
    return optimizer.publish(folder, run_id="r", lineage="main").digest


def gradients(optimizer: PolicyGradient, groups: tuple[GradedGroup, ...]) -> tuple[dict[str, torch.Tensor], Any]:
    """The gradients of the step's last update, caught on their way to AdamW."""
    trainer = optimizer._trainer
    caught: dict[str, torch.Tensor] = {}
    hook = trainer._adamw.register_step_pre_hook(
        lambda *_: caught.update(
            {n: p.grad.double().clone() for n, p in trainer.parameters.items() if p.grad is not None}
        )
    )
    report = optimizer.step(batch(groups))
    hook.remove()
    return caught, report


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Norm of the difference over the norm of `b`."""
    assert a.keys() == b.keys()
    return math.sqrt(sum(float((a[n] - b[n]).norm()) ** 2 for n in b) / sum(float(b[n].norm()) ** 2 for n in b))


def with_failures(groups: tuple[GradedGroup, ...]) -> tuple[GradedGroup, ...]:
    """Missing grades of every kind, a group with one reward left, and one of equal rewards."""
    a, b, c, *rest = groups
    a = replace(a, grades=(Grade.abstained(), *a.grades[1:]))
    b = replace(b, grades=(b.grades[0], Grade.error("boom", "x"), Grade.timed_out("y"), Grade.abstained()))
    c = replace(c, grades=tuple(Grade.score(0.5) for _ in c.grades))
    d = replace(rest[0], grades=(Grade.invalid("bad"), *rest[0].grades[1:]))
    return (a, b, c, d, *rest[1:])


def test_own_ratio_holds_over_several_updates(folder: Path) -> None:
    """With more updates the trainer's log-probabilities from before the first are kept, so ratios leave 1."""
    optimizer = build(folder, old_logprobs="trainer", epochs_per_batch=3)
    report = optimizer.step(batch(random_groups(5)))
    assert 1.0 < report.metrics["ratio_max"] < 100


@pytest.mark.parametrize("budget", [1, 37, 150])
def test_micro_batches_do_not_change_the_gradient(folder: Path, budget: int) -> None:
    """From one row at a time to all at once: the same gradient within 1e-5."""
    groups = random_groups(6)
    whole, _ = gradients(build(folder, max_grad_norm=None), groups)
    cut, _ = gradients(build(folder, micro_batch_tokens=budget, max_grad_norm=None), groups)
    assert distance(cut, whole) < 1e-5


@pytest.mark.parametrize("settings", [{"kl": 0.0}, {"kl": 0.0, "weight_decay": 0.1}])
def test_a_constant_grader_changes_nothing(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Equal rewards leave the weights bit-identical, also after updates that left momentum; the version counts on."""
    optimizer = build(folder, **settings)
    optimizer.step(batch(random_groups(7)))
    before = digest(optimizer, tmp_path / "before")
    groups = tuple(replace(g, grades=tuple(Grade.score(0.3) for _ in g.grades)) for g in random_groups(8))
    report = optimizer.step(batch(groups, 2))
    assert digest(optimizer, tmp_path / "after") == before
    assert report.policy == 2
    assert report.trained_tokens == 0
    assert report.metrics["zero_variance_groups"] == len(groups)
    assert report.metrics["loss"] == 0.0
    json.dumps(dict(report.metrics), allow_nan=False)


def test_a_batch_without_any_grade_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """When every grader fails, the weights stay, and every rollout is counted by its outcome."""
    optimizer = build(folder)
    before = digest(optimizer, tmp_path / "before")
    groups = tuple(replace(g, grades=tuple(Grade.error("boom", "x") for _ in g.grades)) for g in random_groups(8))
    report = optimizer.step(batch(groups))
    assert digest(optimizer, tmp_path / "after") == before
    assert report.dropped == {"grader_error": 24}
    assert "reward_mean" not in report.metrics


def test_missing_grades_are_counted_by_kind(folder: Path) -> None:
    """Every rollout that is left out is in `dropped`; a sample's own fault is trained on."""
    report = build(folder).step(batch(with_failures(random_groups(3))))
    assert report.dropped == {"abstained": 2, "grader_error": 1, "timed_out": 1, "group_too_small": 1}
    assert report.metrics["zero_variance_groups"] == 1


def test_a_missing_grade_is_not_a_zero(folder: Path, tmp_path: Path) -> None:
    """A group with a failed grade trains as if the rollout had never been drawn."""
    groups = random_groups(9)
    failed = tuple(replace(g, grades=(*g.grades[:-1], Grade.timed_out("late"))) for g in groups)
    never = tuple(graded_group(g.group.ordinal, list(g.group.rollouts[:-1]), list(g.grades[:-1])) for g in groups)
    one, other = build(folder), build(folder)
    one.step(batch(failed))
    other.step(batch(never))
    assert digest(one, tmp_path / "one") == digest(other, tmp_path / "other")


@pytest.mark.parametrize(("mode", "dropped"), [("grade", {}), ("mask", {"truncated": 2}), ("zero", {})])
def test_truncated_rollouts(folder: Path, mode: Any, dropped: dict[str, int]) -> None:
    """on_truncated decides whether a rollout at the token limit counts by its grade, not at all, or as 0."""
    rollouts = [rollout(0, s, (5, 6), (7, 8 + s), (-3.0, -3.0), "length" if s < 2 else "stop") for s in range(4)]
    group = graded_group(0, rollouts, [1.0, 1.0, 0.0, 0.5])
    report = build(folder, on_truncated=mode).step(batch((group,)))
    assert report.dropped == dropped
    assert report.metrics["reward_mean"] == pytest.approx(0.125 if mode == "zero" else 0.625)
    assert report.trained_tokens == (4 if mode == "mask" else 8)


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8}])
@pytest.mark.parametrize(
    "extra", [{}, {"updates_per_step": 2, "epochs_per_batch": 2, "kl": 0.05, "schedule": "cosine"}]
)
def test_saved_and_loaded_training_continues_bit_by_bit(
    folder: Path, tmp_path: Path, lora: dict[str, Any] | None, extra: dict[str, Any]
) -> None:
    """N steps equal k steps, save, a fresh optimizer, load, and the other N − k: weights, AdamW's state, reports."""
    settings = {"lora": lora, **extra}
    batches = [batch(random_groups(20 + step), step) for step in range(1, 5)]
    straight = build(folder, **settings)
    reports = [straight.step(b) for b in batches]
    first = build(folder, **settings)
    for b in batches[:2]:
        first.step(b)
    first.save(tmp_path / "checkpoint")
    second = build(folder, **settings)
    second.load(tmp_path / "checkpoint")
    assert [second.step(b) for b in batches[2:]] == reports[2:]
    for name, optimizer in (("straight", straight), ("resumed", second)):
        optimizer.save(tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "straight") for p in (tmp_path / "straight").rglob("*") if p.is_file())
    assert any(file.name == "optimizer.safetensors" for file in files)
    assert all((tmp_path / "straight" / f).read_bytes() == (tmp_path / "resumed" / f).read_bytes() for f in files)


def test_lora_dropout_continues_bit_by_bit(folder: Path, tmp_path: Path) -> None:
    """Dropout is drawn from the seed and the version, not from a generator whose state would be lost."""
    settings = {"lora": {"rank": 4, "dropout": 0.3}}
    straight, first = build(folder, **settings), build(folder, **settings)
    batches = [batch(random_groups(30 + step), step) for step in range(1, 4)]
    for b in batches:
        straight.step(b)
    first.step(batches[0])
    first.save(tmp_path / "checkpoint")
    torch.manual_seed(12345)
    second = build(folder, **settings)
    second.load(tmp_path / "checkpoint")
    for b in batches[1:]:
        second.step(b)
    assert digest(second, tmp_path / "b") == digest(straight, tmp_path / "a")
    other = build(folder, lora={"rank": 4})
    for b in batches:
        other.step(b)
    assert digest(other, tmp_path / "c") != digest(straight, tmp_path / "d")


def test_the_saved_policy_loads_in_transformers(folder: Path, tmp_path: Path) -> None:
    """`policy/` of a checkpoint is a Hugging Face folder with the trained weights and a tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    optimizer = build(folder)
    optimizer.step(batch(random_groups(1)))
    optimizer.save(tmp_path / "checkpoint")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint" / "policy")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(ids).logits, optimizer._trainer.model(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "checkpoint" / "policy")("1+2")["input_ids"]


def arms(optimizer: PolicyGradient, step: int, wanted: int, prompt: tuple[int, ...]) -> tuple[GradedGroup, float]:
    """Rollouts of one token from the policy itself, rewarded for `wanted`; and its probability."""
    with torch.no_grad():
        logprobs = optimizer._trainer.model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    draw = random.Random(step)
    tokens = draw.choices(range(len(logprobs)), weights=logprobs.exp().tolist(), k=16)
    rollouts = [rollout(step, s, prompt, (t,), (float(logprobs[t]),)) for s, t in enumerate(tokens)]
    rewards: list[Grade | float] = [float(t == wanted) for t in tokens]
    return graded_group(step, rollouts, rewards), float(logprobs[wanted].exp())


@pytest.mark.parametrize(("lora", "reached"), [(None, 0.9), ({"rank": 8, "alpha": 16}, 0.2)])
def test_a_rewarded_token_becomes_likely(folder: Path, lora: dict[str, Any] | None, reached: float) -> None:
    """A bandit with one good arm out of 28: its probability rises from 0.06 to 0.9; under an adapter to
    0.2, near the most that this model's frozen output layer and final norm can express."""
    optimizer = build(folder, learning_rate=1e-2, lora=lora)
    prompt = (5, 9, 7)
    with torch.no_grad():
        logits = optimizer._trainer.model(torch.tensor([prompt])).logits[0, -1]
    wanted = int(logits.topk(3).indices[2])
    probabilities = []
    for step in range(1, 31):
        group, probability = arms(optimizer, step, wanted, prompt)
        probabilities.append(probability)
        optimizer.step(batch((group,), step))
    assert probabilities[0] < 0.1
    assert probabilities[-1] > reached


def test_fresh_lora_publishes_the_base_model_and_trains_only_itself(folder: Path, tmp_path: Path) -> None:
    """A new adapter changes no logit; after a step a sampler's model with the adapter equals the trainer's."""
    from rft_torch.weights import load_adapter

    optimizer = build(folder, lora={"rank": 4})
    base = load_model(ModelRef(path=folder))
    ids = torch.tensor([[4, 5, 6, 7]])
    assert torch.equal(base(ids).logits, optimizer._trainer.model(ids).logits)
    assert all("lora_" in name for name in optimizer._trainer.parameters)
    optimizer.step(batch(random_groups(2)))
    (tmp_path / "w").mkdir()
    ref = optimizer.publish(tmp_path / "w", run_id="r", lineage="main")
    assert (ref.kind, ref.number) == ("adapter", 1)
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    load_adapter(base, tmp_path / "w")
    assert torch.equal(base(ids).logits, optimizer._trainer.model(ids).logits)


def test_kl_pulls_towards_the_adapter_the_run_started_from(folder: Path, tmp_path: Path) -> None:
    """A run forked from a LoRA run has that adapter, not the bare base model, as its reference."""
    parent = build(folder, lora={"rank": 4}, learning_rate=1e-2)
    for step in range(1, 4):
        parent.step(batch(random_groups(40 + step), step))
    parent.save(tmp_path / "parent")
    fork = make(context(folder, adapter=tmp_path / "parent" / "policy"), kl=0.1, lora={"rank": 4})
    groups = tuple(replace(g, grades=tuple(Grade.score(1.0) for _ in g.grades)) for g in random_groups(44))
    report = fork.step(batch(groups))
    assert report.metrics["kl"] == 0.0
    assert report.metrics["loss"] == 0.0


def test_kl_holds_the_policy_back(folder: Path) -> None:
    """A strong KL weight keeps the policy near its start; the metric sees the difference."""
    kls = []
    for weight in (1e-6, 5.0):
        optimizer = build(folder, kl=weight, learning_rate=3e-3)
        for step in range(1, 8):
            report = optimizer.step(batch(random_groups(50), step))
        kls.append(report.metrics["kl"])
    assert kls[1] < kls[0] / 3


def test_nan_is_refused_before_the_weights_change(folder: Path, tmp_path: Path) -> None:
    """A NaN log-probability raises, names its rollout and no other, and leaves weights and state alone."""
    optimizer, clean = build(folder, micro_batch_tokens=1), build(folder, micro_batch_tokens=1)
    groups = random_groups(11)
    bad = groups[2].group.rollouts[1]
    prompt, completion = bad.segments
    broken = replace(bad, segments=(prompt, replace(completion, logprobs=(math.nan,) * len(completion.token_ids))))
    poisoned = replace(
        groups[2],
        group=replace(groups[2].group, rollouts=(groups[2].group.rollouts[0], broken, *groups[2].group.rollouts[2:])),
    )
    with pytest.raises(FloatingPointError, match=r"rows:2 sample 1; the update was not made"):
        optimizer.step(batch((*groups[:2], poisoned, *groups[3:])))
    optimizer.step(batch(groups))
    clean.step(batch(groups))
    assert digest(optimizer, tmp_path / "a") == digest(clean, tmp_path / "b")


def test_clipping_scales_the_gradient(folder: Path) -> None:
    """grad_norm is the norm before clipping; what reaches AdamW has the limit's norm."""
    groups = random_groups(12)
    free, free_report = gradients(build(folder, max_grad_norm=None), groups)
    cut, cut_report = gradients(build(folder, max_grad_norm=0.01), groups)
    norm = math.sqrt(sum(float(g.norm()) ** 2 for g in free.values()))
    assert free_report.metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert cut_report.metrics["grad_norm"] == free_report.metrics["grad_norm"]
    assert math.sqrt(sum(float(g.norm()) ** 2 for g in cut.values())) == pytest.approx(0.01, rel=1e-3)


def test_equal_batches_give_equal_bits(folder: Path, tmp_path: Path) -> None:
    """Twice the same steps, with two threads: the same weights and the same metrics, to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = [build(folder, kl=0.01) for _ in range(2)]
        reports = [
            [run.step(batch(random_groups(60 + s, groups=16, samples=8), s)) for s in range(1, 4)] for run in runs
        ]
    finally:
        torch.set_num_threads(threads)
    assert reports[0] == reports[1]
    assert digest(runs[0], tmp_path / "a") == digest(runs[1], tmp_path / "b")


def test_metrics_of_an_ordinary_step(folder: Path) -> None:
    """All the usual names are there and finite; sampler and trainer are compared."""
    metrics = build(folder, kl=0.01).step(batch(random_groups(13))).metrics
    assert set(metrics) >= {
        "loss", "grad_norm", "kl", "entropy", "clip_fraction_low", "clip_fraction_high", "ratio_max", "logprob_diff_mean",
        "logprob_diff_max", "reward_mean", "advantage_abs_mean", "completion_tokens_mean", "learning_rate", "zero_variance_groups",
    }  # fmt: skip
    assert all(math.isfinite(value) for value in metrics.values())
    assert 0 < metrics["entropy"] < math.log(28)
    assert metrics["logprob_diff_max"] >= metrics["logprob_diff_mean"] > 0


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("settings", [{"kl": 0.1}, {"epochs_per_batch": 3}], ids=["kl", "epochs"])
def test_bfloat16_sees_every_update(folder: Path, lora: dict[str, int] | None, settings: dict[str, Any]) -> None:
    """Within a step the weights change, by updates and for the reference: bfloat16 must compute with what they
    are then. Its KL and ratios are float32's, up to rounding."""
    found = []
    for dtype in ("float32", "bfloat16"):
        optimizer = make(
            context(folder, dtype=dtype), learning_rate=5e-3, old_logprobs="trainer", lora=lora, **settings
        )
        metrics = [optimizer.step(batch(random_groups(1), step)).metrics for step in range(1, 5)]
        found.append(metrics[-1 if "kl" in settings else 0])  # ratios move within the first step already
    name = "kl" if "kl" in settings else "ratio_max"
    start = 0.0 if "kl" in settings else 1.0
    exact, rounded = (metrics[name] - start for metrics in found)
    assert exact > 0.01
    assert rounded == pytest.approx(exact, rel=0.25)


def test_an_adapter_keeps_its_shape(folder: Path, tmp_path: Path) -> None:
    """Going on from an adapter with other LoRA settings, or with none, is refused and told."""
    parent = build(folder, lora={"rank": 4})
    parent.save(tmp_path / "parent")
    start = context(folder, adapter=tmp_path / "parent" / "policy")
    make(start, lora={"rank": 4})
    for lora in (None, {"rank": 8}, {"rank": 4, "alpha": 1.0}, {"rank": 4, "targets": ["q_proj"]}):
        with pytest.raises(ConfigError, match=r"starts from a LoRA adapter \(rank 4, alpha 32"):
            make(start, lora=lora)


def test_settings_that_cannot_work_are_refused(folder: Path) -> None:
    """Greedy sampling, behaviour ratios under top_p, half-precision training and unknown keys each get a sentence."""
    with pytest.raises(ConfigError, match="greedy"):
        build(folder, temperature=0.0)
    with pytest.raises(ConfigError, match="top_p"):
        build(folder, top_p=0.9, old_logprobs="sampler")
    with pytest.raises(ConfigError, match="float16"):
        make(context(folder, dtype="float16"))
    with pytest.raises(ConfigError, match="no_such_proj"):
        build(folder, lora={"targets": ["no_such_proj"]})
    with pytest.raises(ConfigError, match=r"optimizer\.clip: unknown key 'clip'"):
        build(folder, clip=0.2)


def test_checkpoints_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    """Full weights under a LoRA run, a missing file and a damaged one: named errors."""
    full = build(folder)
    full.step(batch(random_groups(1)))
    full.save(tmp_path / "c")
    with pytest.raises(ModelError, match="full weights"):
        build(folder, lora={"rank": 4}).load(tmp_path / "c")
    state = tmp_path / "c" / "optimizer.safetensors"
    content = state.read_bytes()
    state.write_bytes(content[:-10])
    with pytest.raises(IntegrityError, match="cannot be read"):
        full.load(tmp_path / "c")
    state.unlink()
    with pytest.raises(IntegrityError, match=r"optimizer\.safetensors"):
        full.load(tmp_path / "c")
    with pytest.raises(IntegrityError, match=r"trainer\.json"):
        full.load(tmp_path)


def test_bfloat16_keeps_float32_weights_and_publishes_bfloat16(folder: Path, tmp_path: Path) -> None:
    """Small updates are not lost to rounding: the trained weights are float32, the published ones bfloat16."""
    optimizer = make(context(folder, dtype="bfloat16"), learning_rate=1e-4)
    optimizer.step(batch(random_groups(1)))
    assert {p.dtype for p in optimizer._trainer.parameters.values()} == {torch.float32}
    (tmp_path / "w").mkdir()
    ref = optimizer.publish(tmp_path / "w", run_id="r", lineage="main")
    assert {entry[0] for entry in tensor_digests(tmp_path / "w" / "model.safetensors").values()} == {"BF16"}
    assert ref.digest == digest_of(tmp_path / "w")
