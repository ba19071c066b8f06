"""The grader `reward_model`, on small models that the optimizer of the same name trained."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import context, make_model

from rft_core.errors import ModelError
from rft_core.registry import Registry
from rft_core.runs.assembly import grader_version, sees_groups
from rft_core.types import Grade, Group, Item, Outcome, Rollout, TrainBatch
from rft_preference.config import RewardGraderConfig, RewardModelConfig
from rft_preference.grader import RewardGrader
from rft_preference.reward import RewardModel

TEXTS = ("2", "xyz", "", "2", "1234567890")
QUESTION = [{"role": "developer", "content": "add"}, {"role": "user", "content": "1+1="}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def pair(index: int, chosen: str, rejected: str) -> Item:
    return Item(key=f"pairs:{index}", index=index, row={"messages": QUESTION, "chosen": chosen, "rejected": rejected})


def trained(folder: Path, saved: Path, *, dtype: str = "float32", **settings: Any) -> RewardModel:
    """A reward model after a few steps, saved as a checkpoint in `saved`."""
    optimizer = RewardModel(RewardModelConfig(learning_rate=1e-2, **settings), context(folder, dtype=dtype))
    items = tuple(pair(i, str(i), "x" * (i + 1)) for i in range(4))
    for step in range(1, 6):
        optimizer.step(TrainBatch(step=step, total_steps=5, items=items))
    optimizer.save(saved / "optimizer")
    return optimizer


@pytest.fixture(scope="module")
def checkpoint(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = tmp_path_factory.mktemp("run") / "checkpoints" / "step-000005"
    trained(folder, saved)
    return saved


def grader(path: Path, **settings: Any) -> RewardGrader:
    return RewardGrader(RewardGraderConfig(path=path.name, **settings), path.parent)


def group(*texts: str, messages: Any = QUESTION) -> Group:
    """Rollouts without tokens: the grader gets none."""
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=0, segments=(), text=text, finish_reason="stop")
        for n, text in enumerate(texts)
    )
    return Group(ordinal=0, item=Item(key="rows:0", index=0, row={"messages": messages}), rollouts=rollouts)


def rewards(grades: Any) -> list[float]:
    return [grade.metrics["reward"] for grade in grades]


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_serving_reads_what_training_read(
    folder: Path, tmp_path: Path, lora: dict[str, int] | None, dtype: str, tolerance: float
) -> None:
    """The reward of a text is the trainer's own value of the same text in a pair: same tokens, template and end. In
    half precision too, where weights are rounded once for serving and at each use in training."""
    optimizer = trained(folder, tmp_path / "step", dtype=dtype, lora=lora)
    pairs = optimizer._held_out_pairs.of([pair(0, TEXTS[0], TEXTS[1]), pair(1, TEXTS[4], TEXTS[2])])
    with torch.no_grad(), optimizer._trainer.autocast():
        _, values = optimizer._trainer.values([row for one in pairs for row in optimizer.rows(one)])
    served = grader(tmp_path / "step", dtype=dtype)
    found = rewards(served.grade(group(TEXTS[0], TEXTS[1], TEXTS[4], TEXTS[2])))
    assert found == pytest.approx(values.tolist(), abs=tolerance)
    assert max(found) - min(found) > 0.1
    encoder = served._encoder
    assert (pairs[0].prompt, pairs[0].chosen) == (encoder.prompt(QUESTION, ()), encoder.completion(TEXTS[0]))


def test_a_score_does_not_depend_on_its_group(checkpoint: Path) -> None:
    """To the bit, with whatever else is in the group and in whatever order; equal texts get equal grades."""
    served = grader(checkpoint)
    together = served.grade(group(*TEXTS))
    assert together == list(reversed(served.grade(group(*reversed(TEXTS)))))
    assert together == [grade for text in TEXTS for grade in served.grade(group(text))]
    assert together[0] == together[3]
    batched = rewards(grader(checkpoint, batch_size=3).grade(group(*TEXTS)))
    assert batched == pytest.approx(rewards(together), abs=1e-5)
    served.close()


def test_scores_are_logistic_or_raw(checkpoint: Path) -> None:
    """score = f((reward − shift) / scale); the reward itself is a metric."""
    raw = rewards(grader(checkpoint).grade(group(*TEXTS)))
    default = [grade.reward for grade in grader(checkpoint).grade(group(*TEXTS))]
    assert default == pytest.approx([1 / (1 + math.exp(-reward)) for reward in raw])
    assert [g.reward for g in grader(checkpoint, normalize="none").grade(group(*TEXTS))] == raw
    moved = grader(checkpoint, normalize="none", shift=2.0, scale=4.0).grade(group(*TEXTS))
    assert [grade.reward for grade in moved] == pytest.approx([(reward - 2) / 4 for reward in raw])
    far = [grade.reward for s in (-1e5, 1e5) for grade in grader(checkpoint, shift=s).grade(group(*TEXTS))]
    assert set(far) == {0.0, 1.0}


def test_a_run_a_checkpoint_and_a_folder_are_found(checkpoint: Path, tmp_path: Path) -> None:
    """`final/` of a run, `optimizer/policy/` of a checkpoint, and a plain folder give the same grades."""
    run = tmp_path / "run"
    (run / "journal").mkdir(parents=True)
    with pytest.raises(ModelError, match="has not ended"):
        grader(run)
    shutil.copytree(checkpoint / "optimizer" / "policy", run / "final")
    expected = grader(checkpoint).grade(group(*TEXTS))
    assert grader(run).grade(group(*TEXTS)) == expected
    assert grader(run / "final").grade(group(*TEXTS)) == expected


def test_what_gives_no_rewards_is_said_in_one_sentence(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A language model, nothing at all, a head that was never trained, an adapter without its base."""
    with pytest.raises(ModelError, match="holds a LlamaForCausalLM, which gives no rewards"):
        grader(folder)
    with pytest.raises(ModelError, match=r"no reward model in .*nowhere"):
        grader(tmp_path / "nowhere")
    fresh = RewardModel(RewardModelConfig(), context(folder))
    fresh.save(tmp_path / "fresh" / "optimizer")
    with pytest.raises(ModelError, match="empty head"):
        grader(tmp_path / "fresh")
    trained(folder, tmp_path / "lora", lora={"rank": 2})
    file = tmp_path / "lora" / "optimizer" / "policy" / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(ModelError, match=r"adapter over .*gone, which is no folder here"):
        grader(tmp_path / "lora")
    file.write_text(json.dumps({**settings, "task_type": "CAUSAL_LM"}))
    with pytest.raises(ModelError, match="of a language model, which gives no rewards"):
        grader(tmp_path / "lora")


