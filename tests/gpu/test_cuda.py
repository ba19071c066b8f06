"""On a CUDA device: what is sampled there, whole runs, kills and resumes, too little memory. `make test-gpu`."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rft_core import BuildContext, Item, ModelRef, WeightRef, contract
from rft_core.errors import ComponentError
from rft_core.registry import Registry
from rft_core.types import Grade, GradedGroup, Group, Rollout, SamplingParams
from rft_core.weights import digest_of
from rft_test_plugin.harness import ONE_THREAD, audit, engine, kill, launch, summary, tiny_run

pytestmark = pytest.mark.gpu

REGISTRY = Registry.discover()
TINY = {
    "type": "tiny_llama",
    "hidden_size": 32,
    "layers": 2,
    "heads": 2,
    "max_context": 64,
    "tokenizer": {"type": "characters", "alphabet": "0123456789+=;#"},
}
PROMPTS = [f"{a}+{b}=" for a in range(4) for b in range(4)]
LOGPROB_DIFF = {"float32": 1e-3, "bfloat16": 0.3}
"""Largest difference allowed between what sampler and trainer say of a token; weights are exact in both."""
LORA = {"type": "policy_gradient", "learning_rate": 5e-3, "lora": {"rank": 4}}
FULL = {"type": "policy_gradient", "learning_rate": 2e-3}


def on_cuda(folder: Path, dtype: str, **changes: Any) -> Path:
    """The run file of `tiny_run`, sampled and trained on the device."""
    return tiny_run(folder, model={**TINY, "device": "cuda", "dtype": dtype}, **changes)


def lines(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    raw = {**TINY, "device": "cuda", "init_std": 0.2}
    source = REGISTRY.build("model_source", raw, BuildContext(base_dir=Path()))
    ref: ModelRef = source.materialize(tmp_path_factory.mktemp("models"))
    return ref


@pytest.fixture(scope="module")
def policy(model: ModelRef) -> WeightRef:
    digest = digest_of(model.path)
    return WeightRef(run_id="c", lineage="main", number=0, digest=digest, kind="full", path=str(model.path))


def sampled(model: ModelRef, policy: WeightRef, **sampling: Any) -> list[Rollout]:
    """What a sampler in this process draws for PROMPTS."""
    sampler = REGISTRY.build("sampler", {"type": "transformers"}, BuildContext(base_dir=Path(), model=model))
    with contextlib.closing(sampler):
        sampler.load_policy(policy)
        contract.check_sampler(sampler, policy, PROMPTS)
        reply = sampler.sample(contract.sample_unit(policy, PROMPTS, samples=8, **sampling))
    return [rollout for group in reply.groups for rollout in group]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.0}], ids=str)
def test_the_device_draws_what_a_cpu_draws(model: ModelRef, policy: WeightRef, sampling: dict[str, float]) -> None:
    """Random numbers are addressed, so in float32 nearly every completion is the CPU's, token by token."""
    here = sampled(model, policy, **sampling)
    there = sampled(replace(model, device="cpu"), policy, **sampling)
    equal = [a.text == b.text for a, b in zip(here, there, strict=True)]
    assert sum(equal) >= 0.95 * len(equal)
    for a, b, same in zip(here, there, equal, strict=True):
        if same:
            for mine, other in zip(a.segments, b.segments, strict=True):
                assert mine.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_optimizers_keep_the_contract(
    tmp_path: Path, model: ModelRef, policy: WeightRef, dtype: str, lora: dict[str, int] | None
) -> None:
    """Steps, saving, loading and publishing, as on a CPU, but for the last bits."""
    model = replace(model, dtype=dtype)
    context = BuildContext(base_dir=tmp_path, model=model, sampling=SamplingParams(), settings={"total_steps": 4})
    rollouts = sampled(model, policy)
    rows = [{"messages": [{"role": "user", "content": text}]} for text in PROMPTS]
    graded = [
        GradedGroup(
            group=Group(
                ordinal=n, item=Item(key=str(n), index=n, row=row), rollouts=tuple(rollouts[8 * n : 8 * n + 8])
            ),
            grades=tuple(Grade.score(float(s % 2)) for s in range(8)),
        )
        for n, row in enumerate(rows)
    ]
    raw = {"type": "policy_gradient", "learning_rate": 1e-3, "kl": 0.1, "lora": lora}
    contract.check_optimizer(lambda: REGISTRY.build("optimizer", raw, context), contract.batches_of_groups(graded, 4))


