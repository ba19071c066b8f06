"""The optimizer `policy_gradient`, assembled from parts.

One step:

1. choose the rollouts that have a reward (`selection`) and turn them into token rows (`samples`);
2. where asked, let the trainer before the update, a reference and a critic say what they think of the tokens
   (`tracing`);
3. from rewards to advantages (`judging`, `advantages/`);
4. for each update one forward and one backward pass per micro-batch over

       loss = −Σ_n weight_n · c_n · J_n  +  kl · Σ_n weight_n · KL_n  −  entropy · mean_n H_n

   with J the objective (`objectives/`) of the ratio (`ratios`), c the correction for rollouts of another policy
   (`correction`), KL the distance to the reference (`kl`), weight the aggregation (`aggregation`), H the entropy.

All log-probabilities are of the distribution that was sampled from: logits divided by the sampling
temperature. With top_p < 1 the sampler's log-probabilities are renormalised over the nucleus, which this
trainer does not rebuild; ratios are then taken against the trainer's own before the step, so they are
exactly 1 in the first update. Legend: N trained tokens of a micro-batch, T of a rollout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rft_core.specs import BuildContext
from rft_core.types import Item, Needs, SamplingParams, TrainBatch, TrainReport
from rft_optimizer_policy_gradient.checks import check
from rft_optimizer_policy_gradient.config import PolicyGradientConfig
from rft_optimizer_policy_gradient.critic import Critic
from rft_optimizer_policy_gradient.judging import Judged, Judgement, judge
from rft_optimizer_policy_gradient.meter import Meter
from rft_optimizer_policy_gradient.parts import Parts
from rft_optimizer_policy_gradient.reference import InitialPolicy, OtherModel, Reference
from rft_optimizer_policy_gradient.samples import Sample, Traced
from rft_optimizer_policy_gradient.scored import Values
from rft_optimizer_policy_gradient.selection import Candidate, candidates
from rft_optimizer_policy_gradient.tokens import Rows, Tokens, exp_bounded
from rft_optimizer_policy_gradient.tracing import Tracer
from rft_torch.long_rows import refuse_long_prompts
from rft_torch.trained import Trained


class PolicyGradient(Trained):
    """See the module."""

    needs: Needs = "rollouts"

    def __init__(self, config: PolicyGradientConfig, context: BuildContext) -> None:
        check(config, context)
        sampling = context.sampling or SamplingParams()
        parts = Parts.of(config, context)
        distils = parts.advantage.reads == "teacher"
        needs_reference = config.kl.weight > 0 or distils
        own_reference = needs_reference and config.kl.reference is None
        super().__init__(config, context, keep_reference=own_reference)
        self._config = config
        self._parts = parts
        self._temperature = sampling.temperature
        self._max_tokens = sampling.max_tokens
        self._compare_sampler = sampling.top_p == 1.0
        corrected = config.correction is not None
        self._own_old = {
            "sampler": False,
            "trainer": True,
            "auto": corrected or not self._compare_sampler,
        }[config.old_logprobs]
        self._critic = Critic(config.critic, context) if config.critic is not None else None
        self._reference: Reference | None = None
        if own_reference:
            self._reference = InitialPolicy(self._trainer)
        elif needs_reference:
            self._reference = OtherModel(config.kl.reference or "", context, self._trainer)
            if context.train is not None:
                refuse_long_prompts(context.train, self._reference.context, self._trainer.base, "the reference")
        self._kl_in_loss = config.kl.weight > 0 and not config.kl.in_reward
        self._kl_in_reward = config.kl.weight > 0 and config.kl.in_reward
        self._one_update = config.updates_per_step * config.epochs_per_batch == 1
        self._tracer = Tracer(
            trainer=self._trainer,
            temperature=self._temperature,
            asks_trainer=(self._own_old and not self._one_update) or self._kl_in_reward or distils,
            reference=self._reference,
            critic=self._critic,
            by_token=self._kl_in_reward or self._critic is not None or distils,
        )

    def step(self, batch: TrainBatch) -> TrainReport:
        """One or more updates from graded groups. Raises NumericsError, before the weights change,
        if a loss or gradient is not finite, and names the rollouts."""
        config, trainer = self._config, self._trainer
        dropped: Counter[str] = Counter()
        found = candidates(batch.groups, config, self._max_tokens, dropped)
        lr = trainer.learning_rate(batch.total_steps)
        meter = Meter(compare_sampler=self._compare_sampler)
        with trainer.computing():
            judgement = judge(
                self._tracer.trace(found),
                self._parts.advantage,
                dropped,
                penalty=self._penalty if self._kl_in_reward else None,
                drop_zero_variance=config.zero_variance == "drop",
            )
        critic_metrics = self._train_critic(judgement, batch.total_steps)  # first: if it diverges, the policy is kept
        with trainer.computing():
            parts = [self._samples(part) for part in judgement.parts(config.updates_per_step)]
            for part in parts * config.epochs_per_batch:
                if part:
                    self._update(part, lr, meter)
        trainer.policy += 1
        trained_tokens = sum(len(s.traced.row.wanted) for part in parts for s in part)
        metrics = {**meter.read(), **critic_metrics, **_batch_metrics(batch, found, judgement), "learning_rate": lr}
        metrics["effective_batch"] = float(sum(s.advantages_T.any() for part in parts for s in part))
        return TrainReport(
            metrics=metrics,
            trained_tokens=trained_tokens,
            policy=trainer.policy,
            dropped=dict(+dropped),
            alarms=judgement.alarms(+dropped) + meter.alarms(),
        )

    def _penalty(self, row: Traced) -> Values:
        old_T, reference_T = (torch.tensor(v, dtype=torch.float64) for v in (row.old_T, row.reference_T))
        penalty: Values = (self._config.kl.weight * self._parts.kl(old_T, reference_T)).numpy()
        return penalty

    def _samples(self, part: Sequence[Sequence[Judged]]) -> list[Sample]:
        """The samples of one update that can move the weights. Those with advantages of exactly 0 weigh in the
        aggregation but are not computed, unless something else than the objective moves them."""
        everything = self._kl_in_loss or self._config.entropy > 0
        counts = [[len(j.traced.row.wanted) for j in group] for group in part]
        if not any(counts):
            return []
        weights = self._parts.aggregation(counts, self._max_tokens)
        return [
            Sample(judged.traced, judged.advantages_T, weight)
            for group, of_group in zip(part, weights, strict=True)
            for judged, weight in zip(group, of_group, strict=True)
            if everything or judged.advantages_T.any()
        ]

    def _update(self, samples: Sequence[Sample], lr: float, meter: Meter) -> None:
        """One optimizer step over all samples. Before the first, sampler and trainer are compared."""
        first = meter.updates == 0
        losses: list[tuple[Tensor, Sequence[str]]] = []
        tokens = sum(len(sample.traced.row.wanted) for sample in samples)
        for indices in self._trainer.plan([sample.traced.row for sample in samples]):
            chosen = [samples[i] for i in indices]
            loss = self._loss(chosen, tokens, meter, first=first)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append((loss, [sample.traced.name for sample in chosen]))
        if first and self._config.max_logprob_diff is not None:
            meter.check_sampler(self._config.max_logprob_diff)
        norm = self._trainer.update(losses, lr)
        meter.update([loss for loss, _ in losses], norm, learns=any(s.advantages_T.any() for s in samples))

    def _loss(self, samples: Sequence[Sample], tokens: int, meter: Meter, *, first: bool) -> Tensor:
        """Of a micro-batch. `tokens` are those of the whole update."""
        config, parts = self._config, self._parts
        known = [sample.traced for sample in samples]
        batch, logprobs_N, entropy_N = self._trainer.logprobs(
            [t.row for t in known], self._temperature, entropy_grad=config.entropy > 0
        )
        rows = Rows(batch.row_N, len(samples))
        advantages_N = logprobs_N.new_tensor(np.concatenate([s.advantages_T for s in samples]))
        weights_N = logprobs_N.new_tensor([s.weight for s in samples]).index_select(0, batch.row_N)
        behaviour_N = _flat(logprobs_N, [t.behaviour_T for t in known])
        old_N = self._old(logprobs_N, behaviour_N, known)
        log_ratio_N = parts.ratio(logprobs_N - old_N, rows)
        surrogate = parts.objective(Tokens(logprobs_N, log_ratio_N, advantages_N))
        value_N: Tensor = surrogate.value_N
        correction_N = parts.correction(old_N - behaviour_N, rows)
        if correction_N is not None:
            value_N = value_N * correction_N
        loss_N = -value_N
        kl_N = None
        if self._reference is not None:
            kl_N = parts.kl(logprobs_N, _flat(logprobs_N, [t.reference_T for t in known]))
            if self._kl_in_loss:
                penalty_N = kl_N * exp_bounded(log_ratio_N) if config.kl.unbiased else kl_N
                loss_N = loss_N + config.kl.weight * penalty_N
        loss = (loss_N * weights_N).sum()
        if config.entropy > 0:
            loss = loss - config.entropy * entropy_N.sum() / tokens
        meter.tokens(log_ratio_N, surrogate, entropy_N, kl_N, correction_N)
        if first:
            meter.sampler(logprobs_N, behaviour_N, [t.name for t in known])
        return loss

    def _old(self, logprobs_N: Tensor, behaviour_N: Tensor, known: Sequence[Traced]) -> Tensor:
        """What ratios are taken against. A single update needs no pass of its own to know its own policy."""
        if not self._own_old:
            return behaviour_N
        if self._one_update:
            return logprobs_N.detach()
        return _flat(logprobs_N, [t.old_T for t in known])

    def _train_critic(self, judgement: Judgement, total_steps: int) -> dict[str, float]:
        """As many updates as the policy has, on the same parts of the batch."""
        critic, config = self._critic, self._config
        if critic is None:
            return {}
        gamma = float(getattr(self._parts.advantage.settings, "gamma", 1.0))
        losses, norms = [], []
        for _ in range(config.epochs_per_batch):
            for part in judgement.parts(config.updates_per_step):
                members = [judged for group in part for judged in group]
                returns = [critic.returns(j.rewards_T, np.asarray(j.traced.values_T), gamma) for j in members]
                if members:
                    loss, norm = critic.update([j.traced for j in members], returns, total_steps)
                    losses.append(loss)
                    norms.append(norm)
        critic.step_taken()
        if not losses:
            return {}
        return {"critic_loss": sum(losses) / len(losses), "critic_grad_norm": sum(norms) / len(norms)}

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        """Nothing can be said about a policy without sampling from it."""
        return {}

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self._critic is not None:
            self._critic.save(folder)

    def load(self, folder: Path) -> None:
        super().load(folder)
        if self._critic is not None:
            self._critic.load(folder)


def _flat(like: Tensor, values: Sequence[Sequence[float]]) -> Tensor:
    """Per-row values as one tensor_N, in the order of `MicroBatch.targets_N`."""
    return like.new_tensor([v for row in values for v in row])


def _batch_metrics(batch: TrainBatch, found: Sequence[Sequence[Candidate]], judgement: Judgement) -> dict[str, float]:
    """What can be said of the batch without a pass over it; means of nothing are left out."""
    rollouts = [rollout for graded in batch.groups for rollout in graded.group.rollouts]
    rewards = [candidate.reward for group in found for candidate in group]
    metrics = {"zero_variance_groups": float(judgement.zero_variance_groups)}
    if rewards:
        metrics["reward_mean"] = sum(rewards) / len(rewards)
    if judgement.sizes:
        metrics["advantage_abs_mean"] = sum(judgement.sizes) / len(judgement.sizes)
    tokens = sum(rollout.completion_tokens for rollout in rollouts)
    if rollouts:
        metrics["completion_tokens_mean"] = tokens / len(rollouts)
    if tokens:
        kept = sum(len(j.traced.row.wanted) for group in judgement.groups for j in group)
        metrics["masked_share"] = 1 - kept / tokens
    return metrics
