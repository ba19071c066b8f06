"""The optimizers `dpo` and `reward_model`, on small random models."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import EOS, Rows, context, make_model
from torch import Tensor
from torch.nn.functional import logsigmoid

from rft_core.errors import DataError, IntegrityError
from rft_core.types import Item, ModelRef, TrainBatch
from rft_core.weights import digest_of
from rft_preference.config import DpoConfig, RewardModelConfig
from rft_preference.dpo import Dpo
from rft_preference.learner import PairLearner
from rft_preference.losses import bradley_terry, dpo_loss
from rft_preference.pairs import plan_pairs
from rft_preference.reward import RewardModel
from rft_torch.models import encode_prompt, load_model, load_tokenizer
from rft_torch.scalar import load_scalar_model, named_head

Build = Callable[..., PairLearner]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def scorer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a head that is not empty."""
    optimizer = reward_model(folder)
    head = named_head(optimizer._trainer.model)[1]
    with torch.no_grad():
        head.weight.normal_(generator=torch.Generator().manual_seed(3))
    saved = tmp_path_factory.mktemp("scorer")
    optimizer.save(saved)
    return saved / "policy"


def dpo(folder: Path, **settings: Any) -> Dpo:
    return Dpo(DpoConfig(**{"learning_rate": 3e-3, **settings}), context(folder))


def reward_model(folder: Path, **settings: Any) -> RewardModel:
    return RewardModel(RewardModelConfig(**{"learning_rate": 3e-3, **settings}), context(folder))


def item(index: int, question: str, chosen: Any, rejected: Any, **rest: Any) -> Item:
    row = {"messages": [{"role": "user", "content": question}], "chosen": chosen, "rejected": rejected, **rest}
    return Item(key=f"pairs.jsonl:{index}", index=index, row=row)


def sums(count: int = 8) -> tuple[Item, ...]:
    """Questions of different lengths with right and wrong answers of different lengths."""
    return tuple(item(i, f"{i * 7}+{i * i}=", str(i * 7 + i * i), "x" * (i % 3) + str(i + 5)) for i in range(count))


def batch(items: tuple[Item, ...], step: int = 1) -> TrainBatch:
    return TrainBatch(step=step, total_steps=20, items=items)


