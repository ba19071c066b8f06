"""Settings of an optimizer that cannot work in their run, said before anything is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rft_core.api as rft
from rft_core import BuildContext, ComponentConfig, hookimpl
from rft_core.errors import ComponentError, ConfigError, DataError
from rft_core.registry import PluginOwner, Registry
from rft_core.specs import OptimizerSpec

GRADER = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}

MODEL = {"model": {"type": "tiny_llama", "tokenizer": {"type": "characters", "alphabet": "0123456789+="}}}


@pytest.fixture
def check(tmp_path: Path) -> Any:
    """Checks a run file with these sections over a plain one; the report of its stage."""

    def check(optimizer: dict[str, Any], stage: str = "main", **sections: Any) -> Any:
        rows = [{"messages": [{"role": "user", "content": f"{n}+1="}], "answer": str(n + 1)} for n in range(8)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values = {
            **MODEL,
            "data": {"train": {"type": "jsonl", "path": "rows.jsonl"}},
            "sampling": {"temperature": 1.0, "max_tokens": 16},
            "grader": GRADER,
            "training": {"steps": 1, "batch_size": 2, "group_size": 4},
            **sections,
        }
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({**values, "optimizer": {"type": "policy_gradient", **optimizer}}))
        return rft.validate(file)[stage]

    return check


@pytest.mark.parametrize(
    ("optimizer", "sampling", "said"),
    [
        ({}, {"temperature": 0.0}, r"sampling\.temperature: .* greedy decoding makes them all the same"),
        ({"old_logprobs": "sampler"}, {"top_p": 0.9}, r"optimizer\.old_logprobs: .* need sampling\.top_p: 1"),
        ({"correction": {"type": "truncated"}}, {"top_p": 0.9}, r"optimizer\.correction: .* drop correction"),
        ({"max_logprob_diff": 0.1}, {"top_p": 0.9}, r"optimizer\.max_logprob_diff: .* drop max_logprob_diff"),
        (
            {"overlong": {"buffer_tokens": 16}},
            {"max_tokens": 16},
            r"optimizer\.overlong\.buffer_tokens: answers .* falls on all of them",
        ),
        ({"algorithm": "distillation"}, {}, r"optimizer\.kl\.reference: the advantage 'distillation' needs a teacher"),
        ({"kl": {"reference": "teacher"}}, {}, r"optimizer\.kl\.reference: .* no effect while kl\.weight is 0"),
    ],
)
def test_what_cannot_work_is_refused(
    check: Any, optimizer: dict[str, Any], sampling: dict[str, Any], said: str
) -> None:
    """The key and what to do."""
    with pytest.raises(ConfigError, match=said) as raised:
        check(optimizer, sampling=sampling)
    assert raised.value.where is not None
    assert said.startswith(re.escape(raised.value.where))


@pytest.mark.parametrize(
    ("optimizer", "where"),
    [
        ({"lora": {"quantize": "4bit"}}, "optimizer.lora.quantize"),
        ({"type": "sft", "target": "{{item.answer}}", "adamw_8bit": True}, "optimizer.adamw_8bit"),
        ({"algorithm": "ppo", "critic": {"adamw_8bit": True}}, "optimizer.critic.adamw_8bit"),
    ],
)
def test_a_package_that_is_missing_is_said_at_once(
    check: Any, monkeypatch: pytest.MonkeyPatch, optimizer: dict[str, Any], where: str
) -> None:
    """With the command that installs it."""
    monkeypatch.setattr("rft_torch.packages.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"this needs bitsandbytes.* run `pip install ") as raised:
        check(optimizer)
    assert raised.value.where == where


def test_a_later_stage_is_refused_at_once(check: Any) -> None:
    """Not when the stages before it have run, and its name is said."""
    stages = [
        {"stage": "first", "optimizer": {"type": "policy_gradient"}},
        {"stage": "second", "optimizer": {"type": "policy_gradient", "algorithm": "distillation"}},
    ]
    with pytest.raises(ConfigError, match=r"second: optimizer\.kl\.reference: .* needs a teacher") as raised:
        check({}, stages=stages)
    assert raised.value.where == "stage second: optimizer.kl.reference"


def test_what_a_check_does_wrong_is_said_of_its_plugin(tmp_path: Path) -> None:
    """No traceback from a third party's code."""

    class Settings(ComponentConfig):
        limit: int = 0

    @hookimpl
    def rft_optimizers() -> Any:
        yield OptimizerSpec(
            name="careless", config=Settings, build=lambda c, x: c, summary="", check=lambda c, x: 1 // c.limit
        )

    plugin = ModuleType("careless")
    plugin.rft_optimizers = rft_optimizers  # type: ignore[attr-defined]
    registry = Registry()
    registry.add_module(plugin, PluginOwner(plugin="careless", distribution="rft-careless", version="2.0"))
    registry.check_optimizer({"type": "careless", "limit": 1}, BuildContext(base_dir=tmp_path))
    with pytest.raises(ComponentError, match=r"the optimizer 'careless' of rft-careless 2\.0 could not check its sett"):
        registry.check_optimizer({"type": "careless"}, BuildContext(base_dir=tmp_path))


