"""The policy-gradient step as the papers write it: float64, one rollout and one token at a time, no shared code.

`step` gives the loss and the gradient of one update; `advantages` what every estimator says. Slow on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rft_core.types import GradedGroup, Rollout


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is computed. Parts by name, their numbers in `numbers`."""

    advantage: str = "group_normalized"
    ratio: str = "token"
    old: str = "sampler"
    objective: str = "clip"
    aggregation: str = "sequence"
    correction: str | None = None
    level: str = "token"
    kl: str = "k3"
    kl_weight: float = 0.0
    kl_in_reward: bool = False
    kl_unbiased: bool = False
    entropy: float = 0.0
    drop_equal: bool = False
    temperature: float = 1.0
    max_tokens: int = 256
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Taken:
    """A rollout with a reward, and what the models say of its tokens."""

    group: int
    rollout: Rollout
    reward: float
    sub_rewards: Mapping[str, float]
    logp: list[Tensor] = field(default_factory=list)
    entropy: list[Tensor] = field(default_factory=list)
    behaviour: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return len(self.behaviour)


def step(
    policy: Any, groups: Sequence[GradedGroup], wanted: Wanted, *, reference: Any = None, critic: Any = None
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients by parameter. `policy`, `reference` and `critic` are float64 models."""
    taken = [
        Taken(group=g, rollout=r, reward=x.reward, sub_rewards=x.sub_rewards)
        for g, graded in enumerate(groups)
        for r, x in zip(graded.group.rollouts, graded.grades, strict=True)
        if x.reward is not None
    ]
    for rollout in taken:
        _look(policy, rollout, wanted.temperature, reference, critic)
    advantages_of = advantages(taken, wanted)
    equal = {g for g in range(len(groups)) if len({t.reward for t in taken if t.group == g}) == 1}
    left = [
        (t, a)
        for t, a in zip(taken, advantages_of, strict=True)
        if a is not None and not (wanted.drop_equal and t.group in equal)
    ]
    weights = _weights([t for t, _ in left], wanted)
    all_tokens = sum(t.tokens for t, _ in left)
    loss = torch.zeros((), dtype=torch.float64)
    for (rollout, advantage), weight in zip(left, weights, strict=True):
        old = [float(p.detach()) for p in rollout.logp] if wanted.old == "trainer" else rollout.behaviour
        log_ratios = _ratios([p - o for p, o in zip(rollout.logp, old, strict=True)], wanted.ratio)
        corrections = _corrections([o - b for o, b in zip(old, rollout.behaviour, strict=True)], wanted)
        for t in range(rollout.tokens):
            gained = _objective(rollout.logp[t], log_ratios[t], advantage[t], wanted) * corrections[t]
            loss = loss - weight * gained
            if wanted.kl_weight and not wanted.kl_in_reward:
                penalty = wanted.kl_weight * _kl(rollout.logp[t], rollout.reference[t], wanted.kl)
                loss = loss + weight * penalty * (torch.exp(log_ratios[t]) if wanted.kl_unbiased else 1.0)
            loss = loss - wanted.entropy * rollout.entropy[t] / all_tokens
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in sorted(policy.named_parameters()) if p.grad is not None}


def _look(policy: Any, taken: Taken, temperature: float, reference: Any, critic: Any) -> None:
    prompt, completion = taken.rollout.segments
    ids = torch.tensor([[*prompt.token_ids, *completion.token_ids]])
    start = len(prompt.token_ids) - 1
    logits = policy(input_ids=ids).logits[0] / temperature
    told = None if reference is None else reference(input_ids=ids).logits[0] / temperature
    hidden = None if critic is None else critic.get_decoder()(input_ids=ids).last_hidden_state[0]
    assert completion.logprobs is not None
    for t, token in enumerate(completion.token_ids):
        probabilities = logits[start + t].softmax(-1)
        taken.logp.append(probabilities[token].log())
        taken.entropy.append(-(probabilities * probabilities.log()).sum())
        taken.behaviour.append(completion.logprobs[t])
        if told is not None:
            taken.reference.append(float(told[start + t].softmax(-1)[token].log()))
        if hidden is not None:
            taken.values.append(float(critic.score(hidden[start + t]).detach()))


def _kl(logp: Tensor, reference: float, kind: str) -> Tensor:
    log_ratio = logp - reference
    if kind == "k1":
        return log_ratio
    if kind == "k2":
        return log_ratio**2 / 2
    return torch.exp(-log_ratio) - 1 + log_ratio


def _ratios(log_ratios: list[Tensor], kind: str) -> list[Tensor]:
    if kind == "token":
        return log_ratios
    total = sum(log_ratios, torch.zeros((), dtype=torch.float64))
    return [total / len(log_ratios) if kind == "sequence" else total] * len(log_ratios)


def _corrections(log_weights: list[float], wanted: Wanted) -> list[float]:
    if wanted.correction is None:
        return [1.0] * len(log_weights)
    if wanted.level == "sequence":
        log_weights = [sum(log_weights)] * len(log_weights)
    elif wanted.level == "geometric":
        log_weights = [sum(log_weights) / len(log_weights)] * len(log_weights)
    weights = [math.exp(w) for w in log_weights]
    high = wanted.numbers.get("max", 2.0)
    if wanted.correction == "truncated":
        return [min(w, high) for w in weights]
    return [w if wanted.numbers.get("min", 0.5) <= w <= high else 0.0 for w in weights]


def _objective(logp: Tensor, log_ratio: Tensor, advantage: float, wanted: Wanted) -> Tensor:
    numbers, ratio = wanted.numbers, torch.exp(log_ratio)
    if wanted.objective == "reinforce":
        return advantage * logp
    if wanted.objective == "cispo":
        return min(float(ratio.detach()), numbers.get("max_ratio", 5.0)) * advantage * logp
    if wanted.objective == "sapo":
        tau = numbers.get("positive", 1.0) if advantage > 0 else numbers.get("negative", 1.05)
        return 4 / tau / (1 + torch.exp(-tau * (ratio - 1))) * advantage
    low, high = 1 - numbers.get("low", 0.2), 1 + numbers.get("high", 0.2)
    clipped = torch.clamp(ratio, low, high)
    gained = torch.minimum(ratio * advantage, clipped * advantage)
    if advantage < 0 and "dual" in numbers:
        gained = torch.maximum(gained, torch.tensor(numbers["dual"] * advantage, dtype=torch.float64))
    return gained


def _weights(left: list[Taken], wanted: Wanted) -> list[float]:
    """Of each rollout's tokens."""
    if wanted.aggregation == "token":
        return [1 / sum(t.tokens for t in left)] * len(left)
    if wanted.aggregation == "sequence":
        return [1 / len(left) / t.tokens for t in left]
    if wanted.aggregation == "constant":
        return [1 / len(left) / wanted.numbers.get("length", wanted.max_tokens)] * len(left)
    groups = {t.group for t in left}
    return [1 / len(groups) / sum(o.tokens for o in left if o.group == t.group) for t in left]


def advantages(taken: Sequence[Taken], wanted: Wanted) -> list[list[float] | None]:
    """Per rollout and token; None where there is none to have."""
    penalties = [
        [
            wanted.kl_weight * float(_kl(p.detach(), r, wanted.kl)) if wanted.kl_in_reward else 0.0
            for p, r in zip(t.logp, t.reference, strict=True)
        ]
        if wanted.kl_in_reward
        else [0.0] * t.tokens
        for t in taken
    ]
    rewards = [t.reward - sum(p) for t, p in zip(taken, penalties, strict=True)]
    name = wanted.advantage
    if name == "batch_normalized":
        to_come = [[t.reward - sum(p[i:]) for i in range(t.tokens)] for t, p in zip(taken, penalties, strict=True)]
        return _whiten(to_come)
    if name == "gae":
        return _whiten([_gae(t, p, wanted) for t, p in zip(taken, penalties, strict=True)])
    if name == "raw":
        return [[r] * t.tokens for t, r in zip(taken, rewards, strict=True)]
    if name == "distillation":
        return [[r - float(p.detach()) for p, r in zip(t.logp, t.reference, strict=True)] for t in taken]
    if name == "per_grader_normalized":
        return _per_grader(taken, wanted)
    found = [_in_group(taken, rewards, i, name) for i in range(len(taken))]
    spread: list[list[float] | None] = [
        None if a is None else [a] * t.tokens for t, a in zip(taken, found, strict=True)
    ]
    return _whiten(spread) if name == "group_mean_batch_normalized" else spread


def _in_group(taken: Sequence[Taken], rewards: Sequence[float], i: int, name: str, eps: float = 1e-6) -> float | None:
    own = [r for t, r in zip(taken, rewards, strict=True) if t.group == taken[i].group]
    n = len(own)
    if n < 2:
        return None
    mean = sum(own) / n
    std = math.sqrt(sum((r - mean) ** 2 for r in own) / (n - 1))
    if name == "group_normalized":
        return (rewards[i] - mean) / (std + eps)
    if name == "leave_one_out":
        return rewards[i] - (sum(own) - rewards[i]) / (n - 1)
    if name == "mean_normalized":
        return (rewards[i] - mean) / mean if mean else 0.0
    if name == "best":
        first = min(j for j, t in enumerate(taken) if t.group == taken[i].group and rewards[j] == max(own))
        return float(first == i and std > 0)
    return rewards[i] - mean


def _per_grader(taken: Sequence[Taken], wanted: Wanted) -> list[list[float] | None]:
    sums: list[float | None] = []
    for i, t in enumerate(taken):
        total: float | None = 0.0
        for name in t.sub_rewards:
            own = _in_group(taken, [o.sub_rewards[name] for o in taken], i, "group_normalized")
            weight = wanted.numbers.get("weights", {}).get(name, 1.0)
            total = None if own is None or total is None else total + weight * own
        sums.append(total)
    there = [s for s in sums if s is not None]
    mean = sum(there) / len(there)
    std = math.sqrt(sum((s - mean) ** 2 for s in there) / (len(there) - 1))
    return [None if s is None else [(s - mean) / (std + 1e-6)] * t.tokens for s, t in zip(sums, taken, strict=True)]


def _gae(taken: Taken, penalties: Sequence[float], wanted: Wanted) -> list[float]:
    """As a sum over all later steps, where the code under test goes backwards."""
    gamma, lam = wanted.numbers.get("gamma", 1.0), wanted.numbers.get("lam", 0.95)
    values = [*taken.values, 0.0]
    rewards = [-p for p in penalties]
    rewards[-1] += taken.reward
    deltas = [rewards[t] + gamma * values[t + 1] - values[t] for t in range(taken.tokens)]
    return [sum((gamma * lam) ** (u - t) * deltas[u] for u in range(t, taken.tokens)) for t in range(taken.tokens)]


def _whiten(values: Sequence[list[float] | None]) -> list[list[float] | None]:
    flat = [v for row in values if row is not None for v in row]
    mean = sum(flat) / len(flat)
    std = math.sqrt(sum((v - mean) ** 2 for v in flat) / (len(flat) - 1))
    return [None if row is None else [(v - mean) / (std + 1e-8) for v in row] for row in values]