def rows_of(folder: Path, items: tuple[Item, ...]) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompt, chosen and rejected tokens of each item, made apart from the code under test."""
    tokenizer = load_tokenizer(folder)
    return [
        (
            encode_prompt(tokenizer, one.row["messages"]),
            *([*tokenizer(one.row[side])["input_ids"], EOS] for side in ("chosen", "rejected")),
        )
        for one in items
    ]


def logp(model: Any, prompt: list[int], completion: list[int]) -> Tensor:
    """log π(completion | prompt), one row by itself."""
    logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(completion)), completion].sum()


def doubled(optimizer: PairLearner) -> PairLearner:
    """The same optimizer computing in float64."""
    optimizer._trainer.model.double()
    if optimizer._trainer._initial is not None:
        for name, tensor in optimizer._trainer._initial.items():
            optimizer._trainer._initial[name] = tensor.double()
    return optimizer


def gradients_agree(optimizer: PairLearner, reference: Any) -> None:
    found = {name: parameter.grad for name, parameter in optimizer._trainer.parameters.items()}
    for name, parameter in reference.named_parameters():
        difference = (found[name] - parameter.grad).abs().max() / parameter.grad.abs().max()
        assert difference < 1e-6, (name, difference)  # a Llama's norms compute in float32, whatever its weights are


def moved(model: Any) -> None:
    """Another model than the reference, reproducibly."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter))


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("budget", [1, 60, 8192])
@pytest.mark.parametrize(
    "settings", [{}, {"beta": 0.7, "label_smoothing": 0.2}, {"loss": "hinge"}, {"loss": "ipo", "beta": 0.3}]
)
def test_dpo_is_its_formula_in_float64(folder: Path, settings: dict[str, Any], budget: int, packing: bool) -> None:
    """Loss and gradient of ragged rows against one row at a time in float64, to 1e-6, whatever the
    micro-batches and their layout."""
    optimizer = doubled(dpo(folder, micro_batch_tokens=budget, packing=packing, **settings))
    initial, model = (load_model(ModelRef(path=folder), trainable=True).double() for _ in range(2))
    moved(optimizer._trainer.model)
    moved(model)
    beta, smoothing = settings.get("beta", 0.1), settings.get("label_smoothing", 0.0)
    terms, won, lost = [], [], []
    for prompt, chosen, rejected in rows_of(folder, sums()):
        with torch.no_grad():
            kept = [logp(initial, prompt, completion) for completion in (chosen, rejected)]
        better, worse = (
            logp(model, prompt, completion) - reference
            for completion, reference in zip((chosen, rejected), kept, strict=True)
        )
        h = better - worse
        if settings.get("loss") == "hinge":
            terms.append(torch.relu(1 - beta * h))
        elif settings.get("loss") == "ipo":
            terms.append((better / len(chosen) - worse / len(rejected) - 1 / (2 * beta)).square())
        else:
            terms.append(-(1 - smoothing) * logsigmoid(beta * h) - smoothing * logsigmoid(-beta * h))
        won.append(beta * better.item())
        lost.append(beta * worse.item())
    expected = torch.stack(terms).mean()
    expected.backward()
    pairs = optimizer._train_pairs.of(sums())
    optimizer.prepare(pairs, training=True)
    losses, metrics = optimizer.accumulate(pairs)
    assert sum(loss.item() for loss, _ in losses) / len(pairs) == pytest.approx(expected.item(), rel=1e-6)
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-6)
    assert metrics["rewards/chosen"] == pytest.approx(sum(won) / len(won), rel=1e-6)
    assert metrics["rewards/rejected"] == pytest.approx(sum(lost) / len(lost), rel=1e-6)
    assert metrics["rewards/margins"] == pytest.approx((sum(won) - sum(lost)) / len(won), rel=1e-6)
    assert metrics["rewards/accuracies"] == sum(a > b for a, b in zip(won, lost, strict=True)) / len(won)
    gradients_agree(optimizer, model)


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("budget", [1, 60, 8192])
@pytest.mark.parametrize("settings", [{}, {"margin": "{{item.gap}}", "center_rewards": 0.3}])
def test_the_reward_model_is_its_formula_in_float64(
    scorer: Path, settings: dict[str, Any], budget: int, packing: bool
) -> None:
    """The same for Bradley–Terry, with margin and centring: rewards are read at the end of sequence."""
    items = tuple(item(i, f"{i}+{i}=", "ab" * (i % 3 + 1), "1" * (i % 4), gap=i / 3) for i in range(8))
    optimizer = doubled(reward_model(scorer, micro_batch_tokens=budget, packing=packing, **settings))
    model = load_scalar_model(ModelRef(path=scorer), trainable=True).double()
    terms, gaps = [], []
    for i, (prompt, *both) in enumerate(rows_of(scorer, items)):
        better, worse = (model(torch.tensor([[*prompt, *completion]])).logits[0, 0] for completion in both)
        gap = i / 3 if "margin" in settings else 0.0
        term = -logsigmoid(better - worse - gap)
        terms.append(term + settings.get("center_rewards", 0.0) * (better + worse) ** 2)
        gaps.append((better - worse).item())
    expected = torch.stack(terms).mean()
    expected.backward()
    pairs = optimizer._train_pairs.of(items)
    losses, metrics = optimizer.accumulate(pairs)
    assert sum(loss.item() for loss, _ in losses) / len(pairs) == pytest.approx(expected.item(), rel=1e-6)
    assert metrics["margin"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-6)
    assert metrics["accuracy"] == sum(gap > 0 for gap in gaps) / len(gaps)
    gradients_agree(optimizer, model)


def test_losses_at_points_that_are_known() -> None:
    """Values that anyone can work out by hand, and none that overflows far out."""
    zero = torch.zeros(1, dtype=torch.float64)
    far = torch.tensor([1e4, -1e4], dtype=torch.float64)
    assert float(dpo_loss(zero, beta=0.1)) == pytest.approx(math.log(2))
    assert float(dpo_loss(zero, beta=0.1, kind="hinge")) == 1
    assert float(dpo_loss(zero, beta=0.5, kind="ipo")) == 1
    assert dpo_loss(far, beta=1.0).tolist() == [0.0, 1e4]
    assert dpo_loss(far, beta=1.0, label_smoothing=0.25).tolist() == [2500.0, 7500.0]
    assert float(bradley_terry(zero + 3, zero + 1, zero + 2)) == pytest.approx(math.log(2))
    assert float(bradley_terry(zero + 3, zero + 1, zero + 2, center=0.5)) == pytest.approx(math.log(2) + 8)


