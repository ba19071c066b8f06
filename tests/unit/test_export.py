"""The command `rft-engine export`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from tiny_models import REGISTRY, context, make_model, random_groups

from rft_core import api
from rft_core.errors import ModelError, RunDirError
from rft_core.types import ModelRef, TrainBatch
from rft_core.weights import digest_of
from rft_optimizer_policy_gradient.optimizer import PolicyGradient
from rft_test_plugin.harness import engine
from rft_torch.export import export, find_checkpoint, merge_adapter
from rft_torch.lora import LoraSettings, add_lora
from rft_torch.models import load_model, quiet
from rft_torch.weights import adapter_tensors, publish_adapter, publish_full

IDS = torch.tensor([[5, 6, 7, 8]])


def make_run(tmp_path: Path, dtype: str = "float32", **settings: Any) -> tuple[Path, PolicyGradient]:
    """A run directory with checkpoints of steps 1 to 3, of which 2 is the best."""
    base = make_model(tmp_path / "base")
    optimizer = REGISTRY.build(
        "optimizer", {"type": "policy_gradient", "learning_rate": 1e-2, **settings}, context(base, dtype=dtype)
    )
    run = tmp_path / "run"
    for step in range(1, 4):
        optimizer.step(TrainBatch(step=step, total_steps=3, groups=random_groups(step)))
        optimizer.save(run / "checkpoints" / f"step-{step:06d}" / "optimizer")
    resolved = {"path": str(base), "device": "cpu", "dtype": dtype}
    (run / "config.json").write_text(json.dumps({"resolved_model": resolved}))
    (run / "summary.json").write_text(json.dumps({"best_step": 2, "steps": 3}))
    return run, optimizer


def run_export(*arguments: str | Path) -> str:
    result = CliRunner().invoke(export, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_merged_adapter_equals_base_and_adapter(tmp_path: Path) -> None:
    """The exported model is plain and gives the trainer's logits within 1e-4; the difference is printed."""
    run, optimizer = make_run(tmp_path, lora={"rank": 4})
    output = run_export(run, "--merge", "--out", tmp_path / "out")
    merged = load_model(ModelRef(path=tmp_path / "out"))
    expected = optimizer._trainer.model(IDS).logits
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert torch.allclose(merged(IDS).logits, expected, atol=1e-4)
    assert not torch.allclose(load_model(ModelRef(path=tmp_path / "base"))(IDS).logits, expected, atol=1e-2)
    assert "largest difference in logits" in output
    assert not list((tmp_path / "out").glob("adapter*"))


def test_python_exports_as_the_command_does(tmp_path: Path) -> None:
    """`api.export` writes the same files as the command, and returns what the command prints."""
    run, _ = make_run(tmp_path, lora={"rank": 4})
    printed = engine("export", run, "--checkpoint", "2", "--merge", "--out", tmp_path / "command")
    done = api.export(run, tmp_path / "api", checkpoint=2, merge=True)
    assert (done["checkpoint"], done["kind"], done["out"]) == ("step-000002", "model", str(tmp_path / "api"))
    assert f"{done['difference']:.2e}" in printed.output
    for file in (tmp_path / "command").iterdir():
        assert (tmp_path / "api" / file.name).read_bytes() == file.read_bytes()
    assert api.export(run, str(tmp_path / "adapter"))["kind"] == "adapter"


def test_merging_says_nothing_else(tmp_path: Path) -> None:
    """Neither progress bars nor warnings of the libraries below reach the user."""
    from transformers.utils import logging

    run, _ = make_run(tmp_path, lora={"rank": 4})
    done = engine("export", run, "--merge", "--out", tmp_path / "out")
    assert (done.code, done.errors) == (0, "")
    assert len(done.output.splitlines()) == 2
    shown = logging.is_progress_bar_enabled()
    with warnings.catch_warnings(record=True) as heard, quiet():
        assert not logging.is_progress_bar_enabled()
        warnings.warn("for those who write code", FutureWarning, stacklevel=1)
    assert heard == []
    assert logging.is_progress_bar_enabled() == shown


