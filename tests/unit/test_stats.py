"""Intervals and p-values say what they claim to."""

from __future__ import annotations

import numpy as np
import pytest

from rft_core.stats import mean_interval, paired_p_value


def draws(seed: int, *shape: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(seed)).normal(size=shape)


def test_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    """200 samples of 60 normal values: the true mean lies in 180 to 199 of the intervals."""
    covered = 0
    for seed, values in enumerate(draws(1, 200, 60)):
        interval = mean_interval(list(values), seed=seed)
        assert interval is not None
        covered += interval.low <= 0.0 <= interval.high
    assert 180 <= covered <= 199


def test_interval_has_the_width_of_the_normal_one() -> None:
    """For many values the bootstrap agrees with mean ± 1.96 standard errors within 10 %."""
    values = draws(2, 400)
    interval = mean_interval(list(values))
    assert interval is not None
    assert interval.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)


def test_clusters_widen_the_interval() -> None:
    """10 rows of each of 30 patients that agree with each other: the interval is about √10 times wider."""
    values = np.repeat(draws(3, 30), 10)
    patients = [f"patient {i // 10}" for i in range(300)]
    alone, clustered = mean_interval(list(values)), mean_interval(list(values), patients)
    assert alone is not None
    assert clustered is not None
    assert clustered.mean == pytest.approx(alone.mean)
    ratio = (clustered.high - clustered.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(10**0.5, rel=0.15)


def test_clusters_of_one_row_change_nothing() -> None:
    """Naming every row its own cluster gives the same interval and p-value, to the bit."""
    values = list(draws(4, 50))
    assert mean_interval(values) == mean_interval(values, list(range(50)))
    assert paired_p_value(values) == paired_p_value(values, list(range(50)))


def test_uneven_clusters_weigh_rows_equally() -> None:
    """The mean is that of the rows, not that of the cluster means."""
    interval = mean_interval([0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"])
    assert interval is not None
    assert interval.mean == 0.25


def test_p_value_is_uniform_when_nothing_changed() -> None:
    """Under the null about 5, 20 and 50 % of 200 p-values lie below these levels."""
    p_values = np.array([paired_p_value(list(v), seed=seed) for seed, v in enumerate(draws(5, 200, 25))])
    for level in (0.05, 0.2, 0.5):
        spread = 3 * (level * (1 - level) / 200) ** 0.5
        assert abs((p_values <= level).mean() - level) <= spread


def test_p_value_is_small_for_a_real_gain_and_one_for_none() -> None:
    """A clear gain reaches the smallest p-value the permutations allow; no difference at all gives 1."""
    p_value = paired_p_value(list(draws(6, 100) * 0.1 + 0.3))
    assert p_value == pytest.approx(1 / 10_001)
    assert paired_p_value([0.0] * 20) == 1.0


def test_clusters_make_a_gain_less_certain() -> None:
    """Twenty equal rows of two patients are two observations, not twenty."""
    differences = [0.5] * 20
    alone, clustered = paired_p_value(differences), paired_p_value(differences, ["a"] * 10 + ["b"] * 10)
    assert alone is not None
    assert alone < 0.001
    assert clustered == pytest.approx(0.5, abs=0.03)


def test_same_seed_same_numbers_other_seed_others() -> None:
    """Both are functions of values and seed."""
    values = list(draws(7, 40))
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)
    assert paired_p_value(values, seed=1) == paired_p_value(values, seed=1)
    assert paired_p_value(values, seed=1) != paired_p_value(values, seed=2)


def test_nothing_to_average() -> None:
    """Without rows there is no interval and no p-value, rather than NaN."""
    assert mean_interval([]) is None
    assert paired_p_value([]) is None
