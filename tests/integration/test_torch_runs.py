"""Runs with a real model: the transformers sampler, GRPO, LoRA, supervised warm start, export."""

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft_test_plugin.harness import audit, engine, fingerprint, kill, launch, summary

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
STAGES = [
    {
        "stage": "warm-up",
        "optimizer": {"type": "sft", "target": "{{item.target}}", "learning_rate": 3e-3},
        "training": {"steps": 12, "batch_size": 32},
        "validation": {"eval_interval": 6, "sampling": False},
    },
    {"stage": "rft"},
]


def write_run(folder: Path, **changes: Any) -> Path:
    """One-digit addition on a model of some ten thousand weights."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = "0123456789+=;#"
    values: dict[str, Any] = {
        "name": "tiny",
        "seed": 1,
        "runs_dir": str(folder / "runs"),
        "model": {
            "type": "tiny_llama",
            "hidden_size": 32,
            "layers": 2,
            "heads": 2,
            "max_context": 64,
            "tokenizer": {"type": "characters", "alphabet": alphabet},
        },
        "data": {
            "train": {"type": "arithmetic", "digits": 1, "count": 64, "split": "train"},
            "validation": {"type": "arithmetic", "digits": 1, "count": 12, "split": "validation"},
            "test": {"type": "arithmetic", "digits": 1, "count": 8, "split": "test"},
        },
        "sampling": {"max_tokens": 12},
        "sampler": {"type": "transformers", "worker": {"count": 1, "threads": 1}},
        "grader": {
            "type": "string_check",
            "name": "has one",
            "input": "{{sample.output_text}}",
            "reference": "1",
            "operation": "like",
        },
        "optimizer": {"type": "policy_gradient", "learning_rate": 2e-3},
        "training": {"steps": 8, "batch_size": 8, "group_size": 4, "unit_size": 2},
        "validation": {"eval_interval": 3, "temperature": 0.0},
        "observers": [{"type": "tensorboard"}],
    }
    values.update(changes)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody touched."""
    folder = tmp_path_factory.mktemp("unbroken")
    outcome = engine("run", write_run(folder), "--name", "tiny", env=ONE_THREAD)
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
@pytest.mark.parametrize("count", [2, 4])
def test_the_number_of_samplers_changes_nothing(tmp_path: Path, unbroken: Path, count: int) -> None:
    """2 and 4 sampler processes give the bits of one."""
    run_file = write_run(tmp_path, sampler={"type": "transformers", "worker": {"count": count, "threads": 1}})
    outcome = engine("run", run_file, "--name", "tiny", env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    assert fingerprint(tmp_path / "runs" / "tiny") == fingerprint(unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["engine", "sampler", "grader"])
def test_killed_and_resumed_gives_the_same_bits(tmp_path: Path, unbroken: Path, target: str) -> None:
    """SIGKILL at a random instant of a run with a real model: weights, AdamW's moments and journal are the
    same in the end."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"instant {seed}")
    run_dir = tmp_path / "runs" / "tiny"
    process = launch("run", write_run(tmp_path), "--name", "tiny", env=ONE_THREAD)
    while not (run_dir / "journal").exists():
        time.sleep(0.05)
    time.sleep(random.Random(seed).uniform(1.0, 7.0))
    kill(process, target)
    if target == "engine":
        outcome = engine("resume", run_dir, env=ONE_THREAD)
        assert outcome.code == 0, outcome.errors
    else:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert fingerprint(run_dir) == fingerprint(unbroken)
    audit(run_dir)


@pytest.mark.slow
def test_warm_start_lora_export_and_fork(tmp_path: Path) -> None:
    """sft, then RFT on an adapter, killed between; the export merges the adapter; a new run forks from it."""
    optimizer = {"type": "policy_gradient", "learning_rate": 5e-3, "lora": {"rank": 4}}
    lora = write_run(tmp_path, optimizer=optimizer, stages=STAGES)
    died = engine("run", lora, "--name", "tiny", env={**ONE_THREAD, "RFT_FAILPOINT": "update.before_fsync@16"})
    assert died.code == -9
    run_dir = tmp_path / "runs" / "tiny"
    outcome = engine("resume", run_dir, env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    assert (run_dir / "final" / "adapter_model.safetensors").exists()
    merged = engine("export", run_dir, "--merge", "--out", tmp_path / "merged", env=ONE_THREAD)
    assert merged.code == 0, merged.errors
    assert logit_difference(run_dir, tmp_path / "merged") < 1e-4
    fork = write_run(
        tmp_path / "fork",
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
        write_run(tmp_path, grader=grader, training={"steps": 3, "batch_size": 4, "group_size": 4}),
        "--name",
        "tiny",
        env=ONE_THREAD,
    )
    assert outcome.code == 0, outcome.errors
    from rft_core.weights import digest_of

    run_dir = tmp_path / "runs" / "tiny"
    assert digest_of(run_dir / "final") == digest_of(run_dir / "weights" / "v000000")


def test_a_model_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """Missing, pickled or broken model folders are one sentence, before anything heavy is started."""
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    for path, sentence in ((tmp_path / "nowhere", "no model folder"), (pickled, "only pickled weights")):
        outcome = engine("run", write_run(tmp_path, model={"path": str(path)}), env=ONE_THREAD)
        assert outcome.code == 2
        assert sentence in outcome.errors
        assert "Traceback" not in outcome.errors
    shutil.rmtree(pickled)
