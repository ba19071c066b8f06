"""What `policy_gradient` does where there is nothing to learn, or something that cannot be right."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import REGISTRY, Rows, context, graded_group, make_model, policy_gradient, random_groups, rollout

from rft_core.errors import ConfigError, DataError, ModelError, NumericsError
from rft_core.runs.hosted import HostedOptimizer
from rft_core.types import Grade, GradedGroup, Item, TrainBatch, TrainReport
from rft_optimizer_policy_gradient.config import PolicyGradientConfig
from rft_optimizer_policy_gradient.optimizer import PolicyGradient
from rft_optimizer_policy_gradient.presets import SUMMARIES

PRESETS = [preset.__name__ for preset in SUMMARIES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def step(optimizer: PolicyGradient | HostedOptimizer, groups: tuple[GradedGroup, ...], number: int = 1) -> TrainReport:
    return optimizer.step(TrainBatch(step=number, total_steps=10, groups=groups))


def weights(optimizer: PolicyGradient, folder: Path) -> str:
    folder.mkdir(parents=True)
    return optimizer.publish(folder, run_id="r", lineage="main").digest


def graded_by(groups: tuple[GradedGroup, ...], grade: Grade) -> tuple[GradedGroup, ...]:
    return tuple(replace(g, grades=tuple(grade for _ in g.grades)) for g in groups)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((preset, {}) for preset in PRESETS if preset != "distillation"),
        ("grpo", {"weight_decay": 0.1}),
        ("ppo", {"weight_decay": 0.1}),
        ("cispo", {"lora": {"rank": 4}}),
    ],
)
def test_a_constant_grader_changes_nothing(folder: Path, tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    """From the first step on the policy is bit-identical, whatever the constant, also after updates that left
    momentum: for every preset whose teacher is the grader."""
    optimizer = policy_gradient(folder, algorithm=name, updates_per_step=2, **settings)
    constant = replace(Grade.score(0.3), sub_rewards={"a": 0.3, "b": 0.7})
    before = weights(optimizer, tmp_path / "before")
    for number in (1, 2):
        step(optimizer, graded_by(random_groups(number), constant), number)
    assert weights(optimizer, tmp_path / "after") == before
    two_graders = tuple(
        replace(g, grades=tuple(replace(x, sub_rewards={"a": x.reward or 0, "b": 0.5}) for x in g.grades))
        for g in random_groups(3)
    )
    assert step(optimizer, two_graders, 3).metrics["grad_norm"] > 0
    moved = weights(optimizer, tmp_path / "moved")
    assert moved != before
    report = step(optimizer, graded_by(random_groups(4), constant), 4)
    assert weights(optimizer, tmp_path / "still") == moved
    assert report.metrics["effective_batch"] == 0
    (alarm,) = report.alarms
    assert re.search(r"rewards of (\d+) of \1 groups are all equal|\(\d+ zero_variance\)", alarm)


@pytest.mark.parametrize("name", PRESETS)
def test_bad_batches_leave_the_weights_alone(folder: Path, tmp_path: Path, name: str) -> None:
    """No grade at all, no token at all, everything masked: nothing is trained, and each rollout is counted."""
    teacher = {"kl": {"reference": str(folder)}} if name == "distillation" else {}
    optimizer = policy_gradient(folder, algorithm=name, on_truncated="mask", **teacher)
    before = weights(optimizer, tmp_path / "before")
    grades: list[Grade | float] = [replace(Grade.score(r), sub_rewards={"a": r}) for r in (0.0, 1.0)]
    empty = graded_group(0, [rollout(0, s, (5,), (), ()) for s in range(2)], grades)
    cut = graded_group(1, [rollout(1, s, (5,), (6, 7), (-3.0, -3.0), "length") for s in range(2)], grades)
    lost = graded_group(2, [rollout(2, s, (5,), (6,), (-3.0,)) for s in range(2)], [Grade.error("x", "y")] * 2)
    report = step(optimizer, (empty, cut, lost))
    assert weights(optimizer, tmp_path / "after") == before
    assert report.trained_tokens == 0
    assert report.dropped == {"empty": 2, "truncated": 2, "grader_error": 2}
    assert len(report.alarms) == 1
    for counted in ("no rollout was left to learn from", "2 empty", "2 truncated", "2 grader_error"):
        assert counted in report.alarms[0]
    nothing = step(optimizer, (), 2)
    assert nothing.trained_tokens == 0
    assert nothing.alarms == ("nothing was learned: no rollout was left to learn from (there was none)",)


def test_a_gradient_of_zero_is_an_alarm_and_no_update(folder: Path, tmp_path: Path) -> None:
    """Every token clipped on the side its advantage pushes to: the report says so, and momentum moves nothing."""
    optimizer = policy_gradient(folder)
    step(optimizer, random_groups(1))
    before = weights(optimizer, tmp_path / "before")
    rollouts = [
        rollout(0, 0, (5, 6), (7, 8), (-60.0, -60.0)),  # far more likely now than when sampled, and to be made more so
        rollout(0, 1, (5, 6), (9, 10), (-1e-4, -1e-4)),
    ]
    report = step(optimizer, (graded_group(0, rollouts, [1.0, 0.0]),), 2)
    assert report.metrics["grad_norm"] == 0.0
    assert report.metrics["clip_fraction_high"] == report.metrics["clip_fraction_low"] == 0.5
    (alarm,) = report.alarms
    assert alarm.startswith("1 of 1 updates had advantages but a gradient of exactly 0")
    assert weights(optimizer, tmp_path / "after") == before
    assert step(optimizer, random_groups(2), 3).alarms == ()


def test_a_correction_that_masks_everything_moves_nothing(folder: Path, tmp_path: Path) -> None:
    """Rollouts of a policy that is far away teach nothing under `masked`, and that is an alarm."""
    optimizer = policy_gradient(folder, correction={"type": "masked", "max": 1e-6, "min": 0.0})
    before = weights(optimizer, tmp_path / "before")
    report = step(optimizer, random_groups(1))
    assert report.metrics["correction_masked"] == 1.0
    assert report.alarms
    assert weights(optimizer, tmp_path / "after") == before


def test_a_sampler_that_computes_something_else_stops_the_step(folder: Path, tmp_path: Path) -> None:
    """`max_logprob_diff` names the rollouts and the figure; below it the step goes on."""
    optimizer = policy_gradient(folder, max_logprob_diff=0.01, micro_batch_tokens=1)
    before = weights(optimizer, tmp_path / "before")
    said = r"^in step 4, log-probabilities .* differ by .* more than max_logprob_diff = 0\.01, most among rows:\d sample \d"
    with pytest.raises(NumericsError, match=said):
        step(HostedOptimizer(optimizer, "policy_gradient"), random_groups(1), 4)
    assert weights(optimizer, tmp_path / "after") == before
    assert step(policy_gradient(folder, max_logprob_diff=100.0), random_groups(1)).metrics["logprob_diff_mean"] < 100


def test_the_sampler_is_compared_where_the_first_part_teaches_nothing(folder: Path) -> None:
    """Of two updates the first has equal rewards alone: sampler and trainer are compared in the second."""
    groups = random_groups(1, groups=2)
    dead = replace(groups[0], grades=tuple(Grade.score(0.5) for _ in groups[0].grades))
    metrics = step(policy_gradient(folder, updates_per_step=2), (dead, groups[1])).metrics
    assert metrics["logprob_diff_mean"] > 0


def test_a_rollout_beyond_the_context_is_named(folder: Path, tmp_path: Path) -> None:
    """The model reads 128 tokens; a position it has never seen is not computed with."""
    optimizer = policy_gradient(folder)
    before = weights(optimizer, tmp_path / "before")
    long = graded_group(3, [rollout(3, s, (5,) * 100, (6,) * 40, (-3.0,) * 40) for s in range(2)], [0.0, 1.0])
    with pytest.raises(
        DataError, match=r"rows:3 sample 0 has 140 tokens, but the model reads 128; lower sampling\.max_tokens"
    ):
        step(optimizer, (long,))
    assert weights(optimizer, tmp_path / "after") == before


def test_a_rollout_beyond_the_context_of_a_teacher_is_named(folder: Path, tmp_path: Path) -> None:
    """The teacher reads less than the policy."""
    teacher = make_model(tmp_path / "short", max_position_embeddings=16)
    optimizer = policy_gradient(folder, algorithm="distillation", kl={"reference": str(teacher)})
    rollouts = [rollout(0, s, (5,) * 10, (6,) * (6 + s), (-3.0,) * (6 + s)) for s in range(2)]
    with pytest.raises(DataError, match=r"rows:0 sample 1 has 17 tokens, but the reference .*short reads 16"):
        step(optimizer, (graded_group(0, rollouts, [0.0, 1.0]),))
    long = Rows([Item(key="rows.jsonl:7", index=0, row={"messages": [{"role": "user", "content": "1" * 16}]})])
    raw = {"type": "policy_gradient", "algorithm": "distillation", "kl": {"reference": str(teacher)}}
    with pytest.raises(DataError, match=r"rows\.jsonl:7: the prompt has 16 tokens .* the reference's context of 16"):
        REGISTRY.build("optimizer", raw, replace(context(folder), train=long))


@pytest.mark.parametrize("name", ["dapo", "reinforce_pp", "reinforce_pp_baseline", "ppo", "gdpo", "best_of_n"])
@pytest.mark.parametrize("graders", ["equal", "apart"])
def test_groups_of_equal_rewards_are_dropped_where_asked(folder: Path, name: str, graders: str) -> None:
    """Whatever the estimator says of them: one that compares the batch would give them an advantage. Where graders
    differ and add up to the same, `gdpo` alone finds something to learn."""
    settings = {"ppo": {"critic": {"learning_rate": 1e-3}}, "gdpo": {"advantage": {"weights": {"a": 2.0}}}}
    optimizer = policy_gradient(folder, algorithm=name, zero_variance="drop", **settings.get(name, {}))
    parts = [{"a": 0.3, "b": 0.7}, {"a": 0.7, "b": 0.3} if graders == "apart" else {"a": 0.3, "b": 0.7}]
    equal = tuple(
        replace(g, grades=tuple(replace(Grade.score(0.5), sub_rewards=parts[i % 2]) for i in range(len(g.grades))))
        for g in random_groups(1)[:3]
    )
    others = tuple(
        replace(g, grades=tuple(replace(x, sub_rewards={"a": x.reward or 0, "b": 0.5}) for x in g.grades))
        for g in random_groups(2)[3:]
    )
    report = step(optimizer, equal + others)
    assert report.metrics["zero_variance_groups"] == 3
    kept = name == "gdpo" and graders == "apart"
    assert report.dropped.get("zero_variance", 0) == (0 if kept else sum(len(g.grades) for g in equal))


def test_a_teacher_is_heard_where_rewards_are_equal(folder: Path, tmp_path: Path) -> None:
    """`zero_variance: drop` takes nothing from `distillation`, which asks for no rewards."""
    teacher = make_model(tmp_path / "teacher", seed=3)
    optimizer = policy_gradient(folder, algorithm="distillation", zero_variance="drop", kl={"reference": str(teacher)})
    report = step(optimizer, graded_by(random_groups(1), Grade.score(0.5)))
    assert report.dropped == {}
    assert report.metrics["grad_norm"] > 0
    assert report.alarms == ()
    same = policy_gradient(folder, algorithm="distillation", kl={"reference": str(folder)})
    (alarm,) = step(same, graded_by(random_groups(1), Grade.score(0.5))).alarms
    assert alarm == "every advantage of the step is 0, so the objective moved nothing"


def test_alarms_count_groups_as_they_were_graded(folder: Path) -> None:
    """Also those of which nothing takes part, and where there is but one rollout of each prompt."""
    masked = [
        graded_group(n, [rollout(n, s, (5,), (6, 7), (-3.0, -3.0), "length") for s in range(2)], [0.5] * 2)
        for n in (0, 1)
    ]
    whole = graded_group(2, [rollout(2, s, (5,), (6,), (-3.0,)) for s in range(2)], [0.5] * 2)
    (alarm,) = step(policy_gradient(folder, on_truncated="mask"), (*masked, whole)).alarms
    assert alarm.endswith("the rewards of 3 of 3 groups are all equal")
    ones = tuple(graded_group(n, [rollout(n, 0, (5,), (6,), (-3.0,))], [0.5]) for n in range(4))
    (alarm,) = step(policy_gradient(folder, algorithm="reinforce_pp"), ones).alarms
    assert alarm == "every advantage of the step is 0, so the objective moved nothing"


def test_a_critic_that_diverges_is_named(folder: Path, tmp_path: Path) -> None:
    """It is not the policy that has to learn more slowly, and the policy stays as it was."""
    optimizer = policy_gradient(folder, algorithm="ppo", critic={"learning_rate": 1e30, "value_clip": None})
    step(optimizer, random_groups(1))
    before = weights(optimizer, tmp_path / "before")
    with pytest.raises(
        FloatingPointError,
        match=r"the critic has diverged: .* rows:\d sample \d.*a run with a lower optimizer\.critic\.learning_rate",
    ):
        step(optimizer, random_groups(2), 2)
    assert weights(optimizer, tmp_path / "after") == before


def test_a_teacher_with_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    """As many tokens under other numbers: the first that differs is named. A folder without a tokenizer is taken."""
    teacher = tmp_path / "teacher"
    shutil.copytree(folder, teacher)
    tokenizer = json.loads((teacher / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["3"], vocabulary["5"] = vocabulary["5"], vocabulary["3"]
    (teacher / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        ConfigError,
        match=rf"^optimizer\.kl\.reference: token 6 is '5' for the reference {teacher} and '3' for the policy",
    ):
        policy_gradient(folder, kl={"reference": str(teacher), "weight": 0.1})
    (teacher / "tokenizer.json").unlink()
    policy_gradient(folder, kl={"reference": str(teacher), "weight": 0.1})


@pytest.mark.parametrize("where", ["optimizer", "optimizer.critic"])
def test_errors_of_a_critic_name_its_keys(folder: Path, where: str) -> None:
    """And those of the policy the policy's."""
    lora = {"lora": {"targets": ["nope"]}}
    settings = {"critic": lora} if where == "optimizer.critic" else {**lora, "critic": {}}
    with pytest.raises(ConfigError, match=rf"^{where}\.lora\.targets: the model has no module named 'nope'"):
        policy_gradient(folder, algorithm="ppo", **settings)


