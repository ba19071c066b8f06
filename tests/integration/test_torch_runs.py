"""Runs with a real model: the transformers sampler, GRPO, LoRA, supervised warm start, export."""

import json
import shutil
from pathlib import Path

import pytest

import rft_core.api as rft
from rft_core.errors import DataError
from rft_test_plugin.harness import ONE_THREAD, audit, engine, fingerprint, summary, tiny_run

STAGES = [
    {
        "stage": "warm-up",
        "optimizer": {"type": "sft", "target": "{{item.target}}", "learning_rate": 3e-3},
        "training": {"steps": 12, "batch_size": 32},
        "validation": {"eval_interval": 6, "sampling": False},
    },
    {"stage": "rft"},
]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody touched."""
    folder = tmp_path_factory.mktemp("unbroken")
    outcome = engine("run", tiny_run(folder), "--name", "tiny", env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    audit(folder / "runs" / "tiny")
    return folder / "runs" / "tiny"


@pytest.mark.slow
def test_the_policy_learns_what_is_rewarded(unbroken: Path) -> None:
    """The reward rises, the sampler's log-probabilities are the trainer's, every step trained something."""
    lines = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["reward_mean"] > lines[0]["reward_mean"] + 0.1
    assert max(line["logprob_diff_max"] for line in lines) < 1e-4
    assert min(line["trained_tokens"] for line in lines) > 0
    assert summary(unbroken)["validation"]["gain"]["rows"] == 12
    assert list((unbroken / "tensorboard").glob("events.out.tfevents.*"))
    assert "# tiny" in (unbroken / "final" / "README.md").read_text()


@pytest.mark.slow
def test_the_number_of_samplers_changes_nothing(tmp_path: Path, unbroken: Path) -> None:
    """Four sampler processes give the bits of one; tests/chaos compares other numbers, of samplers that start faster."""
    run_file = tiny_run(tmp_path, sampler={"type": "transformers", "worker": {"count": 4, "threads": 1}})
    outcome = engine("run", run_file, "--name", "tiny", env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    assert fingerprint(tmp_path / "runs" / "tiny") == fingerprint(unbroken)


@pytest.mark.slow
def test_warm_start_lora_export_and_fork(tmp_path: Path) -> None:
    """sft, then RFT on an adapter, killed between; the export merges the adapter; a new run forks from it."""
    optimizer = {"type": "policy_gradient", "learning_rate": 5e-3, "lora": {"rank": 4}}
    lora = tiny_run(tmp_path, processes=(), optimizer=optimizer, stages=STAGES)
    died = engine("run", lora, "--name", "tiny", env={**ONE_THREAD, "RFT_FAILPOINT": "update.before_fsync@16"})
    assert died.code == -9
    run_dir = tmp_path / "runs" / "tiny"
    outcome = engine("resume", run_dir, env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    assert (run_dir / "final" / "adapter_model.safetensors").exists()
    merged = engine("export", run_dir, "--merge", "--out", tmp_path / "merged", env=ONE_THREAD)
    assert merged.code == 0, merged.errors
    assert logit_difference(run_dir, tmp_path / "merged") < 1e-4
    fork = tiny_run(
        tmp_path / "fork",
        processes=(),
        init_from=str(run_dir),
        optimizer=optimizer,
        training={"steps": 1, "batch_size": 4, "group_size": 4},
    )
    outcome = engine("run", fork, "--name", "fork", env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    values = summary(tmp_path / "fork" / "runs" / "fork")
    assert values["validation"]["before"]["reward_mean"] == summary(run_dir)["validation"]["after"]["reward_mean"]


def logit_difference(run_dir: Path, merged: Path) -> float:
    """Largest difference of logits between a run's adapter over its base and an exported model."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = json.loads((run_dir / "config.json").read_text())["resolved_model"]["path"]
    adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), run_dir / "final")
    whole = AutoModelForCausalLM.from_pretrained(merged)
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        return float((adapter(ids).logits - whole(ids).logits).abs().max())


def test_a_constant_grader_changes_no_bit(tmp_path: Path) -> None:
    """Without a difference in reward, KL and weight decay, the weights stay as they were."""
    grader = {"type": "test_constant"}
    outcome = engine(
        "run",
        tiny_run(tmp_path, processes=(), grader=grader, training={"steps": 3, "batch_size": 4, "group_size": 4}),
        "--name",
        "tiny",
        env=ONE_THREAD,
    )
    assert outcome.code == 0, outcome.errors
    from rft_core.weights import digest_of

    run_dir = tmp_path / "runs" / "tiny"
    assert digest_of(run_dir / "final") == digest_of(run_dir / "weights" / "v000000")


