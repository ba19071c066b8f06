"""The grader `reward_model`: what a reward model says of a completion.

    score = f((r(x · y · end of sequence) − shift) / scale),    f the logistic function, or with `normalize: none` nothing

Texts are tokenised anew, by the reward model's tokenizer and chat template and exactly as for its training: the
policy's own tokens may be of another vocabulary. The messages of a group are computed once, and equal completions
are scored once. With `batch_size: 1` each completion is computed by itself, so that its score does not depend on the
others of its group; on a CPU it is the same to the bit for the same number of threads. A completion that the model
cannot read whole gets no grade, which is said of it and counted: its first half may be worth anything.

Rewards of a Bradley–Terry model have no bounds, and mean something in their differences alone: `metrics` hold the
reward as it is. The logistic function of a difference is the probability to be preferred (arXiv 2203.02155 eq. 1), and of
a reward that to be preferred over a completion of reward `shift`.

Legend: N completions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rft_core.errors import DataError, ModelError
from rft_core.types import Grade, Group, ModelRef
from rft_preference.config import RewardGraderConfig
from rft_preference.places import find_reward_model
from rft_preference.scorer import Scorer
from rft_preference.tokens import Encoder
from rft_torch.long_rows import context_of
from rft_torch.models import load_tokenizer
from rft_torch.scalar import load_scalar_model, named_head
from rft_torch.source import resolve_device, resolve_dtype

ERROR_KIND = "reward_model_error"


class RewardGrader:
    """Implements `rft_core.Grader`. One thread owns the model: groups that are graded at the same time take turns."""

    def __init__(self, config: RewardGraderConfig, base_dir: Path) -> None:
        self._config = config
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward-model")
        self._thread.submit(self._load, base_dir).result()

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout, in order. A prompt that the model cannot read is an error of the row."""
        return self._thread.submit(self._grade, group).result()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _load(self, base_dir: Path) -> None:
        import torch

        config = self._config
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        folder, adapter = find_reward_model(config.path, base_dir)
        device = resolve_device(config.device)
        ref = ModelRef(path=folder, device=device, dtype=resolve_dtype(config.dtype, device), adapter=adapter)
        model = load_scalar_model(ref)
        if not any(bool(parameter.any()) for parameter in named_head(model)[1].parameters()):
            raise ModelError(
                f"the reward model in {adapter or folder} has an empty head, so it was never trained; train it first"
            )
        self._encoder = Encoder(load_tokenizer(adapter or folder))
        self._context = context_of(model)
        self._scorer = Scorer(model, dtype=getattr(torch, ref.dtype), batch_size=config.batch_size)

    def _grade(self, group: Group) -> list[Grade]:
        row = group.item.row
        try:
            if not row.get("messages"):
                raise DataError("the item has no messages, and a reward model reads a completion behind its prompt")
            prompt = self._encoder.prompt(row["messages"], row.get("tools") or ())
        except DataError as error:
            return [Grade.error(ERROR_KIND, str(error))] * len(group.rollouts)
        most = math.inf if self._context is None else self._context - len(prompt)
        if most < 1:
            message = f"the prompt has {len(prompt)} tokens, and the reward model reads {self._context}"
            return [Grade.error(ERROR_KIND, f"{message}; shorten or drop the row")] * len(group.rollouts)
        encoded = {rollout.text: self._encoder.completion(rollout.text) for rollout in group.rollouts}
        short = {text: ids for text, ids in encoded.items() if len(ids) <= most}
        rewards = dict(zip(short, self._scorer.rewards(prompt, list(short.values())), strict=True)) if short else {}
        grades = {
            text: self._settled(rewards[text]) if text in short else self._too_long(len(prompt), len(ids))
            for text, ids in encoded.items()
        }
        return [grades[rollout.text] for rollout in group.rollouts]

    def _too_long(self, prompt: int, completion: int) -> Grade:
        message = (
            f"prompt and completion have {prompt + completion} tokens, the end of sequence among them, and the reward "
            f"model reads {self._context}; lower sampling.max_tokens, or shorten the prompts"
        )
        return Grade.abstained(message)

    def _settled(self, reward: float) -> Grade:
        if not math.isfinite(reward):
            return Grade.error(ERROR_KIND, f"the reward model gave {reward}; look at its weights and its dtype")
        value = (reward - self._config.shift) / self._config.scale
        score = value if self._config.normalize == "none" else _logistic(value)
        return Grade.score(score, metrics={"reward": reward})


def _logistic(value: float) -> float:
    """1 / (1 + e^−value), without overflow."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