@pytest.mark.parametrize("lora", [None, {"rank": 8, "alpha": 32}], ids=["full", "lora"])
@pytest.mark.parametrize("build", [dpo, reward_model])
def test_it_learns_what_is_preferred(folder: Path, build: Build, lora: dict[str, Any] | None) -> None:
    """Some dozen steps over a few pairs order them; validation, on the same pairs, agrees with the last step."""
    optimizer = build(folder, lora=lora, learning_rate=1e-2)
    accuracy = "accuracy" if build is reward_model else "rewards/accuracies"
    losses = [optimizer.step(batch(sums(6), step)).metrics["loss"] for step in range(1, 61)]
    assert losses[0] == pytest.approx(math.log(2), rel=1e-5)
    assert losses[-1] < 0.5 * losses[0]
    after = optimizer.validate(sums(6))
    assert after[accuracy] == 1.0
    assert after["loss"] < losses[-2]


@pytest.mark.parametrize("lora", [None, {"rank": 4, "dropout": 0.1}], ids=["full", "lora"])
@pytest.mark.parametrize("build", [dpo, reward_model])
def test_saved_and_loaded_training_continues_bit_by_bit(
    folder: Path, tmp_path: Path, build: Build, lora: dict[str, Any] | None
) -> None:
    """Five steps equal two, save, load in a fresh optimizer, and three, though rows come in other company again."""
    settings = {"schedule": "linear", "warmup_steps": 2, "lora": lora, "micro_batch_tokens": 60}
    batches = [batch((*sums()[step : step + 3], *sums()[:2]), step) for step in range(1, 6)]
    straight, first, second = (build(folder, **settings) for _ in range(3))
    reports = [straight.step(b) for b in batches]
    for b in batches[:2]:
        first.step(b)
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    assert [second.step(b) for b in batches[2:]] == reports[2:]
    straight.save(tmp_path / "a")
    second.save(tmp_path / "b")
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) >= 5
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_the_reference_is_computed_once_and_saved(folder: Path, tmp_path: Path) -> None:
    """What the policy has become meanwhile does not reach it; a checkpoint without it is not whole."""
    optimizer = dpo(folder)
    optimizer.step(batch(sums(4)))
    kept = dict(optimizer._trained)
    optimizer.step(batch(sums(6), 2))
    assert {key: optimizer._trained[key] for key in kept} == kept
    fresh = dpo(folder)
    fresh.prepare(fresh._train_pairs.of(sums(6)), training=True)
    assert {key: pytest.approx(value, rel=1e-5) for key, value in fresh._trained.items()} == optimizer._trained
    optimizer.save(tmp_path / "c")
    assert set(json.loads((tmp_path / "c" / "reference.json").read_text())) == {one.key for one in sums(6)}
    (tmp_path / "c" / "reference.json").unlink()
    with pytest.raises(IntegrityError, match=r"reference\.json"):
        fresh.load(tmp_path / "c")


