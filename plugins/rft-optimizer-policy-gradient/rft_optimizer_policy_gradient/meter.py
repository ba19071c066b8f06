"""Metrics over the micro-batches of a step, read from the device once. Legend: N trained tokens of a micro-batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rft_core.errors import NumericsError
from rft_optimizer_policy_gradient.tokens import MAX_LOG_RATIO, Surrogate, exp_bounded

PRECISE = torch.float64
"""Sums are float64, so that their order hardly shows."""
RATIO_BOUNDS = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0)
"""Between the bins of the histogram of ratios."""
BIN_NAMES = ("below_0.50", "0.50_0.80", "0.80_0.95", "0.95_1.05", "1.05_1.25", "1.25_2.00", "above_2.00")
SUMS = ("entropy", "clip_fraction_low", "clip_fraction_high", "kl", "correction_mean", "correction_masked")


class Meter:
    """Token means, maxima, and the mean loss per update."""

    def __init__(self, *, compare_sampler: bool) -> None:
        self._compare_sampler = compare_sampler
        self._sums: list[Tensor] = []
        self._bins: list[Tensor] = []
        self._maxima: list[Tensor] = []
        self._sampler: list[Tensor] = []
        self._sampler_names: list[Sequence[str]] = []
        self._losses: list[Tensor] = []
        self._grad_norms: list[float] = []
        self._without_gradient = 0
        self._tokens = 0
        self._present = {"entropy", "clip_fraction_low", "clip_fraction_high"}

    @property
    def updates(self) -> int:
        """Optimizer steps taken so far."""
        return len(self._losses)

    def tokens(
        self,
        log_ratio_N: Tensor,
        surrogate: Surrogate,
        entropy_N: Tensor,
        kl_N: Tensor | None,
        correction_N: Tensor | None,
    ) -> None:
        """Of one micro-batch."""
        ratio_N = exp_bounded(log_ratio_N.detach())
        self._tokens += ratio_N.numel()
        self._maxima.append(ratio_N.max())
        bounds = ratio_N.new_tensor(RATIO_BOUNDS)
        self._bins.append(torch.bucketize(ratio_N, bounds).bincount(minlength=len(BIN_NAMES)))
        masked_N = None if correction_N is None else correction_N == 0
        found = (entropy_N, surrogate.low_N, surrogate.high_N, kl_N, correction_N, masked_N)
        self._present |= {name for name, value in zip(SUMS, found, strict=True) if value is not None}
        nothing = ratio_N.new_zeros((), dtype=PRECISE)
        sums = [nothing if v is None else v.detach().sum(dtype=PRECISE) for v in found]
        self._sums.append(torch.stack(sums))

    def sampler(self, logprobs_N: Tensor, behaviour_N: Tensor, names: Sequence[str]) -> None:
        """Compare sampler and trainer, on weights that the step has not moved yet."""
        if not self._compare_sampler:
            return
        gap_N = logprobs_N.detach() - behaviour_N
        bounded_N = gap_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        kl = (bounded_N.expm1() - bounded_N).sum(dtype=PRECISE)  # k3 of KL(sampler | trainer)
        count = gap_N.new_full((), gap_N.numel(), dtype=PRECISE)
        size_N = gap_N.abs()
        self._sampler.append(torch.stack([size_N.sum(dtype=PRECISE), size_N.max().to(PRECISE), kl, count]))
        self._sampler_names.append(names)

    def check_sampler(self, limit: float) -> None:
        """NumericsError, naming the rollouts that differ most, where sampler and trainer do not agree."""
        stats_M4 = torch.stack(self._sampler)
        mean = (stats_M4[:, 0].sum() / stats_M4[:, 3].sum()).item()
        if mean > limit:
            worst = int((stats_M4[:, 0] / stats_M4[:, 3]).argmax())
            names = ", ".join(self._sampler_names[worst][:8])
            raise NumericsError(
                f"log-probabilities of sampler and trainer differ by {mean:.3g} on average, more than max_logprob_diff = "
                f"{limit:g}, most among {names}; the update was not made: make both compute the same model, or begin a run with a higher limit"
            )

    def update(self, losses: list[Tensor], grad_norm: float, *, learns: bool) -> None:
        """Of one optimizer step. `learns` says whether some advantage is not 0."""
        self._losses.append(torch.stack(losses).detach().sum(dtype=PRECISE))
        self._grad_norms.append(grad_norm)
        self._without_gradient += learns and grad_norm == 0.0

    def alarms(self) -> tuple[str, ...]:
        """What cannot be right."""
        if not self._without_gradient:
            return ()
        return (
            f"{self._without_gradient} of {len(self._losses)} updates had advantages but a gradient of exactly 0: nothing was "
            "learned from them; look at clip_fraction_low and _high, correction_masked and the rollouts' tokens",
        )

    def read(self) -> dict[str, float]:
        """The metrics; those that need a pass over tokens are left out when there was none."""
        updates = len(self._losses)
        if not updates:
            return {"loss": 0.0, "grad_norm": 0.0}
        sums = [value / self._tokens for value in torch.stack(self._sums).sum(dim=0).tolist()]
        found = {name: value for name, value in zip(SUMS, sums, strict=True) if name in self._present}
        shares = (torch.stack(self._bins).sum(dim=0) / self._tokens).tolist()
        found |= {f"ratio/{name}": share for name, share in zip(BIN_NAMES, shares, strict=True)}
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