@pytest.mark.parametrize("broken", [False, True])
def test_the_tolerance_of_a_merge_follows_the_logits(tmp_path: Path, broken: bool) -> None:
    """Logits in the thousands are rounded by more than 1e-4, and merged all the same; those that are no numbers are not."""
    base = make_model(tmp_path / "base", tie_word_embeddings=False)
    model = load_model(ModelRef(path=base))
    with torch.no_grad():
        model.lm_head.weight.mul_(3000)
    publish_full(model, base)
    add_lora(model, LoraSettings(rank=4), seed=0, base_path=str(base))
    with torch.no_grad():
        for tensor in adapter_tensors(model).values():
            tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)) / 10)
        if broken:
            tensor[0, 0] = torch.nan
    for name in ("adapter", "out"):
        (tmp_path / name).mkdir()
    publish_adapter(model, tmp_path / "adapter")
    if broken:
        with pytest.raises(ModelError, match=r"the tensor .*lora_.* in .*adapter holds numbers that are not finite"):
            merge_adapter(ModelRef(path=base), tmp_path / "adapter", tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
    else:
        assert 1e-4 < merge_adapter(ModelRef(path=base), tmp_path / "adapter", tmp_path / "out") < 0.1


def test_an_unmerged_adapter_names_its_base(tmp_path: Path) -> None:
    """peft finds the base model through the exported config."""
    from peft import AutoPeftModelForCausalLM

    run, optimizer = make_run(tmp_path, lora={"rank": 4})
    run_export(run, "--out", tmp_path / "out")
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.allclose(model(IDS).logits, optimizer._trainer.model(IDS).logits, atol=1e-6)


def test_full_weights_are_copied(tmp_path: Path) -> None:
    """A full fine-tune is a Hugging Face folder already; best and last choose different ones."""
    run, optimizer = make_run(tmp_path)
    run_export(run, "--out", tmp_path / "last")
    run_export(run, "--checkpoint", "best", "--out", tmp_path / "best")
    last, best = (load_model(ModelRef(path=tmp_path / name))(IDS).logits for name in ("last", "best"))
    assert torch.equal(last, optimizer._trainer.model(IDS).logits)
    assert not torch.equal(last, best)


@pytest.mark.parametrize("settings", [{}, {"lora": {"rank": 4}}])
def test_a_model_is_exported_as_it_was_sampled(tmp_path: Path, settings: dict[str, Any]) -> None:
    """In bfloat16, and its config says so, while the checkpoint keeps float32; whole weights are those that samplers were
    given, to the bit."""
    run, optimizer = make_run(tmp_path, dtype="bfloat16", **settings)
    run_export(run, "--merge", "--out", tmp_path / "out")
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    (kept,) = (run / "checkpoints" / "step-000003" / "optimizer" / "policy").glob("*model.safetensors")
    assert {tensor.dtype for tensor in load_file(kept).values()} == {torch.float32}
    if not settings:
        (tmp_path / "served").mkdir()
        assert digest_of(tmp_path / "out") == optimizer.publish(tmp_path / "served", run_id="r", lineage="l").digest


def test_checkpoints_by_name(tmp_path: Path) -> None:
    """Names, numbers, best and last; what is not there lists what is."""
    for step in (4, 10):
        (tmp_path / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    assert [find_checkpoint(tmp_path, name).name for name in ("last", "best", "4", "step-000010")] == [
        "step-000010", "step-000010", "step-000004", "step-000010",
    ]  # fmt: skip
    with pytest.raises(RunDirError, match="choose from step-000004, step-000010"):
        find_checkpoint(tmp_path, "5")
    with pytest.raises(RunDirError, match="not a checkpoint"):
        find_checkpoint(tmp_path, "newest")
    with pytest.raises(RunDirError, match="no checkpoints"):
        find_checkpoint(tmp_path / "empty", "last")


def test_export_refuses_a_folder_in_use_and_a_foreign_run(tmp_path: Path) -> None:
    """Nothing is overwritten, and a folder that is no run gets a sentence."""
    (tmp_path / "notes").mkdir()
    with pytest.raises(RunDirError, match="no config"):
        run_export(tmp_path / "notes", "--out", tmp_path / "out")
    run, _ = make_run(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(RunDirError, match="not empty"):
        run_export(run, "--out", tmp_path / "used")
