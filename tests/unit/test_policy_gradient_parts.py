"""The parts of `policy_gradient` by themselves: edge cases, derivatives, and parts of other plugins."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import REGISTRY, context, make_model, random_groups
from torch import Tensor

from rft_core import BuildContext, ComponentConfig, Grade, OptimizerPartSpec, Part, TrainBatch, hookimpl
from rft_core.errors import BadReplyError, ConfigError, NumericsError, PluginError, UnknownNameError
from rft_core.registry import PluginOwner, Registry
from rft_optimizer_policy_gradient.scored import Advantage, Groups, Scored
from rft_optimizer_policy_gradient.tokens import Rows, Surrogate, Tokens

ESTIMATORS = [n.removeprefix("advantage/") for n in REGISTRY.names("optimizer_part") if n.startswith("advantage/")]
OBJECTIVES = [n.removeprefix("objective/") for n in REGISTRY.names("optimizer_part") if n.startswith("objective/")]
ALONE = {"batch_normalized", "gae", "raw", "distillation"}
"""Estimators that need no group."""


def part(role: str, name: str, **settings: Any) -> Part:
    return REGISTRY.part(role, {"type": name, **settings}, where=role)


def scored(reward: float, tokens: int = 3) -> Scored:
    return Scored(
        reward=reward,
        tokens=tokens,
        sub_rewards={"a": reward, "b": reward},
        values_T=np.linspace(0.1, 0.4, tokens),
        gap_T=np.zeros(tokens),
    )


def sizes(advantages: list[list[Advantage]]) -> list[list[float | None]]:
    return [[None if a is None else float(np.abs(np.asarray(a)).max(initial=0.0)) for a in row] for row in advantages]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("reward", [0.1, 0.0, 1e9, -0.3])
def test_equal_rewards_give_exactly_zero(name: str, reward: float) -> None:
    """Whatever they are: 0.1 has no exact binary mean, and a rounding error over a tiny deviation would be large."""
    groups = [[scored(reward, tokens) for tokens in (1, 4, 2, 5, 3, 3, 7)] for _ in range(3)]
    assert sizes(part("advantage", name)(groups)) == [[0.0] * 7] * 3


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_rollout_alone_in_its_group(name: str) -> None:
    """Estimators that compare within the group say nothing of it; the others compare across the batch."""
    found = sizes(part("advantage", name)([[scored(0.2)], [scored(0.9)], [scored(0.1), scored(0.7)]]))
    assert [row == [None] for row in found[:2]] == [name not in ALONE] * 2
    assert None not in found[2]
    spec = REGISTRY.registered("optimizer_part", f"advantage/{name}").spec
    assert isinstance(spec, OptimizerPartSpec)
    assert spec.min_group_size == (1 if name in ALONE else 2)


def test_a_group_without_variance_among_others() -> None:
    """Exactly 0 in it by estimators that compare within a group, so that it can be told apart from a small advantage.
    `group_mean_batch_normalized` takes the mean over the batch's tokens off, as its source does."""
    equal, others = [scored(0.1, 2)] * 3, [[scored(0.3, 1), scored(0.7, 5), scored(0.1, 2)], [scored(0.2), scored(0.9)]]
    for name in sorted(set(ESTIMATORS) - ALONE - {"group_mean_batch_normalized"}):
        assert sizes(part("advantage", name)([equal, *others]))[0] == [0.0] * 3, name


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "mean_normalized"])
def test_huge_and_negative_rewards_stay_finite(name: str) -> None:
    """A grader may go to a thousand million in size."""
    draw = random.Random(0)
    groups = [[scored(draw.uniform(-1e9, 1e9)) for _ in range(4)] for _ in range(3)]
    found = [a for row in sizes(part("advantage", name)(groups)) for a in row]
    assert all(a is not None and math.isfinite(a) for a in found)


def test_maxrl_refuses_negative_rewards() -> None:
    """A mean that may be 0 or less is no success rate."""
    with pytest.raises(NumericsError, match=r"'mean_normalized' divides by the mean reward.*-0\.5"):
        part("advantage", "mean_normalized")([[scored(-0.5), scored(1.0)]])


def test_what_an_estimator_lacks_is_a_sentence() -> None:
    """No critic, no teacher, no sub-rewards, a weight for a grader that is not there."""
    bare = [[Scored(reward=r, tokens=2) for r in (0.0, 1.0)]]
    for name, said in {
        "gae": "optimizer.critic",
        "distillation": r"kl\.reference",
        "per_grader_normalized": "multi",
    }.items():
        with pytest.raises(ValueError, match=said):
            part("advantage", name)(bare)
    with pytest.raises(ValueError, match=r"weights: 'c' is none of the graders a, b"):
        part("advantage", "per_grader_normalized", weights={"c": 1.0})([[scored(0.0), scored(1.0)]])


