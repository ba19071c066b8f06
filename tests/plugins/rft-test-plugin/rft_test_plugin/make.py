"""Makes the records that tests of the wire exchange: weights, units to sample, units to grade."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from rft_core import Group, Item, Rollout, SampleUnit, SamplingParams, Segment, WeightRef, weights
from rft_core.types import GradeUnit, Prompt

RUN_ID = "run-1"


def weight_ref(folder: Path, number: int = 0, content: bytes = b"\x00\x00\x80\x3f") -> WeightRef:
    """A policy version of one float32 tensor, written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [len(content) // 4], "data_offsets": [0, len(content)]}}
    ).encode()
    (folder / weights.FULL_FILE).write_bytes(struct.pack("<Q", len(header)) + header + content)
    return WeightRef(
        run_id=RUN_ID,
        lineage="main",
        number=number,
        digest=weights.digest_of(folder),
        kind="full",
        path=str(folder),
    )


def sample_unit(
    policy: WeightRef, name: str = "s-0", *, prompts: int = 2, group: int = 3, max_tokens: int = 16
) -> SampleUnit:
    """A unit whose seeds depend on its name."""
    base = sum(name.encode()) * 1_000
    return SampleUnit(
        request_id=name,
        run_id=RUN_ID,
        policy=policy,
        prompts=tuple(
            Prompt(
                ordinal=ordinal,
                messages=({"role": "user", "content": f"question {ordinal}"},),
                seeds=tuple(base + ordinal * group + index for index in range(group)),
            )
            for ordinal in range(prompts)
        ),
        sampling=SamplingParams(max_tokens=max_tokens),
    )


def grade_unit(
    name: str = "g-0", *, groups: int = 3, group: int = 2, tokens: int = 4, timeout_s: float = 30.0
) -> GradeUnit:
    """A unit of groups with the keys k0, k1, …"""
    return GradeUnit(
        request_id=name,
        run_id=RUN_ID,
        groups=tuple(
            Group(
                ordinal=ordinal,
                item=Item(key=f"k{ordinal}", index=ordinal, row={"answer": ordinal, "name": f"row {ordinal}"}),
                rollouts=tuple(rollout(ordinal, sample, tokens) for sample in range(group)),
            )
            for ordinal in range(groups)
        ),
        timeout_s=timeout_s,
    )


def rollout(ordinal: int, sample: int, tokens: int) -> Rollout:
    """A rollout with the given number of sampled tokens."""
    return Rollout(
        ordinal=ordinal,
        sample=sample,
        seed=ordinal * 1_000 + sample,
        segments=(
            Segment(role="prompt", token_ids=(ordinal, 1, 2)),
            Segment(
                role="assistant", token_ids=tuple(range(tokens)), logprobs=(-0.5,) * tokens, trained=True, policy=0
            ),
        ),
        text=f"answer {sample} to {ordinal}",
        finish_reason="stop",
    )
