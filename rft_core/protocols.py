"""What a component must be able to do. Implement one of these and register it with a spec.

A component is written once. The engine calls it in its own process or, through `rft-worker`, in
another process, environment or machine; the component cannot tell the difference.

Components raise plain Python exceptions; the process that hosts them turns each into a typed error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from rft_core.types import (
    Grade,
    Group,
    Item,
    ModelRef,
    Needs,
    SampledUnit,
    SamplerInfo,
    SampleUnit,
    TrainBatch,
    TrainReport,
    WeightRef,
)


@runtime_checkable
class DataSource(Protocol):
    """Rows by position. The engine derives the order of an epoch from the run's seed, so a source
    holds no state that a resumed run would have to restore."""

    def __len__(self) -> int: ...

    def item(self, index: int) -> Item:
        """The row at `index`, 0 ≤ index < len(self). May be called from several threads."""
        ...

    def fingerprint(self) -> str:
        """A digest of the content, so that a resumed run notices that its data changed."""
        ...


@runtime_checkable
class ModelSource(Protocol):
    """Provides the model a run starts from: from a folder, a hub, or made from nothing."""

    def materialize(self, cache_dir: Path) -> ModelRef:
        """Make sure that the model lies on this machine, and say where. Idempotent."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """Turns a unit of prompts into rollouts under a named policy version."""

    def info(self) -> SamplerInfo: ...

    def load_policy(self, weights: WeightRef) -> None:
        """Serve this version from now on. The digest has been verified against the file."""
        ...

    def sample(self, unit: SampleUnit) -> SampledUnit:
        """Draw one rollout per seed and prompt. The answer depends on the unit alone: on a sampler
        that declares `bitwise`, the same unit gives the same tokens and log-probabilities. DataError, with
        its `ordinal`, for a prompt that cannot be sampled from: the engine names its row."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Grader(Protocol):
    """Scores the rollouts of one group."""

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout, in order. May be called from several threads at once."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Optimizer(Protocol):
    """Moves the policy's weights. Exchanges data and paths with the engine, never tensors, so that it
    can live in this process, in another, or as many ranks."""

    needs: Needs
    """`rollouts`: graded groups. `labels`: the items themselves, nothing is sampled for training. `pairs`: the
    same, and of each item two completions, one of which is preferred."""
    bitwise: bool
    """Equal batches on equal weights give equal bits. A resumed run then insists on them; otherwise it
    goes on and logs where they differ."""

    def step(self, batch: TrainBatch) -> TrainReport:
        """One update from one batch; may take several optimizer steps. With nothing to learn from
        (no graded group has two grades that differ), the weights stay bit-identical."""
        ...

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        """Metrics on held-out items that need no sampling, such as `loss` on labels; {} if none."""
        ...

    def publish(self, folder: Path, *, run_id: str, lineage: str) -> WeightRef:
        """Write the current policy where samplers can read it (`folder` exists and is empty)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything an exact continuation needs, safetensors and JSON only: the policy as a
        loadable Hugging Face folder or peft adapter in `folder/policy`, the optimizer's state, and
        counters."""
        ...

    def load(self, folder: Path) -> None:
        """Continue exactly from what `save` wrote."""
        ...

    def close(self) -> None: ...


class Observer(Protocol):
    """Watches a run. An observer that raises is disabled with a warning; it never stops the run."""

    def on_event(self, kind: str, event: Mapping[str, object]) -> None:
        """`kind` is one of run_started, step_finished, evaluation_finished, checkpoint_saved,
        run_finished, run_failed; `event` holds plain JSON values."""
        ...

    def close(self) -> None: ...