def test_huge_rewards_keep_the_step_finite(folder: Path) -> None:
    """A thousand million on one side: advantages without a scale are as large, and clipping holds the gradient."""
    groups = tuple(
        replace(g, grades=tuple(Grade.score(1e9 * (x.reward or 0)) for x in g.grades)) for g in random_groups(1)
    )
    for name in ("grpo", "dr_grpo", "rloo"):
        report = step(policy_gradient(folder, algorithm=name), groups)
        assert report.metrics["grad_norm"] > 0
        assert all(value == value and abs(value) != float("inf") for value in report.metrics.values())


def test_a_checkpoint_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """Tensors of other shapes, or a critic that is not there: one sentence, and nothing is loaded."""
    other = policy_gradient(make_model(tmp_path / "wide", hidden=64))
    step(other, random_groups(1))
    other.save(tmp_path / "checkpoint")
    optimizer = policy_gradient(folder)
    before = weights(optimizer, tmp_path / "before")
    with pytest.raises(ModelError, match="do not fit the model"):
        optimizer.load(tmp_path / "checkpoint")
    assert weights(optimizer, tmp_path / "after") == before


@pytest.mark.parametrize("name", ["ppo", "reinforce_pp", "gspo"])
def test_saved_and_loaded_training_continues_bit_by_bit(folder: Path, tmp_path: Path, name: str) -> None:
    """The critic, its AdamW and the old log-probabilities too: N steps equal k steps, save, load, N − k."""
    settings = {"algorithm": name, "updates_per_step": 2, "epochs_per_batch": 2, "kl": {"weight": 0.05}}
    if name == "ppo":
        settings["critic"] = {"learning_rate": 1e-2, "schedule": "linear"}
    straight, first, second = (policy_gradient(folder, **settings) for _ in range(3))
    reports = [step(straight, random_groups(20 + n), n) for n in range(1, 5)]
    for n in (1, 2):
        step(first, random_groups(20 + n), n)
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    assert [step(second, random_groups(20 + n), n) for n in (3, 4)] == reports[2:]
    for label, optimizer in (("straight", straight), ("resumed", second)):
        optimizer.save(tmp_path / label)
    files = sorted(p.relative_to(tmp_path / "straight") for p in (tmp_path / "straight").rglob("*") if p.is_file())
    assert (name == "ppo") == any(file.parts[0] == "critic" for file in files)
    assert all((tmp_path / "straight" / f).read_bytes() == (tmp_path / "resumed" / f).read_bytes() for f in files)


