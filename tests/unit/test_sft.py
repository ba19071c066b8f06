"""The optimizer `sft`, on small random models."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tiny_models import EOS, Rows, context, make_model

from rft_core.errors import DataError, ModelError
from rft_core.types import Item, ModelRef, TrainBatch
from rft_optimizer_sft import rft_optimizers
from rft_optimizer_sft.config import SftConfig
from rft_optimizer_sft.optimizer import Sft
from rft_optimizer_sft.targets import target_of
from rft_torch import encoded
from rft_torch.models import encode_prompt, load_model, load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def build(folder: Path, **settings: Any) -> Sft:
    return Sft(SftConfig(**{"target": "{{item.answer}}", "learning_rate": 3e-3, **settings}), context(folder))


def item(index: int, question: str, answer: Any = None) -> Item:
    row = {"messages": [{"role": "user", "content": question}], **({} if answer is None else {"answer": answer})}
    return Item(key=f"rows.jsonl:{index}", index=index, row=row)


def sums(count: int = 12) -> tuple[Item, ...]:
    """Questions of different lengths with answers of one to three characters."""
    return tuple(item(i, f"{i * 7}+{i * i}=", i * 7 + i * i) for i in range(count))


def batch(items: tuple[Item, ...], step: int = 1) -> TrainBatch:
    return TrainBatch(step=step, total_steps=20, items=items)


@pytest.mark.parametrize("budget", [1, 30, 8192])
def test_loss_is_the_mean_over_completion_tokens(folder: Path, budget: int) -> None:
    """Against a loop over rows in float64: prompts are not learned, the end of sequence is; whatever the micro-batches."""
    model, tokenizer = load_model(ModelRef(path=folder)).double(), load_tokenizer(folder)
    total, tokens, correct = 0.0, 0, 0
    for one in sums():
        prompt = encode_prompt(tokenizer, one.row["messages"])
        target = [*tokenizer(str(one.row["answer"]))["input_ids"], EOS]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1]
        total -= sum(float(logits[t].log_softmax(-1)[token]) for t, token in enumerate(target))
        correct += sum(int(logits[t].argmax()) == token for t, token in enumerate(target))
        tokens += len(target)
    optimizer = build(folder, micro_batch_tokens=budget)
    held_out = optimizer.validate(sums())
    report = optimizer.step(batch(sums()))
    assert held_out["loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert held_out["token_accuracy"] == pytest.approx(correct / tokens)
    assert report.metrics["loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert report.trained_tokens == tokens
    assert report.policy == 1


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("budget", [1, 60, 8192])
def test_loss_and_gradient_are_the_formula_in_float64(folder: Path, budget: int, packing: bool) -> None:
    """Of ragged rows, against one row at a time in float64, to 1e-6, whatever the micro-batches and their layout."""
    optimizer = build(folder, micro_batch_tokens=budget, packing=packing)
    optimizer._trainer.model.double()
    model, tokenizer = load_model(ModelRef(path=folder), trainable=True).double(), load_tokenizer(folder)
    terms = []
    for one in sums():
        prompt = encode_prompt(tokenizer, one.row["messages"])
        target = [*tokenizer(str(one.row["answer"]))["input_ids"], EOS]
        logits = model(torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1]
        terms.append(-logits.log_softmax(-1)[range(len(target)), target])
    expected = torch.cat(terms).mean()
    expected.backward()
    rows = [row for row in optimizer._train_rows.of(sums()) if row is not None]
    losses, entropy = optimizer.accumulate(rows, ["row"] * len(rows))
    tokens = sum(len(row.wanted) for row in rows)
    assert sum(loss.item() for loss, _ in losses) / tokens == pytest.approx(expected.item(), rel=1e-6)
    assert 0 < entropy < math.log(28)
    for name, parameter in model.named_parameters():
        found = optimizer._trainer.parameters[name].grad
        assert parameter.grad is not None
        assert found is not None
        difference = (found - parameter.grad).abs().max() / parameter.grad.abs().max()
        assert difference < 1e-6, (name, difference)  # a Llama's norms compute in float32, whatever its weights are


@pytest.mark.parametrize("lora", [None, {"rank": 8, "alpha": 32}])
def test_it_learns_what_it_is_shown(folder: Path, lora: dict[str, Any] | None) -> None:
    """Some dozen epochs over a few rows bring the loss down; validation, on the same rows, agrees."""
    optimizer = build(folder, lora=lora, learning_rate=1e-2)
    losses = [optimizer.step(batch(sums(6), step)).metrics["loss"] for step in range(1, 41)]
    assert losses[-1] < (0.1 if lora is None else 0.9 * losses[0])
    after = optimizer.validate(sums(6))
    assert after["loss"] < losses[0]
    assert lora is not None or after["token_accuracy"] == 1.0


def test_saved_and_loaded_training_continues_bit_by_bit(folder: Path, tmp_path: Path) -> None:
    """Five steps equal two, save, load in a fresh optimizer, and three, to the bit of every file."""
    settings = {"schedule": "linear", "warmup_steps": 2, "weight_decay": 0.01}
    batches = [batch(sums()[step : step + 4], step) for step in range(1, 6)]
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


def test_a_checkpoint_before_the_first_step_loads(folder: Path, tmp_path: Path) -> None:
    """AdamW has no state yet; loading it gives back version 0 and an optimizer that has forgotten its own."""
    fresh, used = build(folder), build(folder)
    fresh.save(tmp_path / "c")
    used.step(batch(sums()))
    used.load(tmp_path / "c")
    assert used.step(batch(sums())) == fresh.step(batch(sums()))


def test_rows_that_cannot_be_taught_are_named(folder: Path, tmp_path: Path) -> None:
    """A missing variable, missing messages, a row beyond the context, an empty target and one that the tokenizer does
    not know each name the row's key, and the weights stay as they were."""
    optimizer = build(folder)
    before = published(optimizer, tmp_path / "before")
    with pytest.raises(DataError, match=r"rows\.jsonl:3.*item\.answer"):
        optimizer.step(batch((item(0, "1+1=", 2), item(3, "1+1="))))
    with pytest.raises(DataError, match=r"rows\.jsonl:4.*messages"):
        optimizer.validate([Item(key="rows.jsonl:4", index=4, row={"answer": 1})])
    with pytest.raises(DataError, match=r"rows\.jsonl:5.*tokens"):
        optimizer.step(batch((item(0, "1+1=", 2), item(5, "1" * 200, 2))))
    with pytest.raises(DataError, match=r"the target of row rows\.jsonl:6 is empty"):
        optimizer.step(batch((item(0, "1+1=", 2), item(6, "1+1=", ""))))
    with pytest.raises(
        DataError, match=r"the target of row rows\.jsonl:7 holds 'M', which the model's tokenizer does no"
    ):
        optimizer.step(batch((item(0, "1+1=", 2), item(7, "1+1=", "aMbN"))))
    assert published(optimizer, tmp_path / "after") == before


