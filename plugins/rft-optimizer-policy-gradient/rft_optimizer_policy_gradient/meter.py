"""Metrics over the micro-batches of a step, read from the device once."""

from __future__ import annotations

import torch
from torch import Tensor

from rft_optimizer_policy_gradient.kl import k3

SUMS = ("entropy", "clip_fraction_low", "clip_fraction_high", "kl")
PRECISE = torch.float64
"""Sums are float64, so that their order hardly shows."""


class Meter:
    """Token means, maxima, and the mean loss per update."""

    def __init__(self, *, clip_low: float, clip_high: float, compare_sampler: bool) -> None:
        self._low = 1 - clip_low
        self._high = 1 + clip_high
        self._compare_sampler = compare_sampler
        self._sums: list[Tensor] = []
        self._maxima: list[Tensor] = []
        self._sampler: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._grad_norms: list[float] = []
        self._tokens = 0
        self._has_kl = False

    def tokens(self, ratio_N: Tensor, advantages_N: Tensor, entropy_N: Tensor, kl_N: Tensor | None) -> None:
        """Of one micro-batch."""
        low_N = (ratio_N < self._low) & (advantages_N < 0)
        high_N = (ratio_N > self._high) & (advantages_N > 0)
        kl_sum = kl_N.detach().sum(dtype=PRECISE) if kl_N is not None else ratio_N.new_zeros((), dtype=PRECISE)
        self._has_kl |= kl_N is not None
        self._tokens += ratio_N.numel()
        self._maxima.append(ratio_N.max())
        self._sums.append(
            torch.stack([entropy_N.sum(dtype=PRECISE), low_N.sum(dtype=PRECISE), high_N.sum(dtype=PRECISE), kl_sum])
        )

    def sampler(self, logprobs_N: Tensor, behaviour_N: Tensor) -> None:
        """Compare sampler and trainer, on weights that the step has not moved yet."""
        if self._compare_sampler:
            diff_N = (logprobs_N.detach() - behaviour_N).abs()
            policy_kl = k3(behaviour_N, logprobs_N.detach()).sum(dtype=PRECISE)
            count = diff_N.new_full((), diff_N.numel(), dtype=PRECISE)
            self._sampler.append(torch.stack([diff_N.sum(dtype=PRECISE), diff_N.max().to(PRECISE), policy_kl, count]))

    def update(self, losses: list[Tensor], grad_norm: float) -> None:
        """Of one optimizer step."""
        self._losses.append(torch.stack(losses).detach().sum(dtype=PRECISE))
        self._grad_norms.append(grad_norm)

    def read(self) -> dict[str, float]:
        """The metrics; those that need a pass over tokens are left out when there was none."""
        updates = len(self._losses)
        if not updates:
            return {"loss": 0.0, "grad_norm": 0.0}
        sums = [value / self._tokens for value in torch.stack(self._sums).sum(dim=0).tolist()]
        found = dict(zip(SUMS, sums, strict=True))
        if not self._has_kl:
            del found["kl"]
        found["ratio_max"] = torch.stack(self._maxima).max().item()
        found["loss"] = torch.stack(self._losses).sum().item() / updates
        found["grad_norm"] = sum(self._grad_norms) / updates
        if self._sampler:
            stats_M4 = torch.stack(self._sampler)
            tokens = stats_M4[:, 3].sum().item()
            found["logprob_diff_mean"] = stats_M4[:, 0].sum().item() / tokens
            found["logprob_diff_max"] = stats_M4[:, 1].max().item()
            found["behaviour_kl"] = stats_M4[:, 2].sum().item() / tokens
        return found
