"""Completions of a model for some rows, drawn as a run would draw them and not graded."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from rft_core.registry import Registry
from rft_core.runs.assembly import pool_of
from rft_core.runs.evaluate_model import SPLIT, Target
from rft_core.runs.planning import draws_of_split, rows_named, sample_units
from rft_core.runs.run import weight_ref
from rft_core.types import Item, SampledUnit, SamplingParams


def completions_of(
    target: Target, items: Sequence[Item], *, registry: Registry, samples: int, sampling: SamplingParams
) -> list[list[str]]:
    """`samples` texts for each row, in order. Errors of the model and of the sampler's worker pass."""
    config, run_id = target.config, f"sample-{uuid.uuid4().hex}"
    policy = weight_ref(target.policy, run_id=run_id, lineage=SPLIT, number=target.version)
    draws = draws_of_split(len(items))
    units = sample_units(
        draws,
        items,
        purpose="test",
        samples=samples,
        unit_size=config.validation.unit_size,
        run_id=run_id,
        seed=config.seed,
        policy=policy,
        sampling=sampling,
    )
    with tempfile.TemporaryDirectory(prefix="rft-sample-") as logs:
        pool = pool_of(
            "sampler",
            config,
            run_id=run_id,
            base_dir=target.base_dir,
            model=target.model,
            log_dir=Path(logs),
            registry=registry,
        )
        with pool, rows_named(draws, items):
            pool.load_policy(policy)
            replies: list[SampledUnit] = [future.result() for future in [pool.submit(unit) for unit in units]]
    return [[rollout.text for rollout in group] for reply in replies for group in reply.groups]
