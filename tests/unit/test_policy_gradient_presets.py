"""Every preset, and every part in a whole step: loss and gradient against the papers' formulas in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pg_reference as ref
import pytest
import torch
from pg_reference import Wanted
from tiny_models import REGISTRY, context, make_model, random_groups

from rft_core.types import Grade, GradedGroup, ModelRef, TrainBatch
from rft_optimizer_policy_gradient.optimizer import PolicyGradient
from rft_optimizer_policy_gradient.presets import SUMMARIES
from rft_torch.models import load_model

TEMPERATURE = 0.7
TEACHER = "teacher"

PRESETS: dict[str, Wanted] = {
    "grpo": Wanted(),
    "dr_grpo": Wanted(advantage="group_mean", aggregation="constant"),
    "bnpo": Wanted(aggregation="token"),
    "dapo": Wanted(aggregation="token", drop_equal=True, numbers={"high": 0.28}),
    "gspo": Wanted(ratio="sequence", old="trainer", numbers={"low": 3e-4, "high": 4e-4}),
    "cispo": Wanted(objective="cispo", aggregation="token"),
    "sapo": Wanted(objective="sapo"),
    "rloo": Wanted(advantage="leave_one_out", ratio="sequence_product", old="trainer"),
    "reinforce": Wanted(advantage="group_mean", objective="reinforce", aggregation="token"),
    "reinforce_pp": Wanted(advantage="batch_normalized", aggregation="token"),
    "reinforce_pp_baseline": Wanted(advantage="group_mean_batch_normalized", aggregation="token"),
    "ppo": Wanted(advantage="gae", aggregation="token"),
    "maxrl": Wanted(advantage="mean_normalized", aggregation="token"),
    "gdpo": Wanted(advantage="per_grader_normalized"),
    "best_of_n": Wanted(advantage="best", objective="reinforce", aggregation="token"),
    "distillation": Wanted(advantage="distillation", objective="reinforce", aggregation="token"),
}
"""What each name means, said once more."""

VARIANTS: dict[str, tuple[dict[str, Any], Wanted]] = {
    "kl k1 in the loss": (
        {"kl": {"weight": 0.1, "estimator": "k1", "unbiased": True}},
        Wanted(kl="k1", kl_weight=0.1, kl_unbiased=True),
    ),
    "kl k2 in the loss": ({"kl": {"weight": 0.1, "estimator": "k2"}}, Wanted(kl="k2", kl_weight=0.1)),
    "kl k3 in the loss": ({"kl": 0.1}, Wanted(kl_weight=0.1)),
    "unbiased kl in the loss": ({"kl": {"weight": 0.1, "unbiased": True}}, Wanted(kl_weight=0.1, kl_unbiased=True)),
    "kl in the reward of a group": (
        {"kl": {"weight": 0.1, "estimator": "k1", "in_reward": True}},
        Wanted(kl="k1", kl_weight=0.1, kl_in_reward=True),
    ),
    "kl in the reward of tokens": (
        {"algorithm": "reinforce_pp", "kl": {"weight": 0.1}},
        Wanted(advantage="batch_normalized", aggregation="token", kl="k1", kl_weight=0.1, kl_in_reward=True),
    ),
    "kl in the reward of ppo": (
        {"algorithm": "ppo", "kl": {"weight": 0.1}, "advantage": {"gamma": 0.9, "lam": 0.5}},
        Wanted(
            advantage="gae",
            aggregation="token",
            kl="k1",
            kl_weight=0.1,
            kl_in_reward=True,
            numbers={"gamma": 0.9, "lam": 0.5},
        ),
    ),
    "entropy": ({"entropy": 0.3}, Wanted(entropy=0.3)),
    "entropy by tokens": ({"entropy": 0.3, "aggregation": "token"}, Wanted(entropy=0.3, aggregation="token")),
    "truncated by token": (
        {"correction": {"type": "truncated", "max": 1.1}},
        Wanted(old="trainer", correction="truncated", numbers={"max": 1.1}),
    ),
    "truncated by sequence": (
        {"correction": {"type": "truncated", "level": "sequence"}},
        Wanted(old="trainer", correction="truncated", level="sequence"),
    ),
    "masked by token": ({"correction": "masked"}, Wanted(old="trainer", correction="masked")),
    "masked by mean": (
        {"correction": {"type": "masked", "level": "geometric", "min": 0.7, "max": 1.5}},
        Wanted(old="trainer", correction="masked", level="geometric", numbers={"min": 0.7, "max": 1.5}),
    ),
    "by group": ({"aggregation": "group_token"}, Wanted(aggregation="group_token")),
    "a constant length": (
        {"aggregation": {"type": "constant", "length": 7}},
        Wanted(aggregation="constant", numbers={"length": 7}),
    ),
    "dual clip": ({"objective": {"dual": 1.3}}, Wanted(numbers={"dual": 1.3})),
    "raw": ({"advantage": "raw"}, Wanted(advantage="raw")),
    "sequence ratio against the sampler": ({"ratio": "sequence"}, Wanted(ratio="sequence")),
    "soft gates apart": (
        {"algorithm": "sapo", "objective": {"positive": 2.0, "negative": 0.5}},
        Wanted(objective="sapo", numbers={"positive": 2.0, "negative": 0.5}),
    ),
    "a tight cispo": (
        {"algorithm": "cispo", "objective": {"max_ratio": 1.0}},
        Wanted(objective="cispo", aggregation="token", numbers={"max_ratio": 1.0}),
    ),
    "graders by weight": (
        {"algorithm": "gdpo", "advantage": {"weights": {"a": 2.0, "b": 0.5}}},
        Wanted(advantage="per_grader_normalized", numbers={"weights": {"a": 2.0, "b": 0.5}}),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_model(tmp_path_factory.getbasetemp() / "models" / TEACHER, seed=5)
    return make_model(tmp_path_factory.getbasetemp() / "models" / "tiny")


def build(folder: Path, **settings: Any) -> PolicyGradient:
    raw = {"type": "policy_gradient", "learning_rate": 1e-3, "max_grad_norm": None, **settings}
    if settings.get("algorithm") == "distillation":
        raw["kl"] = {"reference": TEACHER}
    optimizer: PolicyGradient = REGISTRY.build("optimizer", raw, context(folder, temperature=TEMPERATURE))
    return optimizer


def in_float64(optimizer: PolicyGradient) -> PolicyGradient:
    """The same code on double weights, so that the formula is compared and not rounding. The critic, which says 0
    at first, gets an opinion."""
    trainer = optimizer._trainer
    trainer.model.double()
    if trainer._initial is not None:
        trainer._initial = {name: tensor.double() for name, tensor in trainer._initial.items()}
    if optimizer._critic is not None:
        critic = optimizer._critic._trainer.model.double()
        with torch.no_grad():
            critic.score.weight.normal_(generator=torch.Generator().manual_seed(1))
    if hasattr(optimizer._reference, "_model"):
        optimizer._reference._model.model.double()
    return optimizer


def ragged_groups(seed: int) -> tuple[GradedGroup, ...]:
    """Ragged rollouts of two graders, with missing grades of every kind, a lone reward and equal ones. Behaviour
    log-probabilities are near the policy's, so that clips and masks catch some tokens and not all."""
    a, b, c, d, *rest = (_with_two_graders(g) for g in random_groups(seed, groups=7))
    a = replace(a, grades=(Grade.abstained(), *a.grades[1:]))
    b = replace(b, grades=(b.grades[0], Grade.error("boom", "x"), Grade.timed_out("y"), Grade.abstained()))
    c = replace(c, grades=tuple(replace(x, reward=0.5, sub_rewards={"a": 0.5, "b": 0.1}) for x in c.grades))
    d = replace(d, grades=(replace(Grade.invalid("bad"), sub_rewards={"a": 0.0, "b": 0.0}), *d.grades[1:]))
    return (a, b, c, d, *rest)


