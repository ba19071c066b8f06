"""A sampler without a model: its tokens are a hash of seed, policy and position."""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path

import numpy as np

from rft_core import BuildContext, Rollout, SampledUnit, SampleUnit, Segment, WeightRef
from rft_core.types import SamplerInfo
from rft_test_plugin.config import ScriptedConfig


class ScriptedSampler:
    """The same unit gives the same rollouts in every process."""

    def __init__(self, config: ScriptedConfig, context: BuildContext) -> None:
        self._config, self._base_dir = config, context.base_dir

    def info(self) -> SamplerInfo:
        return SamplerInfo(
            bitwise=not self._config.jitter,
            fingerprint="scripted-1",
            vocab_size=self._config.vocab_size,
            max_context=4096,
        )

    def load_policy(self, weights: WeightRef) -> None:
        pass

    def sample(self, unit: SampleUnit) -> SampledUnit:
        config = self._config
        if config.calls_file:
            with (self._base_dir / config.calls_file).open("a") as file:
                file.write(unit.request_id + "\n")
        time.sleep(config.delay_s + config.shuffle_s * random.Random(f"{os.getpid()}{unit.request_id}").random())
        self._misbehave()
        groups = tuple(
            tuple(self._rollout(unit, p.ordinal, index, seed, p.messages) for index, seed in enumerate(p.seeds))
            for p in unit.prompts
        )
        if config.fault == "short":
            groups = groups[:-1]
        return SampledUnit(
            request_id=unit.request_id, policy=unit.policy.number, policy_digest=unit.policy.digest, groups=groups
        )

    def _misbehave(self) -> None:
        if self._config.fault == "raise":
            raise RuntimeError("out of memory, says the script")
        if self._config.fault == "hang_once":
            marker = Path(self._base_dir) / "hung"
            if not marker.exists():
                marker.touch()
                time.sleep(3600)

    def _rollout(self, unit: SampleUnit, ordinal: int, index: int, seed: int, messages: tuple[object, ...]) -> Rollout:
        length = min(self._config.tokens, unit.sampling.max_tokens)
        noise = os.urandom(8).hex() if self._config.jitter else ""
        draw = hashlib.shake_128(f"{seed}:{unit.policy.number}:{unit.policy.digest}{noise}".encode()).digest(4 * length)
        numbers = np.frombuffer(draw, dtype=np.uint32).astype(np.int64)
        logprobs = tuple((-(numbers % 997 + 1) / 1000).astype(np.float32).tolist())
        if self._config.fault == "positive_logprob":
            logprobs = (0.5, *logprobs[1:])
        token_ids = tuple((numbers % self._config.vocab_size).tolist())
        prompt_ids = tuple(byte % self._config.vocab_size for byte in repr(messages).encode())
        return Rollout(
            ordinal=ordinal,
            sample=index,
            seed=seed,
            segments=(
                Segment(role="prompt", token_ids=prompt_ids),
                Segment(
                    role="assistant", token_ids=token_ids, logprobs=logprobs, trained=True, policy=unit.policy.number
                ),
            ),
            text=" ".join(map(str, token_ids)),
            finish_reason="length",
        )

    def close(self) -> None:
        pass