def published(optimizer: Sft, folder: Path) -> str:
    folder.mkdir()
    return optimizer.publish(folder, run_id="r", lineage="main").digest


def test_rows_that_are_too_long_can_be_dropped(folder: Path) -> None:
    """They are counted, and what is left is trained on as if they were not there."""
    long = item(5, "1" * 200, 2)
    settings = {"on_long_row": "drop", "learning_rate": 1e-3}
    dropping, alone = build(folder, **settings), build(folder, **settings)
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


def test_rows_that_are_all_too_long_are_no_data(folder: Path) -> None:
    """Where they are dropped, that is an error before the first step; one row that fits is enough to begin."""
    long, short = item(5, "1" * 200, 2), item(6, "1+1=", 2)
    config = SftConfig(target="{{item.answer}}", on_long_row="drop")
    with pytest.raises(DataError, match="all 2 training rows are longer than the 128 tokens that the model reads"):
        Sft(config, replace(context(folder), train=Rows([long, long])))
    Sft(config, replace(context(folder), train=Rows([long, short])))


def test_a_bad_row_is_known_before_the_first_step(folder: Path) -> None:
    """Wherever it stands among the training rows."""
    config = SftConfig(target="{{item.answer}}")
    with pytest.raises(DataError, match=r"the target of row rows\.jsonl:20 is empty"):
        Sft(config, replace(context(folder), train=Rows([*sums(), item(20, "1+1=", "")])))


