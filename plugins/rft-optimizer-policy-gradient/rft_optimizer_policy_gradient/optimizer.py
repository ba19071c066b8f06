"""The optimizer `policy_gradient`: GRPO, arXiv 2402.03300.

One step: choose the rollouts and their advantages (`selection`), turn them into token rows
(`samples`), and for each update run one forward and one backward pass per micro-batch over

    loss = Σ_n weight_n · (−J_n + kl · k3_n)

with J the clipped surrogate (`objective`), k3 the distance to the initial policy (`kl`). All
log-probabilities are of the distribution that was sampled from: logits divided by the sampling
temperature. With top_p < 1 the sampler's log-probabilities are renormalised over the nucleus, which
this trainer does not rebuild; the ratio is then taken against the trainer's own log-probabilities
before the step, so it is exactly 1 in the first update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rft_core.errors import ConfigError
from rft_core.specs import BuildContext
from rft_core.types import Item, Needs, SamplingParams, TrainBatch, TrainReport
from rft_optimizer_policy_gradient.config import PolicyGradientConfig
from rft_optimizer_policy_gradient.kl import k3
from rft_optimizer_policy_gradient.meter import Meter
from rft_optimizer_policy_gradient.objective import clipped_surrogate
from rft_optimizer_policy_gradient.samples import Sample, part_samples, with_old
from rft_optimizer_policy_gradient.selection import Selection, select
from rft_torch.batching import plan
from rft_torch.trained import Trained


class PolicyGradient(Trained):
    """See the module."""

    needs: Needs = "rollouts"

    def __init__(self, config: PolicyGradientConfig, context: BuildContext) -> None:
        sampling = context.sampling or SamplingParams()
        if sampling.temperature == 0.0:
            raise ConfigError(
                "policy_gradient learns from rollouts that differ, and greedy decoding makes them all the same; set it above 0",
                where="sampling.temperature",
            )
        whole = sampling.top_p == 1.0
        if config.ratio == "behaviour" and not whole:
            raise ConfigError("behaviour ratios need sampling.top_p: 1; use auto or trainer", where="optimizer.ratio")
        super().__init__(config, context, keep_reference=config.kl > 0)
        self._config = config
        self._temperature = sampling.temperature
        self._compare_sampler = whole
        self._own_ratio = config.ratio == "trainer" or not whole

    def step(self, batch: TrainBatch) -> TrainReport:
        """One or more updates from graded groups. Raises FloatingPointError, before the weights change,
        if a loss or gradient is not finite, and names the rollouts."""
        config, trainer = self._config, self._trainer
        selection = select(batch.groups, config)
        parts = [
            part_samples(part, config.aggregation, everything=config.kl > 0, share_prompt=trainer.share_prompts)
            for part in selection.parts(config.updates_per_step)
        ]
        parts = [part for part in parts if part]
        trained_tokens = sum(len(sample.row.wanted) for part in parts for sample in part)
        updates = len(parts) * config.epochs_per_batch
        meter = Meter(clip_low=config.clip_low, clip_high=config.clip_high, compare_sampler=self._compare_sampler)
        lr = trainer.learning_rate(batch.total_steps)
        with trainer.computing():
            if self._own_ratio:
                parts = [self._own_old(part, measure=updates > 1) for part in parts]
            for epoch in range(config.epochs_per_batch):
                for i, part in enumerate(parts):
                    self._update(part, lr, meter, first=epoch == 0 and i == 0)
        trainer.policy += 1
        metrics = {**meter.read(), **_batch_metrics(batch, selection), "learning_rate": lr}
        return TrainReport(
            metrics=metrics, trained_tokens=trained_tokens, policy=trainer.policy, dropped=dict(selection.dropped)
        )

    def _update(self, samples: Sequence[Sample], lr: float, meter: Meter, *, first: bool) -> None:
        """One optimizer step over all samples."""
        losses: list[tuple[Tensor, Sequence[str]]] = []
        for indices in plan([sample.row for sample in samples], self._config.micro_batch_tokens):
            chosen = [samples[i] for i in indices]
            loss = self._loss(chosen, meter, first=first)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append((loss, [sample.name for sample in chosen]))
        norm = self._trainer.update(losses, lr)
        meter.update([loss for loss, _ in losses], norm)

    def _loss(self, samples: Sequence[Sample], meter: Meter, *, first: bool) -> Tensor:
        config, trainer = self._config, self._trainer
        rows = [sample.row for sample in samples]
        reference_N = None
        if config.kl > 0:
            with trainer.reference():
                _, reference_N, _ = trainer.logprobs(rows, self._temperature)
        batch, logprobs_N, entropy_N = trainer.logprobs(rows, self._temperature)
        per_row_R2 = torch.tensor([[s.advantage, s.weight] for s in samples], device=trainer.device)
        advantages_N, weights_N = per_row_R2.index_select(0, batch.row_N).unbind(1)
        old_N = self._per_token([s.old for s in samples]) if samples[0].old else logprobs_N.detach()
        objective_N, ratio_N = clipped_surrogate(
            logprobs_N, old_N, advantages_N, clip_low=config.clip_low, clip_high=config.clip_high
        )
        loss_N = -objective_N
        kl_N = None
        if reference_N is not None:
            kl_N = k3(logprobs_N, reference_N)
            loss_N = loss_N + config.kl * kl_N
        meter.tokens(ratio_N, advantages_N, entropy_N, kl_N)
        if first:
            meter.sampler(logprobs_N, self._per_token([s.behaviour for s in samples]))
        return (loss_N * weights_N).sum()

    def _own_old(self, samples: Sequence[Sample], *, measure: bool) -> list[Sample]:
        """Take the ratio against this policy. A single update needs no pass of its own to know it."""
        if not measure:
            return [with_old(sample, ()) for sample in samples]
        renewed = list(samples)
        for indices in plan([sample.row for sample in samples], self._config.micro_batch_tokens):
            with torch.no_grad():
                _, logprobs_N, _ = self._trainer.logprobs([samples[i].row for i in indices], self._temperature)
            flat = logprobs_N.tolist()
            for i in indices:
                count = len(samples[i].behaviour)
                renewed[i] = with_old(samples[i], flat[:count])
                flat = flat[count:]
        return renewed

    def _per_token(self, values: Sequence[Sequence[float]]) -> Tensor:
        """Per-row values as one tensor_N, in the order of `MicroBatch.targets_N`."""
        return torch.tensor([v for row in values for v in row], dtype=torch.float32, device=self._trainer.device)

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        """Nothing can be said about a policy without sampling from it."""
        return {}


def _batch_metrics(batch: TrainBatch, selection: Selection) -> dict[str, float]:
    """What can be said of the batch without a pass over it; means of nothing are left out."""
    rollouts = [rollout for graded in batch.groups for rollout in graded.group.rollouts]
    metrics = {"zero_variance_groups": float(selection.zero_variance_groups)}
    if selection.rewards:
        metrics["reward_mean"] = sum(selection.rewards) / len(selection.rewards)
    if selection.advantages:
        metrics["advantage_abs_mean"] = sum(map(abs, selection.advantages)) / len(selection.advantages)
    if rollouts:
        metrics["completion_tokens_mean"] = sum(r.completion_tokens for r in rollouts) / len(rollouts)
    return metrics
