"""Intervals and tests for evaluations. The unit that is resampled is the row, or a cluster of rows.

Rows of one publication or one patient are not independent: with clusters named, whole clusters are
resampled (percentile bootstrap, Efron & Tibshirani 1993, ch. 13) and signs are flipped by cluster
(permutation test of a paired difference).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from rft_core.seeds import seed_of

RESAMPLES = 2_000
FLIPS = 10_000
MOST_PICKED = 100_000
"""Rows of the resamples that are drawn at once: 2.4 MB."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def ci95(self) -> list[float]:
        return [self.low, self.high]


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, *, seed: int = 0
) -> Interval | None:
    """Mean of per-row values with a percentile bootstrap interval; None without rows."""
    if not values:
        return None
    sums, counts = _by_cluster(np.asarray(values, dtype=np.float64), clusters)
    random = np.random.Generator(np.random.Philox(seed_of(seed, "bootstrap", 0)))
    at_once = max(1, MOST_PICKED // len(sums))
    means: list[float] = []
    while len(means) < RESAMPLES:
        picked = random.integers(0, len(sums), (min(at_once, RESAMPLES - len(means)), len(sums)))
        means += (sums[picked].sum(axis=1) / counts[picked].sum(axis=1)).tolist()
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean=float(sums.sum() / counts.sum()), low=float(low), high=float(high))


def paired_p_value(
    differences: Sequence[float], clusters: Sequence[Hashable] | None = None, *, seed: int = 0
) -> float | None:
    """Two-sided p-value of "the mean difference is 0", by flipping the signs of whole clusters."""
    if not differences:
        return None
    sums, _ = _by_cluster(np.asarray(differences, dtype=np.float64), clusters)
    observed = abs(sums.sum())
    random = np.random.Generator(np.random.Philox(seed_of(seed, "bootstrap", 1)))
    reached = 0
    for _ in range(FLIPS // 100):
        signs = random.integers(0, 2, (100, len(sums))) * 2 - 1
        reached += int((np.abs(signs @ sums) >= observed - 1e-12).sum())
    return (reached + 1) / (FLIPS + 1)


def _by_cluster(values: np.ndarray, clusters: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each cluster, float64 of shape (clusters,)."""
    if clusters is None:
        return values, np.ones_like(values)
    numbers: dict[Hashable, int] = {}
    positions = np.array([numbers.setdefault(c, len(numbers)) for c in clusters])
    return np.bincount(positions, weights=values), np.bincount(positions).astype(np.float64)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rho: the correlation of ranks, equal values sharing the mean of theirs. None if one side is
    constant, or if there are fewer than two values."""
    if len(first) < 2:
        return None
    a, b = _ranks(np.asarray(first, dtype=np.float64)), _ranks(np.asarray(second, dtype=np.float64))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else None


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: np.ndarray = (last - (counts - 1) / 2)[inverse.reshape(-1)]
    return ranks