def _with_two_graders(graded: GradedGroup) -> GradedGroup:
    grades = [
        replace(x, sub_rewards={"a": x.reward or 0.0, "b": round(math.sin(9 * n + graded.group.ordinal), 3)})
        for n, x in enumerate(graded.grades)
    ]
    return replace(graded, grades=tuple(grades))


def near_policy(folder: Path, groups: tuple[GradedGroup, ...], spread: float = 0.4) -> tuple[GradedGroup, ...]:
    """The same with behaviour log-probabilities around the policy's own."""
    model = load_model(ModelRef(path=folder)).double()
    noise = torch.Generator().manual_seed(0)
    made = []
    for graded in groups:
        rollouts = []
        for r in graded.group.rollouts:
            prompt, completion = r.segments
            ids = torch.tensor([[*prompt.token_ids, *completion.token_ids]])
            with torch.no_grad():
                logp = (model(input_ids=ids).logits[0] / TEMPERATURE).log_softmax(-1)
            start = len(prompt.token_ids) - 1
            own = [float(logp[start + t, token]) for t, token in enumerate(completion.token_ids)]
            moved = torch.randn(len(own), generator=noise) * spread
            behaviour = tuple(min(o + float(m), -1e-3) for o, m in zip(own, moved, strict=True))
            rollouts.append(replace(r, segments=(prompt, replace(completion, logprobs=behaviour))))
        made.append(replace(graded, group=replace(graded.group, rollouts=tuple(rollouts))))
    return tuple(made)