def test_texts_that_do_not_fit_get_no_grade(checkpoint: Path) -> None:
    """Half a completion may be worth anything; the others of its group have their scores all the same. A prompt that
    is too long is a fault of the row."""
    served = grader(checkpoint)
    prompt = len(served._encoder.prompt(QUESTION, ()))
    fits = "1" * (128 - prompt - 1)
    (alone,) = served.grade(group(fits))
    whole, longer = served.grade(group(fits, fits + "xyz"))
    assert whole == alone
    assert whole.outcome is Outcome.SCORE
    assert longer.outcome is Outcome.ABSTAINED
    assert longer.message is not None
    assert "prompt and completion have 131 tokens" in longer.message
    assert "the reward model reads 128; lower sampling.max_tokens" in longer.message
    (failed,) = served.grade(group("2", messages=[{"role": "user", "content": "1" * 200}]))
    assert failed.outcome is Outcome.GRADER_ERROR
    assert failed.message is not None
    assert "200 tokens, and the reward model reads 128" in failed.message
    for messages, sentence in ([{"role": "user", "content": ""}], "no tokens"), ([], "the item has no messages"):
        (refused,) = served.grade(group("2", messages=messages))
        assert isinstance(refused, Grade)
        assert refused.outcome is Outcome.GRADER_ERROR
        assert sentence in (refused.message or "")


def test_the_version_of_the_grader_is_that_of_its_weights(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Other weights at the same path are another grader, a copy of the same ones is not; batches see groups."""
    registry = Registry.discover()
    shutil.copytree(checkpoint, tmp_path / "one")
    raw = {"type": "reward_model", "path": "one"}
    before = grader_version(registry, raw, tmp_path)
    again = tmp_path / "again"
    shutil.copytree(checkpoint, again / "one")
    assert grader_version(registry, raw, again) == before
    shutil.rmtree(tmp_path / "one")
    trained(folder, tmp_path / "one", center_rewards=0.1)
    assert grader_version(registry, raw, tmp_path) != before
    assert not sees_groups(registry, raw)
    assert sees_groups(registry, {**raw, "batch_size": 8})
