"""Each kernel against a plain NumPy reference, and the laws that it keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.analysis.kernels import add_pair_sums, expand_pairs, jain_index, rank_percentile


def reference_pair_sums(bins, groups, src, dst, size, t_ns, group_of, start_ns, bin_ns):
    out = np.zeros((bins, groups, groups), np.int64)
    slot = np.clip((t_ns - start_ns) // bin_ns, 0, bins - 1) if bin_ns else np.zeros(len(src), np.int64)
    np.add.at(out, (slot, group_of[src], group_of[dst]), size)
    return out


def reference_expand(pairs, path_start, path_step, directions):
    bins, groups, _ = pairs.shape
    uses = np.zeros((groups * groups, directions))
    for row in range(groups * groups):
        np.add.at(uses[row], path_step[path_start[row] : path_start[row + 1]], 1)
    return pairs.reshape(bins, -1) @ uses


@pytest.mark.parametrize(("rows", "bin_ns"), [(0, 0), (1, 0), (5000, 0), (5000, 700)])
def test_pair_sums_equal_the_reference_to_the_byte(rows, bin_ns):
    rng = np.random.default_rng(rows + bin_ns)
    src, dst = rng.integers(0, 20, (2, rows), np.int32)
    size = rng.integers(1, 16385, rows, np.int32)
    t_ns = rng.integers(-500, 9000, rows, np.int64)
    group_of = rng.integers(0, 6, 20, np.int32)
    bins = 10 if bin_ns else 1
    out = np.zeros((bins, 6, 6), np.int64)
    add_pair_sums(out, src, dst, size, t_ns, group_of, start_ns=100, bin_ns=bin_ns)
    expected = reference_pair_sums(bins, 6, src, dst, size, t_ns, group_of, 100, bin_ns)
    np.testing.assert_array_equal(out, expected)


def test_pair_sums_of_two_batches_add_up():
    group_of = np.array([0, 1], np.int32)
    out = np.zeros((1, 2, 2), np.int64)
    for size in (100, 2**31 - 1):  # a sum that int32 could not hold
        batch = (
            np.array([0], np.int32),
            np.array([1], np.int32),
            np.array([size], np.int32),
            np.zeros(1, np.int64),
        )
        add_pair_sums(out, *batch, group_of)
    assert out[0].tolist() == [[0, 2**31 + 99], [0, 0]]


def test_rows_outside_the_bins_count_at_the_ends():
    zeros = np.zeros(3, np.int32)
    out = np.zeros((2, 1, 1), np.int64)
    times = np.array([-5, 15, 99], np.int64)
    add_pair_sums(out, zeros, zeros, np.array([1, 10, 100], np.int32), times, zeros[:1], bin_ns=10)
    assert out[:, 0, 0].tolist() == [1, 110]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_expansion_equals_the_reference_and_conserves_bytes(seed):
    rng = np.random.default_rng(seed)
    groups, directions = 5, 7
    pairs = rng.integers(0, 10**9, (3, groups, groups)).astype(np.float64)
    lengths = rng.integers(0, 4, groups * groups)
    path_start = np.append(0, lengths.cumsum()).astype(np.int64)
    path_step = rng.integers(0, directions, path_start[-1]).astype(np.int32)
    out = expand_pairs(pairs, path_start, path_step, directions)
    np.testing.assert_array_equal(out, reference_expand(pairs, path_start, path_step, directions))
    assert out.sum() == (pairs.reshape(3, -1) * lengths).sum()


def test_the_billed_slot_of_a_month_is_the_8208th():
    month = np.random.default_rng(1).permutation(8640).astype(np.float64) + 1
    assert rank_percentile(month[np.newaxis], 0.95).tolist() == [8208.0]


@pytest.mark.parametrize(("n", "share"), [(1, 0.95), (7, 0.5), (100, 0.95), (64, 0.95), (10, 1.0)])
def test_percentile_is_the_nearest_rank(n, share):
    values = np.random.default_rng(n).random((3, n))
    expected = np.quantile(values, share, axis=1, method="inverted_cdf")
    np.testing.assert_array_equal(rank_percentile(values, share), expected)


def test_jain_index_is_one_for_equals_and_one_over_n_for_a_monopoly():
    assert jain_index(np.array([3.0, 3.0, 3.0])) == pytest.approx(1)
    assert jain_index(np.array([5.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)
    values = np.random.default_rng(3).random(50)
    assert jain_index(values) == pytest.approx(values.sum() ** 2 / (50 * (values**2).sum()))
    assert np.isnan(jain_index(np.zeros(2)))