def test_held_out_pairs_with_the_keys_of_trained_ones_are_kept_apart(folder: Path) -> None:
    """Two files of the same name give equal keys to different pairs."""
    alone, both = dpo(folder), dpo(folder, learning_rate=1e-12)
    both.step(batch(sums(2)))
    held_out = [item(0, "1+1=", "22", "abcd")]
    assert both.validate(held_out)["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    assert both.validate(held_out)["logps/chosen"] == pytest.approx(alone.validate(held_out)["logps/chosen"], rel=1e-5)


@pytest.mark.parametrize("build", [dpo, reward_model])
def test_rows_that_are_no_pairs_are_named_and_change_nothing(folder: Path, tmp_path: Path, build: Build) -> None:
    """A missing or odd completion, missing messages, too many tokens: the row's key in one sentence, same weights."""
    optimizer = build(folder)
    bad = [
        (item(3, "1+1=", "2", None), "rejected completion of row .*jsonl:3"),
        (
            Item(key="pairs.jsonl:4", index=4, row={"messages": [{"role": "user", "content": "a"}], "rejected": "b"}),
            "jsonl:4 has no chosen",
        ),
        (Item(key="pairs.jsonl:5", index=5, row={"chosen": "a", "rejected": "b"}), "jsonl:5 has no messages"),
        (item(6, "1+1=", "1" * 200, "2"), "jsonl:6 has 205 tokens, but the model reads 128"),
        (item(7, "1+1=", "", "2"), "chosen completion of row .*jsonl:7 is empty"),
        (item(8, "1+1=", "2", "2"), "completions of row .*jsonl:8 are the same text"),
        (item(9, "1+1=", "2", "aMbN"), "rejected completion of row .*jsonl:9 holds 'M', which the model's tokenizer"),
    ]
    (tmp_path / "before").mkdir()
    optimizer.publish(tmp_path / "before", run_id="r", lineage="main")
    for row, sentence in bad:
        with pytest.raises(DataError, match=sentence):
            optimizer.step(batch((item(0, "1+1=", "2", "3"), row)))
        with pytest.raises(DataError, match=sentence):
            optimizer.validate([row])
    (tmp_path / "after").mkdir()
    optimizer.publish(tmp_path / "after", run_id="r", lineage="main")
    assert digest_of(tmp_path / "before") == digest_of(tmp_path / "after")


@pytest.mark.parametrize("build", [dpo, reward_model])
def test_pairs_that_are_too_long_can_be_dropped(folder: Path, build: Build) -> None:
    """They are counted, and what is left is trained on as if they were not there."""
    long = item(9, "1+1=", "1" * 200, "2")
    dropping, alone = (build(folder, on_long_row="drop") for _ in range(2))
    report, expected = dropping.step(batch((long, *sums(3)))), alone.step(batch(sums(3)))
    assert report.dropped == {"too_long": 1}
    assert expected.dropped == {}
    assert report.metrics == expected.metrics
    assert dropping.validate((long,)) == {}
    assert dropping.validate((long, *sums(3))) == alone.validate(sums(3))
    assert report.alarms == ()
    report = dropping.step(batch((long,), 2))
    assert report.dropped == {"too_long": 1}
    (alarm,) = report.alarms
    assert alarm.startswith("nothing was learned: all 1 rows of the step are longer than the 128 tokens")


def test_pairs_that_are_all_too_long_are_no_data(folder: Path) -> None:
    """Where they are dropped, that is an error before the first step; one pair that fits is enough to begin."""
    long = item(9, "1+1=", "1" * 200, "2")
    with pytest.raises(DataError, match="all 1 training rows are longer than the 128 tokens that the model reads"):
        Dpo(DpoConfig(on_long_row="drop"), replace(context(folder), train=Rows([long])))
    Dpo(DpoConfig(on_long_row="drop"), replace(context(folder), train=Rows([long, *sums(1)])))


def test_a_bad_pair_is_known_before_the_first_step(folder: Path) -> None:
    """Wherever it stands among the training rows; held-out rows of the same keys are others."""
    with pytest.raises(DataError, match=r"completions of row pairs\.jsonl:20 are the same text"):
        Dpo(DpoConfig(), replace(context(folder), train=Rows([*sums(), item(20, "1+1=", "2", "2")])))
    optimizer = Dpo(DpoConfig(), replace(context(folder), train=Rows(sums())))
    with pytest.raises(DataError, match=r"completions of row pairs\.jsonl:0 are the same text"):
        optimizer.validate([item(0, "1+1=", "2", "2")])


@pytest.mark.parametrize("margin", [None, "wide", math.inf])
def test_a_margin_that_is_no_number_is_named(folder: Path, margin: Any) -> None:
    """So is a missing one."""
    optimizer = reward_model(folder, margin="{{item.gap}}")
    with pytest.raises(DataError, match=r"margin of row pairs\.jsonl:0 is not a number"):
        optimizer.step(batch((item(0, "1+1=", "2", "3", gap=margin),)))
    with pytest.raises(DataError, match=r"row pairs\.jsonl:1 has no margin"):
        optimizer.step(batch((item(1, "1+1=", "2", "3"),)))


@pytest.mark.parametrize("build", [dpo, reward_model])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(folder: Path, build: Build) -> None:
    """FloatingPointError names the rows."""
    optimizer = build(folder)
    with torch.no_grad():
        next(iter(optimizer._trainer.parameters.values()))[:] = torch.nan
    with pytest.raises(FloatingPointError, match=r"row pairs\.jsonl:0"):
        optimizer.step(batch(sums(2)))


@pytest.mark.parametrize("build", [dpo, reward_model])
def test_nothing_to_learn_or_validate(folder: Path, tmp_path: Path, build: Build) -> None:
    """No items: no metrics of validation; a step that keeps the weights and counts."""
    optimizer = build(folder)
    assert optimizer.validate([]) == {}
    report = optimizer.step(batch(()))
    assert (report.policy, report.trained_tokens) == (1, 0)
    assert report.metrics["loss"] == 0.0


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
def test_a_reward_model_is_a_plain_folder_of_transformers(
    folder: Path, tmp_path: Path, lora: dict[str, int] | None
) -> None:
    """transformers, with peft for an adapter, loads `policy/` and gives the trainer's own rewards, padded or not."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    optimizer = reward_model(folder, lora=lora, learning_rate=1e-2)
    for step in range(1, 6):
        optimizer.step(batch(sums(), step))
    optimizer.save(tmp_path / "saved")
    policy = tmp_path / "saved" / "policy"
    if lora is None:
        model = AutoModelForSequenceClassification.from_pretrained(policy)
    else:
        base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        base.config.pad_token_id = 0
        model = PeftModel.from_pretrained(base, policy).eval()
    assert model.config.num_labels == 1
    pairs = optimizer._train_pairs.of(sums())
    rows = [[*pair.prompt, *completion] for pair in pairs for completion in (pair.chosen, pair.rejected)]
    with torch.no_grad():
        _, expected = optimizer._trainer.values([row for pair in pairs for row in optimizer.rows(pair)])
        width = max(map(len, rows))
        padded = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        found = model(padded, attention_mask=(padded != 0).long()).logits[:, 0]
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("pad", ["<pad>", "<eos>", None])
def test_where_transformers_would_read_a_token_early_it_refuses_instead(
    folder: Path, tmp_path: Path, pad: str | None
) -> None:
    """A model that pads with its end of sequence is saved with a pad of its own, or with none: then transformers
    takes no padded batch, and one row by itself still has its reward at the end."""
    from transformers import AutoModelForSequenceClassification

    shutil.copytree(folder, tmp_path / "model")
    for name, key, value in (("config.json", "pad_token_id", EOS), ("tokenizer_config.json", "pad_token", pad)):
        file = tmp_path / "model" / name
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    optimizer = reward_model(tmp_path / "model", learning_rate=1e-2)
    for step in range(1, 4):
        optimizer.step(batch(sums(), step))
    optimizer.save(tmp_path / "saved")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved" / "policy")
    assert model.config.pad_token_id == (0 if pad == "<pad>" else None)
    (pair,) = optimizer._train_pairs.of(sums(1))
    row = torch.tensor([[*pair.prompt, *pair.chosen]])
    with torch.no_grad():
        _, (expected, _) = optimizer._trainer.values(list(optimizer.rows(pair)))
        assert torch.allclose(model(row).logits[0, 0], expected, atol=1e-5)
        if pad != "<pad>":
            with pytest.raises(ValueError, match="no padding token"):
                model(row.expand(2, -1))


def test_micro_batches_of_pairs_stay_within_the_budget(folder: Path) -> None:
    """Whole pairs, each once; padded or packed, none beyond the budget but a pair that is too long by itself."""
    optimizer = dpo(folder)
    rows = [optimizer.rows(pair) for pair in optimizer._train_pairs.of(sums(40))]
    for packing in (False, True):
        for budget in (1, 30, 100, 1000):
            plan = plan_pairs(rows, budget, packing=packing)
            assert sorted(i for part in plan for i in part) == list(range(40))
            for part in plan:
                both = [row for i in part for row in rows[i]]
                shared = sum(map(len, {row.prefix for row in both}))
                widest = max(row.remainder for row in both)
                cost = shared + (sum(row.remainder for row in both) if packing else len(both) * widest)
                assert len(part) == 1 or cost <= budget
        assert len(plan_pairs(rows, 1000, packing=packing)) < len(plan_pairs(rows, 100, packing=packing)) < 40