@pytest.mark.parametrize("optimizer", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_policy_learns_what_is_rewarded(tmp_path: Path, dtype: str, optimizer: dict[str, Any]) -> None:
    """The reward rises, sampler and trainer agree on log-probabilities, each rollout is trained on once."""
    outcome = engine("run", on_cuda(tmp_path, dtype, optimizer=optimizer), "--name", "tiny", env=ONE_THREAD, fresh=True)
    assert outcome.code == 0, outcome.errors
    run_dir = tmp_path / "runs" / "tiny"
    audit(run_dir)
    steps = lines(run_dir)
    assert steps[-1]["reward_mean"] > steps[0]["reward_mean"] + 0.1
    found = max(line["logprob_diff_max"] for line in steps)
    print(f"{dtype}: largest difference of log-probabilities {found:.2g}")
    assert found < LOGPROB_DIFF[dtype]


@pytest.mark.parametrize("target", ["engine", "sampler", "grader"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_killed_and_resumed(tmp_path: Path, dtype: str, target: str) -> None:
    """SIGKILL in the middle of the run, twice for the engine: resuming trains on each rollout once, and ends."""
    steps = {"steps": 24, "batch_size": 8, "group_size": 4, "unit_size": 2}
    run_file = on_cuda(tmp_path, dtype, training=steps, checkpoints={"interval": 5})
    run_dir = tmp_path / "runs" / "tiny"
    process = launch("run", run_file, "--name", "tiny", env=ONE_THREAD, fresh=True)
    for after in (4, 13):
        while process.poll() is None and len(lines(run_dir)) < after:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()[1]
        assert kill(process, target)
        if target != "engine":
            break
        process = launch("resume", run_dir, env=ONE_THREAD, fresh=True)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    audit(run_dir, resampled=True)
    values = summary(run_dir)
    assert (values["status"], values["steps"]) == ("succeeded", 24)
    events = [json.loads(line)["event"] for line in (run_dir / "events.jsonl").read_text().splitlines()]
    print(f"{dtype}, {target} killed: {events.count('replay_differs')} replays differ in their bits")


def test_two_equal_runs(tmp_path: Path) -> None:
    """Two runs of one file: the same rows in the same order, and results alike. Bits are not promised."""
    ends = []
    for name in ("one", "two"):
        outcome = engine("run", on_cuda(tmp_path / name, "float32"), "--name", "tiny", env=ONE_THREAD, fresh=True)
        assert outcome.code == 0, outcome.errors
        ends.append(tmp_path / name / "runs" / "tiny")
    first, second = (summary(run_dir) for run_dir in ends)
    print("equal bits:", first["final_weights_sha256"] == second["final_weights_sha256"])
    assert lines(ends[0])[0]["reward_mean"] == pytest.approx(lines(ends[1])[0]["reward_mean"], abs=0.05)
    assert first["rollouts"] == second["rollouts"]


def test_too_little_memory(tmp_path: Path, model: ModelRef, policy: WeightRef) -> None:
    """A device that is full gives one sentence with torch's figures and what to lower, for sampling, training and
    loading; what was there before still works after it."""
    import torch

    from rft_torch.models import load_model

    context = BuildContext(base_dir=tmp_path, model=model, sampling=SamplingParams(), settings={"total_steps": 4})
    sampler = REGISTRY.build("sampler", {"type": "transformers"}, context)
    sampler.load_policy(policy)
    optimizer = REGISTRY.build("optimizer", {"type": "policy_gradient", "learning_rate": 1e-3}, context)
    unit = contract.sample_unit(policy, PROMPTS, samples=8)
    reply = sampler.sample(unit)
    group = Group(ordinal=0, item=Item(key="0", index=0, row={}), rollouts=tuple(reply.groups[0]))
    graded = GradedGroup(group=group, grades=tuple(Grade.score(float(s % 2)) for s in range(8)))
    (batch,) = contract.batches_of_groups([graded], 1)
    torch.cuda.empty_cache()
    taken = torch.cuda.memory_allocated() / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(taken)
    try:
        with pytest.raises(
            ComponentError, match=r"too little memory for unit .* rollouts: CUDA out of memory.*max_batch"
        ):
            sampler.sample(unit)
        with pytest.raises(ComponentError, match=r"too little memory for a training step.*micro_batch_tokens"):
            optimizer.step(batch)
        with pytest.raises(ComponentError, match=r"too little memory for the weights of .*bfloat16"):
            load_model(model)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sampler.sample(unit).groups[0][0].text == reply.groups[0][0].text
    assert optimizer.step(batch).policy == 1