@pytest.mark.parametrize(
    ("optimizer", "row", "said"),
    [
        ({"type": "sft", "target": "{{item.text}}"}, {"text": ""}, "rows.jsonl:1 is empty; write one"),
        (
            {"type": "sft", "target": "{{item.text}}"},
            {"text": None},
            "the target of row rows.jsonl:1 is null; write one",
        ),
        ({"type": "dpo"}, {"chosen": "2", "rejected": "2"}, "both completions of row rows.jsonl:1 are the same text"),
        ({"type": "dpo"}, {"chosen": "", "rejected": "2"}, "the chosen completion of row rows.jsonl:1 is empty"),
        (
            {"type": "dpo"},
            {"chosen": "2", "rejected": None},
            "the rejected completion of row rows.jsonl:1 is neither a te",
        ),
        (
            {"type": "reward_model", "margin": "{{item.gap}}"},
            {"chosen": "2", "rejected": "3", "gap": "much"},
            "the margin of row rows.jsonl:1 is not a number",
        ),
    ],
)
def test_rows_that_teach_nothing_are_refused_before_a_stage_starts(
    tmp_path: Path, optimizer: dict[str, Any], row: dict[str, Any], said: str
) -> None:
    """By `validate` and by `run`, of a later stage too."""
    good = {"chosen": "2", "rejected": "3", "gap": 1, "text": "2"}
    for name, values in ({"good": good, "rows": row}).items():
        line = json.dumps({"messages": [{"role": "user", "content": "1+1="}], **values})
        (tmp_path / f"{name}.jsonl").write_text(line + "\n")
    file = tmp_path / "run.yaml"
    first = {"stage": "first", "data": {"train": {"type": "arithmetic", "count": 8}}}
    first |= {"optimizer": {"type": "sft", "target": "{{item.target}}"}, "training": {"steps": 1}}
    for split in ("train", "validation"):
        data = {"train": {"type": "jsonl", "path": "good.jsonl"}, split: {"type": "jsonl", "path": "rows.jsonl"}}
        second = {"stage": "second", "data": data, "optimizer": optimizer, "training": {"steps": 1}}
        file.write_text(json.dumps({**MODEL, "stages": [first, second]}))
        (error,) = rft.validate(file)["second"].errors
        assert error.startswith(f"data.{split}: ")
        assert said in error
    with pytest.raises(DataError, match="stage second: .*" + re.escape(said)):
        rft.run(file)


def test_a_teacher_must_be_a_model_that_is_there(tmp_path: Path, check: Any) -> None:
    """Nothing, a run that has not ended, pickled or missing weights, a model that gives rewards, an adapter without its
    base; then one that is."""
    distils = {"algorithm": "distillation", "kl": {"reference": "run"}}
    run, final = tmp_path / "run", tmp_path / "run" / "final"

    def said() -> str:
        (error,) = check(distils).errors
        return str(error)

    assert said() == (
        f"optimizer.kl.reference: there is no model in {run}; name a model folder, a run that has ended, or a checkpoint"
    )
    (run / "journal").mkdir(parents=True)
    assert f"the run {run} has not ended, so it has no model yet" in said()
    final.mkdir()
    (final / "adapter_model.safetensors").touch()
    assert f"{final} is an adapter over a model that it does not name" in said()
    (final / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    assert f"the model folder {tmp_path} has no config.json" in said()
    (final / "adapter_model.safetensors").rename(final / "model.safetensors")
    (final / "config.json").write_text('{"architectures": ["LlamaForSequenceClassification"]}')
    (final / "adapter_config.json").unlink()
    assert "says how good a text is and writes none" in said()
    (final / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    assert check(distils).errors == ()
    (run / "journal").rmdir()
    (final / "model.safetensors").rename(run / "pytorch_model.bin")
    (final / "config.json").rename(run / "config.json")
    assert f"the model folder {run} holds only pickled weights" in said()


def test_a_teacher_may_be_what_an_earlier_stage_makes(tmp_path: Path, check: Any) -> None:
    """What nothing makes before is missing, and said of the stage that names it."""
    made = str(tmp_path / "runs" / "name" / "stages" / "1-first" / "final")

    def errors(**second: Any) -> Any:
        stages = [
            {"stage": "first", "optimizer": {"type": "policy_gradient"}},
            {"stage": "second", "optimizer": {"type": "policy_gradient", "kl": {"weight": 0.1, **second}}},
        ]
        return check({}, stages=stages, name="name", runs_dir=str(tmp_path / "runs"), stage="second").errors

    assert errors(reference=made) == ()
    (error,) = errors(reference=made.replace("1-first", "2-second"))
    assert "2-second/final; name a model folder" in error


def test_an_advantage_of_single_graders_wants_several(check: Any) -> None:
    """Known from the trial grades, before a step is sampled for nothing."""
    (warning,) = [text for text in check({"algorithm": "gdpo"}).warnings if "single graders" in text]
    assert warning == (
        "optimizer.advantage: 'per_grader_normalized' compares the rewards of single graders, and the trial grades hold "
        "none; make sure that the grader gives them, as one of type multi does"
    )
    multi = {"type": "multi", "graders": {"right": {**GRADER, "name": "right"}}, "calculate_output": "right"}
    assert not any("single graders" in text for text in check({"algorithm": "gdpo"}, grader=multi).warnings)


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ({"early_stopping": {"patience": 1}}, "there are no validation rows to stop by; set data.validation"),
        ({"early_stopping": {"patience": 1}, "sampling": False}, "measures no validation reward; give it a grader and"),
        (
            {"early_stopping": {"patience": 1, "metric": "loss"}, "sampling": True},
            "no validation loss; set metric: reward",
        ),
    ],
)
def test_early_stopping_needs_what_it_stops_by(check: Any, validation: dict[str, Any], said: str) -> None:
    """Else it would never stop, or end the run at its start."""
    data = {"train": {"type": "jsonl", "path": "rows.jsonl"}}
    if "sampling" in validation:
        data["validation"] = data["train"]
    with pytest.raises(ConfigError, match=said) as raised:
        check({}, validation=validation, data=data)
    assert raised.value.where == "validation.early_stopping"
