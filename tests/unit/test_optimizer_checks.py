"""Settings of an optimizer that cannot work in their run, said before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rft_core.api as rft
from rft_core.errors import ConfigError

GRADER = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}


@pytest.fixture
def check(tmp_path: Path) -> Any:
    """Checks a run file with these sections over a plain one; the report of its stage."""

    def check(optimizer: dict[str, Any], **sections: Any) -> Any:
        rows = [{"messages": [{"role": "user", "content": f"{n}+1="}], "answer": str(n + 1)} for n in range(8)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values = {
            "model": {"type": "tiny_llama", "tokenizer": {"type": "characters", "alphabet": "0123456789+="}},
            "data": {"train": {"type": "jsonl", "path": "rows.jsonl"}},
            "sampling": {"temperature": 1.0, "max_tokens": 16},
            "grader": GRADER,
            "training": {"steps": 1, "batch_size": 2, "group_size": 4},
            **sections,
        }
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({**values, "optimizer": {"type": "policy_gradient", **optimizer}}))
        return rft.validate(file)["main"]

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
            r"overlong\.buffer_tokens: answers .* falls on all of them",
        ),
        ({"algorithm": "distillation"}, {}, r"kl\.reference: the advantage 'distillation' needs a teacher"),
        ({"kl": {"reference": "teacher"}}, {}, r"kl\.reference: .* no effect while kl\.weight is 0"),
        ({"kl": {"reference": "teacher", "weight": 0.1}}, {}, r"kl\.reference: there is no model folder .*teacher"),
    ],
)
def test_what_cannot_work_is_refused(
    check: Any, optimizer: dict[str, Any], sampling: dict[str, Any], said: str
) -> None:
    """The key and what to do."""
    with pytest.raises(ConfigError, match=said):
        check(optimizer, sampling=sampling)


def test_a_later_stage_is_refused_at_once(tmp_path: Path, check: Any) -> None:
    """Not when the stages before it have run, and its name is said."""
    stages = [
        {"stage": "first", "optimizer": {"type": "policy_gradient"}},
        {"stage": "second", "optimizer": {"type": "policy_gradient", "algorithm": "distillation"}},
    ]
    with pytest.raises(ConfigError, match=r"second: optimizer\.kl\.reference: .* needs a teacher"):
        check({}, stages=stages)


def test_a_teacher_must_have_ended(tmp_path: Path, check: Any) -> None:
    """A run has no model before it has; a folder with a config is one."""
    (tmp_path / "run" / "journal").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    distils = {"algorithm": "distillation", "kl": {"reference": "run"}}
    with pytest.raises(ConfigError, match=r"the run .*run has not ended, so it has no model yet"):
        check(distils)
    (tmp_path / "run" / "final").mkdir()
    (tmp_path / "run" / "final" / "config.json").write_text("{}")
    assert check(distils).errors == ()


def test_an_advantage_of_single_graders_wants_several(check: Any) -> None:
    """Known from the trial grades, before a step is sampled for nothing."""
    (error,) = check({"algorithm": "gdpo"}).errors
    assert error == (
        "optimizer.advantage: 'per_grader_normalized' compares the rewards of single graders, and grades of this grader "
        "hold none; use a grader of type multi"
    )
    multi = {"type": "multi", "graders": {"right": {**GRADER, "name": "right"}}, "calculate_output": "right"}
    assert check({"algorithm": "gdpo"}, grader=multi).errors == ()
