"""A model of 64 numbers and an optimizer with state, without torch: start-up takes no time, so that
tests can kill and resume whole runs many times."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from rft_core import (
    BuildContext,
    Item,
    ModelRef,
    TrainBatch,
    TrainReport,
    WeightRef,
    weights,
)
from rft_core.types import Needs
from rft_test_plugin.config import MomentumConfig, NumbersConfig

SIZE = 64


class Numbers:
    """A model source that writes the 64 numbers."""

    def __init__(self, config: NumbersConfig, context: BuildContext) -> None:
        pass

    def materialize(self, cache_dir: Path) -> ModelRef:
        folder = cache_dir / "numbers"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / weights.FULL_FILE).exists():
            temporary = folder / f"{os.getpid()}.tmp"
            save_file({"w": np.linspace(-1, 1, SIZE, dtype=np.float32)}, temporary)
            temporary.rename(folder / weights.FULL_FILE)
        return ModelRef(path=folder)


class Momentum:
    """Moves the numbers along the rewards, with momentum; every bit depends on all that came before."""

    needs: Needs = "rollouts"

    def __init__(self, config: MomentumConfig, context: BuildContext) -> None:
        end_s = time.monotonic() + config.build_s
        while time.monotonic() < end_s:  # in many calls, as a model of many tensors is loaded
            time.sleep(0.05)
        self._config = config
        self._work_s = config.work_s
        self._jitter = config.jitter
        self.bitwise = config.claims_bitwise or not config.jitter
        assert context.model is not None
        self._weights = load_file(context.model.path / weights.FULL_FILE)["w"]
        self._momentum = np.zeros(SIZE, dtype=np.float32)
        self._policy = 0

    def step(self, batch: TrainBatch) -> TrainReport:
        time.sleep(self._work_s)
        gradient = np.zeros(SIZE, dtype=np.float32)
        tokens = 0
        for graded in batch.groups:
            for rollout, grade in zip(graded.group.rollouts, graded.grades, strict=True):
                if grade.reward is None:
                    continue
                bits = hashlib.sha512(np.asarray(rollout.completion_ids, dtype=np.int64).tobytes()).digest()
                gradient += np.float32(grade.reward) * (np.frombuffer(bits, dtype=np.uint8) / np.float32(255) - 0.5)
                tokens += rollout.completion_tokens
        if self._config.fault == "raise" and batch.step == 3:
            raise RuntimeError("out of memory, says the optimizer")
        self._momentum = 0.9 * self._momentum + gradient
        rate = 0.01 * (1 - batch.step / (batch.total_steps + 1)) if self._config.falling else 0.01
        self._weights = self._weights + np.float32(rate) * self._momentum
        if self._jitter:
            self._weights += np.frombuffer(os.urandom(SIZE), dtype=np.uint8) * np.float32(1e-7)
            gradient[0] += np.float32(1e-3) * os.urandom(1)[0]
        self._policy += 1
        norm = float(np.sqrt(np.sum(gradient * gradient)))
        if self._config.fault == "nan" and batch.step == 3:
            norm = float("nan")
        clash = {"reward_mean": -1.0} if self._config.fault == "clash" else {}
        return TrainReport(metrics={"grad_norm": norm, **clash}, trained_tokens=tokens, policy=self._policy)

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        return {}

    def publish(self, folder: Path, *, run_id: str, lineage: str) -> WeightRef:
        save_file({"w": self._weights}, folder / weights.FULL_FILE)
        digest = weights.digest_of(folder)
        return WeightRef(
            run_id=run_id, lineage=lineage, number=self._policy, digest=digest, kind="full", path=str(folder)
        )

    def save(self, folder: Path) -> None:
        (folder / "policy").mkdir()
        save_file({"w": self._weights}, folder / "policy" / weights.FULL_FILE)
        save_file({"m": self._momentum}, folder / "optimizer.safetensors")
        (folder / "trainer.json").write_text(json.dumps({"policy": self._policy}))

    def load(self, folder: Path) -> None:
        self._weights = load_file(folder / "policy" / weights.FULL_FILE)["w"]
        self._momentum = load_file(folder / "optimizer.safetensors")["m"]
        self._policy = json.loads((folder / "trainer.json").read_text())["policy"]

    def close(self) -> None:
        pass