def gradients(optimizer: PolicyGradient, groups: tuple[GradedGroup, ...]) -> tuple[dict[str, torch.Tensor], Any]:
    """The gradients of the step's update, caught on their way to AdamW."""
    trainer = optimizer._trainer
    caught: dict[str, torch.Tensor] = {}
    hook = trainer._adamw.register_step_pre_hook(
        lambda *_: caught.update(
            {n: p.grad.double().clone() for n, p in trainer.parameters.items() if p.grad is not None}
        )
    )
    report = optimizer.step(TrainBatch(step=1, total_steps=10, groups=groups))
    hook.remove()
    return caught, report


def distance(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """Norm of the difference over the norm of `b`."""
    assert a.keys() == b.keys()
    return math.sqrt(sum(float((a[n] - b[n]).norm()) ** 2 for n in b) / sum(float(b[n].norm()) ** 2 for n in b))


def check(folder: Path, settings: dict[str, Any], wanted: Wanted) -> None:
    groups = near_policy(folder, ragged_groups(3))
    optimizer = in_float64(build(folder, **settings))
    policy = load_model(ModelRef(path=folder), trainable=True).double()
    other = folder.parent / TEACHER if wanted.advantage == "distillation" else folder
    reference = load_model(ModelRef(path=other)).double()
    critic = optimizer._critic._trainer.model if optimizer._critic is not None else None
    loss, expected = ref.step(
        policy, groups, replace(wanted, temperature=TEMPERATURE), reference=reference, critic=critic
    )
    found, report = gradients(optimizer, groups)
    assert report.metrics["loss"] == pytest.approx(loss, rel=1e-6, abs=1e-9)
    assert distance(found, expected) < 1e-6


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_paper_says(folder: Path, name: str) -> None:
    """Ragged rollouts, missing grades, padding: loss and gradient are those of a float64 loop over tokens."""
    check(folder, {"algorithm": name}, PRESETS[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_part_does_in_a_step_what_its_formula_says(folder: Path, name: str) -> None:
    """The same for every other part, and for numbers that are not the preset's."""
    settings, wanted = VARIANTS[name]
    check(folder, settings, wanted)


def test_every_preset_is_compared() -> None:
    """None that the plugin has is missing above."""
    assert {preset.__name__ for preset in SUMMARIES} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_float32_is_close_to_the_formula(folder: Path, name: str) -> None:
    """What really runs (float32, shared prompts, micro-batches) is within rounding of the same in float64."""
    groups = near_policy(folder, ragged_groups(4))
    settings = {"algorithm": name, "micro_batch_tokens": 60}
    rough, _ = gradients(build(folder, **settings), groups)
    exact, _ = gradients(in_float64_without_opinion(build(folder, **settings)), groups)
    assert distance(rough, exact) < 1e-4


@pytest.mark.parametrize("name", ["grpo", "ppo", "gspo"])
@pytest.mark.parametrize(
    "settings",
    [
        {"micro_batch_tokens": 1},
        {"micro_batch_tokens": 50},
        {"packing": True},
        {"packing": True, "micro_batch_tokens": 50},
        {"activation_checkpointing": True},
    ],
    ids=["one row", "few rows", "packing", "packing few", "checkpointing"],
)
def test_how_it_is_computed_changes_nothing(folder: Path, name: str, settings: dict[str, Any]) -> None:
    """Micro-batches, streams without pads, layers computed twice: the same gradient within 1e-5, in float32."""
    groups = near_policy(folder, ragged_groups(5))
    kl = {"kl": {"weight": 0.1}}
    plain, _ = gradients(build(folder, algorithm=name, **kl), groups)
    other, _ = gradients(build(folder, algorithm=name, **kl, **settings), groups)
    assert distance(other, plain) < 1e-5


def in_float64_without_opinion(optimizer: PolicyGradient) -> PolicyGradient:
    critic = optimizer._critic
    optimizer._critic = None
    in_float64(optimizer)
    optimizer._critic = critic
    return optimizer


def test_the_critic_follows_its_formula(folder: Path) -> None:
    """Its loss and gradient: half the squared distance to the λ-returns, the larger of clipped and not."""
    groups = near_policy(folder, ragged_groups(3))
    settings = {"algorithm": "ppo", "critic": {"lam": 0.8, "max_grad_norm": None}, "advantage": {"gamma": 0.9}}
    optimizer = in_float64(build(folder, **settings))
    critic = optimizer._critic
    assert critic is not None
    model = critic._trainer.model
    taken = [
        ref.Taken(group=0, rollout=r, reward=x.reward, sub_rewards={})
        for graded in groups
        for r, x in zip(graded.group.rollouts, graded.grades, strict=True)
        if x.reward is not None
    ]
    wanted = Wanted(numbers={"gamma": 0.9, "lam": 0.8})
    policy = load_model(ModelRef(path=folder)).double()
    loss = torch.zeros((), dtype=torch.float64)
    for rollout in taken:
        ref._look(policy, rollout, TEMPERATURE, None, model)
        returns = [
            a + v for a, v in zip(ref._gae(rollout, [0.0] * rollout.tokens, wanted), rollout.values, strict=True)
        ]
        prompt, completion = rollout.rollout.segments
        ids = torch.tensor([[*prompt.token_ids, *completion.token_ids]])
        hidden = model.get_decoder()(input_ids=ids).last_hidden_state[0]
        for t in range(rollout.tokens):
            value = model.score(hidden[len(prompt.token_ids) - 1 + t])[0]
            loss = loss + (value - returns[t]) ** 2 / 2
    loss = loss / sum(t.tokens for t in taken)
    expected = torch.autograd.grad(loss, list(critic._trainer.parameters.values()))
    caught: list[torch.Tensor] = []
    hook = critic._trainer._adamw.register_step_pre_hook(
        lambda *_: caught.extend(p.grad.clone() for p in critic._trainer.parameters.values() if p.grad is not None)
    )
    report = optimizer.step(TrainBatch(step=1, total_steps=10, groups=groups))
    hook.remove()
    assert report.metrics["critic_loss"] == pytest.approx(float(loss), rel=1e-6)
    numbers = dict(enumerate(expected))
    assert distance(dict(enumerate(caught)), numbers) < 1e-6