def test_the_best_of_a_group() -> None:
    """The first of several best; nothing where the best is not good enough."""
    groups = [[scored(r) for r in (0.2, 0.9, 0.9, 0.0)], [scored(r) for r in (0.1, 0.3)]]
    assert part("advantage", "best")(groups) == [[0.0, 1.0, 0.0, 0.0], [0.0, 1.0]]
    assert part("advantage", "best", at_least=0.5)(groups) == [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0]]


def tokens(seed: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Rows]:
    generator = torch.Generator().manual_seed(seed)
    logprobs_N, old_N, advantages_N = (torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(3))
    rows = Rows(torch.arange(count).div(7, rounding_mode="floor"), (count + 6) // 7)
    return logprobs_N.mul_(0.3).sub_(2), old_N.mul_(0.3).sub_(2), advantages_N, rows


@pytest.mark.parametrize("ratio", ["token", "sequence", "sequence_product"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_derivatives_of_objectives(name: str, ratio: str) -> None:
    """Autograd agrees with finite differences, for every objective under every ratio. Where the ratio is a constant
    weight, as in CISPO, it is held still."""
    logprobs_N, old_N, advantages_N, rows = tokens(0)
    settings = {"dual": 1.5} if name == "clip" else {}
    objective, to_ratio = part("objective", name, **settings), part("ratio", ratio)
    frozen = to_ratio(logprobs_N - old_N, rows) if name == "cispo" else None

    def value(x_N: torch.Tensor) -> torch.Tensor:
        log_ratio_N = to_ratio(x_N - old_N, rows) if frozen is None else frozen
        answer: torch.Tensor = objective(Tokens(x_N, log_ratio_N, advantages_N)).value_N
        return answer

    assert torch.autograd.gradcheck(value, logprobs_N.requires_grad_())


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_derivatives_of_kl(name: str) -> None:
    """Autograd agrees with finite differences; where both agree k2 and k3 are 0 with gradient 0."""
    logprobs_N, reference_N, _, _ = tokens(1)
    estimator = part("kl", name)
    assert torch.autograd.gradcheck(lambda x: estimator(x, reference_N), logprobs_N.requires_grad_())
    same_N = reference_N.clone().requires_grad_()
    value_N = estimator(same_N, reference_N)
    (gradient_N,) = torch.autograd.grad(value_N.sum(), same_N)
    assert torch.equal(value_N, torch.zeros_like(value_N))
    assert torch.equal(gradient_N, torch.full_like(gradient_N, 1.0 if name == "k1" else 0.0))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_broken_log_probability_does_not_overflow(name: str) -> None:
    """A ratio of e^500 has a finite value and gradient; NaN goes through, to be caught before the update."""
    objective = part("objective", name)
    x_N = torch.tensor([0.0, 0.0, math.nan], requires_grad=True)
    old_N, advantages_N = torch.tensor([-500.0, 500.0, 0.0]), torch.tensor([-1.0, -1.0, 1.0])
    value_N = objective(Tokens(x_N, x_N - old_N, advantages_N)).value_N
    assert value_N[:2].isfinite().all()
    assert value_N[2].isnan()
    (gradient_N,) = torch.autograd.grad(value_N[:2].sum(), x_N)
    assert gradient_N[:2].isfinite().all()


@pytest.mark.parametrize("name", ["truncated", "masked"])
@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
def test_no_correction_on_the_policy_itself(name: str, level: str) -> None:
    """Equal log-probabilities weigh exactly 1."""
    _, _, _, rows = tokens(2)
    weight_N = part("correction", name, level=level)(torch.zeros(40), rows)
    assert torch.equal(weight_N, torch.ones(40))


def plugin(*specs: OptimizerPartSpec) -> ModuleType:
    module = ModuleType("my_plugin")

    def rft_optimizer_parts() -> list[OptimizerPartSpec]:
        return list(specs)

    module.rft_optimizer_parts = hookimpl(rft_optimizer_parts)  # type: ignore[attr-defined]
    return module


class SignSettings(ComponentConfig):
    size: float = 1.0


def sign(groups: Groups, settings: SignSettings) -> list[list[Advantage]]:
    """Above or below one half."""
    return [[settings.size * ((s.reward > 0.5) - (s.reward < 0.5)) for s in group] for group in groups]


def test_another_plugin_adds_a_part_and_a_preset(tmp_path: Path) -> None:
    """An advantage with settings of its own and a preset that names it, without a line of ours changed."""
    registry = Registry.discover()
    spec = OptimizerPartSpec(name="sign", role="advantage", function=sign, summary="by sign", config=SignSettings)
    named = OptimizerPartSpec(
        name="signed", role="preset", function=lambda: {"advantage": {"type": "sign", "size": 2.0}}, summary="sign"
    )
    registry.add_module(plugin(spec, named), PluginOwner(plugin="mine", distribution="mine", version="1"))
    where = replace(context(make_model(tmp_path / "m")), part=None)
    optimizer = registry.build("optimizer", {"type": "policy_gradient", "algorithm": "signed"}, where)
    report = optimizer.step(TrainBatch(step=1, total_steps=2, groups=random_groups(1)))
    assert report.metrics["advantage_abs_mean"] == 2.0


def gap(groups: Groups, _: Any) -> list[list[Advantage]]:
    return [[s.gap_T for s in group] for group in groups]


def test_an_advantage_of_another_plugin_hears_a_teacher(tmp_path: Path) -> None:
    """It must have one, is given what it says of the tokens, and is heard where rewards are equal."""
    registry = Registry.discover()
    spec = OptimizerPartSpec(name="gap", role="advantage", function=gap, summary="the gap", reads="teacher")
    registry.add_module(plugin(spec), PluginOwner(plugin="mine", distribution="mine", version="1"))
    where = replace(context(make_model(tmp_path / "m")), part=None)
    raw = {"type": "policy_gradient", "advantage": "gap", "zero_variance": "drop"}
    with pytest.raises(ConfigError, match=r"kl\.reference: the advantage 'gap' needs a teacher"):
        registry.build("optimizer", raw, where)
    teacher = make_model(tmp_path / "teacher", seed=3)
    optimizer = registry.build("optimizer", {**raw, "kl": {"reference": str(teacher)}}, where)
    equal = tuple(replace(g, grades=(Grade.score(0.5),) * len(g.grades)) for g in random_groups(1))
    report = optimizer.step(TrainBatch(step=1, total_steps=2, groups=equal))
    assert report.dropped == {}
    assert report.metrics["advantage_abs_mean"] > 0


def test_a_preset_with_a_key_that_the_optimizer_lacks_is_named() -> None:
    """It is the plugin's mistake, not one of the run file."""
    registry = Registry.discover()
    spec = OptimizerPartSpec(name="typo", role="preset", function=lambda: {"advantge": "raw"}, summary="typo")
    registry.add_module(plugin(spec), PluginOwner(plugin="mine", distribution="mine", version="1"))
    with pytest.raises(PluginError, match=r"the preset 'typo' of mine .*sets 'advantge'.*did you mean 'advantage'"):
        registry.configure("optimizer", {"type": "policy_gradient", "algorithm": "typo"}, where="optimizer")


def short(values_N: Tensor, *_: Any) -> Tensor:
    return values_N[:-1]


@pytest.mark.parametrize(
    ("role", "answer", "error", "said"),
    [
        ("advantage", lambda groups, _: [], BadReplyError, "the advantage 'odd' answered another number of advantages"),
        (
            "advantage",
            lambda groups, _: None,
            BadReplyError,
            "the advantage 'odd' answered another number of advantages",
        ),
        (
            "advantage",
            lambda groups, _: [["good"] * len(g) for g in groups],
            BadReplyError,
            "the advantage 'odd' answered a str that is no number for rows:0 sample 0",
        ),
        ("aggregation", lambda *_: None, BadReplyError, "the aggregation 'odd' answered another number of weights"),
        (
            "advantage",
            lambda groups, _: [[np.zeros(99)] * len(g) for g in groups],
            BadReplyError,
            r"the advantage 'odd' answered an array of shape \(99,\) for rows:0 sample 0",
        ),
        (
            "advantage",
            lambda groups, _: [[math.nan] * len(g) for g in groups],
            FloatingPointError,
            "the advantage 'odd' of rows:0 sample 0 is not finite",
        ),
        ("ratio", short, BadReplyError, "the ratio 'odd' answered a tensor of shape .*a number for each of"),
        ("correction", lambda *_: 1.0, BadReplyError, "the correction 'odd' answered float"),
        ("kl", short, BadReplyError, "the kl 'odd' answered a tensor of shape"),
        ("objective", lambda *_: None, BadReplyError, "the objective 'odd' answered a NoneType.*a Surrogate"),
        (
            "objective",
            lambda t, _: Surrogate(short(t.logprobs_N)),
            BadReplyError,
            "the objective 'odd' answered a tensor",
        ),
        ("aggregation", lambda *_: [], BadReplyError, "the aggregation 'odd' answered another number of weights"),
        (
            "aggregation",
            lambda counts, *_: [[-1.0] * len(g) for g in counts],
            BadReplyError,
            "the aggregation 'odd' gives a rollout the weight -1.0",
        ),
    ],
)
def test_an_answer_of_a_part_that_makes_no_sense_is_refused(
    tmp_path: Path, role: str, answer: Any, error: type[Exception], said: str
) -> None:
    """A sentence that names the part, before the weights change."""
    registry = Registry.discover()
    spec = OptimizerPartSpec(name="odd", role=role, function=answer, summary="odd")
    registry.add_module(plugin(spec), PluginOwner(plugin="mine", distribution="mine", version="1"))
    where: BuildContext = replace(context(make_model(tmp_path / "m")), part=None)
    key = {"kl": {"weight": 0.1, "estimator": "odd"}} if role == "kl" else {role: "odd"}
    optimizer = registry.build("optimizer", {"type": "policy_gradient", **key}, where)
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    before = optimizer.publish(tmp_path / "a", run_id="r", lineage="main").digest
    with pytest.raises(error, match=said):
        optimizer.step(TrainBatch(step=1, total_steps=2, groups=random_groups(1)))
    assert optimizer.publish(tmp_path / "b", run_id="r", lineage="main").digest == before


def configure(**settings: Any) -> Any:
    return REGISTRY.configure("optimizer", {"type": "policy_gradient", **settings}, where="optimizer")[1]


def test_settings_go_over_the_preset() -> None:
    """One number of a part keeps the rest of the preset's; another part replaces it; a name alone will do."""
    assert configure(algorithm="dapo", objective={"low": 0.1}).objective == {"type": "clip", "low": 0.1, "high": 0.28}
    assert configure(algorithm="dapo", objective="cispo").objective == {"type": "cispo"}
    assert configure(algorithm="dapo", objective={"type": "sapo", "positive": 2}).objective == {
        "type": "sapo",
        "positive": 2,
    }
    kl = configure(algorithm="reinforce_pp", kl={"weight": 0.2}).kl
    assert (kl.weight, kl.in_reward, kl.estimator) == (0.2, True, {"type": "k1"})
    assert configure(kl=0.3).kl.weight == 0.3
    assert configure(kl="1e-3").kl.weight == 1e-3  # as YAML reads 1e-3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"algorithm": "gropo"},
            r"optimizer\.algorithm: there is no preset named 'gropo'; did you mean 'grpo'",
        ),
        ({"algorithm": "gpro"}, "did you mean 'grpo'"),
        (
            {"objective": "clips"},
            r"optimizer\.objective\.type: there is no objective part named 'clips'; did you mean 'clip'",
        ),
        ({"objective": {"hihg": 1}}, r"optimizer\.objective\.hihg: unknown key 'hihg'; did you mean 'high'"),
        ({"correction": {"max": 1}}, r"optimizer\.correction: a part needs a 'type'"),
        ({"advantage": "gae"}, "need each other"),
        ({"critic": {}}, "need each other"),
        ({"correction": "truncated", "old_logprobs": "sampler"}, "old_logprobs: trainer"),
        ({"correction": {"type": "masked", "min": 3}}, "no weight is between min 3 and max 2"),
        ({"kl": {"weight": 0.1, "estimator": "k1"}}, "its gradient is 0 on average"),
        ({"kl": {"weight": 0.1, "in_reward": True, "unbiased": True}}, "for a penalty in the loss"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], said: str) -> None:
    """The key, the nearest name, and what to do; torch is not needed to say so."""
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        configure(**settings)


def test_the_digest_of_an_optimizer_knows_its_parts() -> None:
    """A cached stage is found again only if every part's numbers are the same."""

    def digest(**settings: Any) -> str:
        return REGISTRY.digest_of("optimizer", {"type": "policy_gradient", **settings})

    assert digest() == digest(algorithm="grpo") == digest(objective={})
    assert len({digest(), digest(objective={"low": 0.1}), digest(ratio="sequence"), digest(algorithm="dapo")}) == 4
