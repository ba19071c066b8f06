"""This project's half of `speed.py`: the optimizer `policy_gradient` over the workload in a folder.

Each line on standard input asks for that many updates; each answer is a line of JSON. An update is a whole
`Optimizer.step`: advantages from rewards, micro-batches, forward and backward passes, clipping, AdamW.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from process import answer, hold_peak, measure_memory, same_adapter, seconds, touch

from rft_core.registry import Registry
from rft_core.specs import BuildContext
from rft_core.types import Grade, GradedGroup, Group, Item, ModelRef, Rollout, SamplingParams, Segment, TrainBatch


def main(folder: Path) -> None:
    workload = json.loads((folder / "workload.json").read_text(encoding="utf-8"))
    torch.set_num_threads(workload["threads"])
    optimizer, batch = build(folder, workload), batch_of(workload)
    trainer = optimizer._trainer
    same_adapter(trainer.model)
    touch(trainer.model)
    loaded = measure_memory()
    hold_peak()
    for line in sys.stdin:
        reports: list[Any] = []
        took = seconds(lambda: reports.append(optimizer.step(batch)), int(line))  # noqa: B023
        found = {**took, "loaded": loaded, **measure_memory("peak")}
        answer({**found, "loss": reports[-1].metrics["loss"], "norm": reports[-1].metrics["grad_norm"]})


def build(folder: Path, workload: dict[str, Any]) -> Any:
    """Ratios against the policy itself, as TRL's with one update per batch; the rest by default but for the workload."""
    settings = {
        "type": "policy_gradient",
        "learning_rate": workload["learning_rate"],
        "old_logprobs": "trainer",
        "threads": workload["threads"],
        "lora": workload["lora"],
        **workload["ours"],
    }
    model = ModelRef(path=folder / "model", dtype=workload["compute"])
    context = BuildContext(base_dir=folder, model=model, sampling=SamplingParams())
    return Registry.discover().build("optimizer", settings, context)


def batch_of(workload: dict[str, Any]) -> TrainBatch:
    """The workload's rollouts in groups, with its rewards."""
    groups = []
    size = workload["group"]
    for ordinal in range(len(workload["prompts"]) // size):
        members = range(ordinal * size, (ordinal + 1) * size)
        rollouts = tuple(rollout(workload, ordinal, at - members.start, at) for at in members)
        item = Item(key=str(ordinal), index=ordinal, row={"messages": []})
        grades = tuple(Grade.score(workload["rewards"][at]) for at in members)
        groups.append(GradedGroup(group=Group(ordinal=ordinal, item=item, rollouts=rollouts), grades=grades))
    return TrainBatch(step=1, total_steps=1, groups=tuple(groups))


def rollout(workload: dict[str, Any], ordinal: int, sample: int, at: int) -> Rollout:
    completion = tuple(workload["completions"][at])
    return Rollout(
        ordinal=ordinal,
        sample=sample,
        seed=0,
        segments=(
            Segment(role="prompt", token_ids=tuple(workload["prompts"][at])),
            Segment(role="assistant", token_ids=completion, logprobs=(-1.0,) * len(completion), trained=True, policy=0),
        ),
        text="",
        finish_reason="stop",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
