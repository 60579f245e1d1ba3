"""Intervals: known values, and that they cover at their nominal rate."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.analysis.statistics import mean_interval, paired_difference


def test_one_repeat_has_no_interval():
    found = mean_interval([4.0])
    assert (found.mean, found.low, found.high, found.n) == (4.0, None, None, 1)
    assert not found.excludes_zero


def test_the_t_interval_of_three_values():
    found = mean_interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 * 1.0 / 3**0.5  # t(0.975, 2) s / sqrt n
    assert found.mean == 2
    assert found.low == pytest.approx(2 - half)
    assert found.high == pytest.approx(2 + half)
    assert not found.excludes_zero
    assert mean_interval([10.0, 11.0, 12.0]).excludes_zero


def test_no_values_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_the_interval_covers_the_true_mean_in_95_of_100_experiments():
    rng = np.random.default_rng(5)
    samples = rng.normal(10, 3, (2000, 4))
    covered = sum(e.low <= 10 <= e.high for e in map(mean_interval, samples.tolist()))  # type: ignore[operator]
    assert 0.93 < covered / 2000 < 0.97


def test_differences_are_paired_by_repeat():
    found = paired_difference({0: 100.0, 1: 200.0, 2: 50.0}, {0: 50.0, 1: 100.0, 3: 9.0})
    assert found is not None
    assert found.n == 2  # repeats 2 and 3 have no partner
    assert (found.mean, found.low, found.high) == (-0.5, -0.5, -0.5)


def test_no_pair_or_nothing_to_be_relative_to_gives_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    assert paired_difference({0: 0.0}, {0: 1.0}) is None