def test_overlong_answers_cost_more_the_longer_they_are(folder: Path) -> None:
    """DAPO's ramp: nothing up to max_tokens − buffer, then straight down to the full penalty at max_tokens."""
    raw = {"type": "policy_gradient", "overlong": {"buffer_tokens": 4, "penalty": 0.8}}
    where = context(folder)
    where = replace(where, sampling=where.sampling and where.sampling.model_copy(update={"max_tokens": 10}))
    optimizer = REGISTRY.build("optimizer", raw, where)
    lengths = (5, 6, 8, 10)
    rollouts = [rollout(0, s, (5,), (6,) * n, (-3.0,) * n) for s, n in enumerate(lengths)]
    report = step(optimizer, (graded_group(0, rollouts, [1.0] * 4),))
    assert report.metrics["reward_mean"] == pytest.approx((1.0 + 1.0 + 0.6 + 0.2) / 4)


def test_a_penalty_over_the_whole_answer_is_refused(folder: Path) -> None:
    """It would say nothing about length."""
    with pytest.raises(ConfigError, match=r"overlong\.buffer_tokens: answers have at most sampling\.max_tokens: \d+"):
        policy_gradient(folder, overlong={"buffer_tokens": 4096})


def test_a_prompt_beyond_the_context_is_said_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    """By its row, not hours later when it is drawn: turns, calls of tools and tools count. Rows that are much shorter than
    the context are not encoded, so that there need be no tokenizer."""

    def row(*messages: dict[str, Any], **more: Any) -> Item:
        return Item(key="rows.jsonl:7", index=0, row={"messages": list(messages), **more})

    def build(item: Item, folder: Path = folder) -> None:
        PolicyGradient(PolicyGradientConfig(), replace(context(folder), sampled=(Rows([item]),)))

    build(row({"role": "user", "content": "1" * 127}))
    with pytest.raises(DataError, match=r"rows\.jsonl:7: the prompt has 128 tokens .* context of 128; shorten it"):
        build(row({"role": "user", "content": "1" * 128}))
    with pytest.raises(DataError, match="the prompt has 129 tokens"):
        build(row(*[{"role": "user", "content": "1"}] * 65))  # and as many line breaks
    wide = make_model(tmp_path / "wide", max_position_embeddings=4096)
    for file in wide.glob("tokenizer*"):
        file.unlink()
    build(row({"role": "user", "content": "1" * 3000}), wide)
    with pytest.raises(ModelError, match="tokenizer"):
        build(row({"role": "user", "content": "1"}, tools=[{"description": "1" * 4000}]), wide)
