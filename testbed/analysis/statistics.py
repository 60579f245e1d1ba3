"""Intervals over repeats: the mean of a metric, and the paired difference of two policies.

In go values of repeats; out come `Estimate`s, mean with a 95 % interval (none with a single repeat).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` repeats and its 95 % interval; `low` and `high` are None where n is 1."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero. False where there is no interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean and Student's t interval of at least one value. Raises ValueError where there is none.

    mean +- t(0.975, n - 1) s / sqrt(n), with s the sample's standard deviation (n - 1 in the denominator).
    """
    if not values:
        raise ValueError("no values to take the mean of")
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def paired_difference(first: Mapping[int, float], other: Mapping[int, float]) -> Estimate | None:
    """(other - first) / first, pair by pair over the repeats that both have, then mean and interval.

    Both map a repeat to its value. None where no pair is left, or a `first` is 0 and so no relative
    difference exists.
    """
    both = sorted(first.keys() & other.keys())
    if not both or any(first[repeat] == 0 for repeat in both):
        return None
    return mean_interval([(other[repeat] - first[repeat]) / first[repeat] for repeat in both])