def test_a_null_is_no_target(folder: Path) -> None:
    """A template would write the text `null`, and the model learn to say it."""
    config = SftConfig(target="{{item.answer}}")
    nothing = Item(key="rows.jsonl:9", index=0, row={"messages": [{"role": "user", "content": "1"}], "answer": None})
    with pytest.raises(DataError, match=r"the target of row rows\.jsonl:9 is null; write one"):
        Sft(config, replace(context(folder), train=Rows([nothing])))
    with pytest.raises(DataError, match="is null"):
        target_of(nothing, " {{item.answer}}\n")
    assert target_of(nothing, '{"age": {{item.answer}}}') == '{"age": null}'  # as JSON writes it
    assert target_of(nothing, "null") == "null"


def test_rows_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are kept; what comes after them waits until it is drawn, but for the first that fits."""
    monkeypatch.setattr(encoded, "MOST_KEPT", 4)
    seen: list[int] = []

    def encode(one: Item) -> int | None:
        seen.append(one.index)
        return one.index if one.index >= least else None

    for least, looked_at in ((0, 4), (9, 10)):
        rows = encoded.EncodedRows(encode)
        seen.clear()
        rows.look_at(Rows(sums()), 128)
        assert seen == list(range(looked_at))
        assert rows.of(sums()) == [i if i >= least else None for i in range(12)]
        assert seen[looked_at:] == list(range(4, 12))


def test_a_loss_that_is_not_finite_names_its_rows(folder: Path) -> None:
    """FloatingPointError, before any weight changes."""
    optimizer = build(folder)
    with torch.no_grad():
        next(iter(optimizer._trainer.parameters.values()))[:] = torch.nan
    with pytest.raises(FloatingPointError, match=r"row rows\.jsonl:0"):
        optimizer.step(batch(sums(2)))


def test_a_tokenizer_without_an_end_cannot_teach_one(folder: Path, tmp_path: Path) -> None:
    """One sentence before anything is trained."""
    shutil.copytree(folder, tmp_path / "endless")
    file = tmp_path / "endless" / "tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "eos_token"}))
    with pytest.raises(ModelError, match="names no end-of-sequence token"):
        build(tmp_path / "endless")


@pytest.mark.parametrize("budget", [1, 8192])
def test_validation_holds_few_logits(folder: Path, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    """However few, loss and accuracy are the same; so they are in one stream."""
    expected = build(folder).validate(sums())
    assert build(folder, packing=True).validate(sums()) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr("rft_optimizer_sft.optimizer.MOST_LOGITS", budget)
    assert build(folder).validate(sums()) == pytest.approx(expected, rel=1e-5)


def test_training_and_validation_rows_with_equal_keys_are_kept_apart(folder: Path) -> None:
    """Two files of the same name give equal keys to different rows: the held-out row is validated, not the trained one."""
    alone, both = build(folder), build(folder, learning_rate=1e-12)
    both.step(batch((item(0, "abc", "d"),)))
    held_out = [item(0, "1+1=", "22")]
    assert both.validate(held_out)["loss"] == pytest.approx(alone.validate(held_out)["loss"], rel=1e-6)


def test_nothing_to_learn_or_validate(folder: Path, tmp_path: Path) -> None:
    """No items: no metrics of validation; a step that keeps the weights and counts."""
    optimizer = build(folder)
    digests = []
    assert optimizer.validate([]) == {}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.append(optimizer.publish(tmp_path / name, run_id="r", lineage="main").digest)
        report = optimizer.step(batch(()))
    assert digests[0] == digests[1]
    assert report.policy == 2
    assert all(math.isfinite(value) for value in report.metrics.values())


def test_the_target_is_checked_before_anything_runs() -> None:
    """A target over the sample, or one that is not a template, is refused; the spec tells the variables."""
    (spec,) = rft_optimizers()
    assert spec.needs == "labels"
    assert spec.variables(SftConfig(target="{{item.a}} and {{ item.b[0] }}")) == ("item.a", "item.b[0]")
    with pytest.raises(ValidationError, match="knows the row alone"):
        SftConfig(target="{{sample.output_text}}")
    with pytest.raises(ValidationError, match="answer"):
        SftConfig(target="{{answer}}")