def test_ppo_survives_a_kill_and_tells_what_looks_wrong(tmp_path: Path) -> None:
    """A run with a critic, killed after its checkpoint, ends with the same bits; updates without a gradient are alarms
    in events.jsonl, on standard output and in `show`."""
    optimizer = {
        "type": "policy_gradient",
        "algorithm": "ppo",
        "learning_rate": 2e-3,
        "critic": {"learning_rate": 1e-2},
        "correction": {"type": "masked", "min": 0.0, "max": 1e-6},
    }
    training = {"steps": 4, "batch_size": 4, "group_size": 2}
    files = [
        tiny_run(tmp_path / name, processes=(), optimizer=optimizer, training=training, validation={"eval_interval": 2})
        for name in ("a", "b")
    ]
    outcome = engine("run", files[0], "--name", "tiny", env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    alarms = [event for event in outcome.events if event["event"] == "alarm"]
    assert alarms
    assert "gradient of exactly 0" in alarms[0]["message"]
    run_dir = tmp_path / "a" / "runs" / "tiny"
    assert '"event": "alarm"' in (run_dir / "events.jsonl").read_text()
    told = json.loads((run_dir / "summary.json").read_text())["alarms"]
    assert told == {"steps": len(alarms), "last_step": alarms[-1]["step"], "last": alarms[-1]["message"]}
    assert "alarm" in engine("show", run_dir).output
    died = engine("run", files[1], "--name", "tiny", env={**ONE_THREAD, "RFT_FAILPOINT": "update.before_fsync@4"})
    assert died.code == -9
    resumed = tmp_path / "b" / "runs" / "tiny"
    assert engine("resume", resumed, env=ONE_THREAD).code == 0
    assert fingerprint(resumed) == fingerprint(run_dir)
    critics = [path / "checkpoints" / "step-000004" / "optimizer" / "critic" for path in (run_dir, resumed)]
    for file in ("policy/model.safetensors", "optimizer.safetensors"):
        assert (critics[0] / file).read_bytes() == (critics[1] / file).read_bytes()


def test_a_model_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """Missing, pickled or broken model folders are one sentence, before anything heavy is started."""
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    for path, sentence in ((tmp_path / "nowhere", "no model folder"), (pickled, "only pickled weights")):
        outcome = engine("run", tiny_run(tmp_path, processes=(), model={"path": str(path)}), env=ONE_THREAD)
        assert outcome.code == 2
        assert sentence in outcome.errors
        assert "Traceback" not in outcome.errors
    shutil.rmtree(pickled)


@pytest.mark.parametrize(("split", "processes"), [("train", ("sampler",)), ("test", ())])
def test_a_prompt_without_room_is_named_by_its_row(tmp_path: Path, split: str, processes: tuple[str, ...]) -> None:
    """File and line of the prompt that fills the context, before anything is sampled."""
    rows = [{"messages": [{"role": "user", "content": text}]} for text in ("1+1=", "2" * 99, "3+3=")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "short.jsonl").write_text(json.dumps(rows[0]) + "\n")
    data = {"train": {"type": "jsonl", "path": "short.jsonl"}, split: {"type": "jsonl", "path": "rows.jsonl"}}
    outcome = engine("run", tiny_run(tmp_path, processes=processes, data=data), env=ONE_THREAD)
    assert outcome.code == 2
    assert "rows.jsonl:2: the prompt has 1" in outcome.errors
    assert list(tmp_path.glob("**/rollouts"))
    assert "shorten it or leave the row out" in outcome.errors
    assert len(outcome.errors.splitlines()) == 1
    assert not list(tmp_path.glob("**/rollouts/*"))


def test_another_teacher_is_noticed(unbroken: Path, tmp_path: Path) -> None:
    """One whose settings or weights were replaced since a distillation began is an error."""
    teacher = tmp_path / "teacher"
    shutil.copytree(unbroken / "final", teacher)
    optimizer = {"type": "policy_gradient", "algorithm": "distillation", "kl": {"reference": str(teacher)}}
    run_file = tiny_run(
        tmp_path, processes=(), optimizer=optimizer, training={"steps": 1, "batch_size": 2, "group_size": 2}
    )
    assert engine("run", run_file, "--name", "taught", env=ONE_THREAD).code == 0
    settings = json.loads((teacher / "config.json").read_text())
    more = ("resume", tmp_path / "runs" / "taught", "--set", "training.steps=99")
    (teacher / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.1}))
    outcome = engine(*more, env=ONE_THREAD)
    assert outcome.code == 4
    assert "the other models of the run in" in outcome.errors


@pytest.mark.parametrize("processes", [(), ("sampler",)])
def test_a_prompt_that_only_the_sampler_finds_too_long_is_named_by_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: tuple[str, ...]
) -> None:
    """Of a source of which not every row is looked at before; in a worker or in the engine itself."""
    monkeypatch.setattr("rft_torch.long_rows.MOST_LOOKED_AT", 0)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "2" * 99}]}) + "\n")
    data = {"train": {"type": "jsonl", "path": "rows.jsonl"}}
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the prompt has 1\d\d tokens .* leave the row out$"):
        rft.run(tiny_run(tmp_path, processes=processes, data=data))
