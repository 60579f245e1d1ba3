"""The model of bytes on the wire, on numbers small enough to follow by hand."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.analysis.kernels import sent_again
from testbed.analysis.wire import lost_bytes, with_wasted


def test_wasted_bytes_came_from_the_neighbour_whose_count_exceeds_the_kept_blocks() -> None:
    kept = np.array([[0.0, 0.0, 100.0], [0.0, 0.0, 100.0], [0.0, 0.0, 0.0]])
    counted = np.array([[0.0, 0.0, 130.0], [0.0, 0.0, 100.0], [0.0, 0.0, 0.0]])
    with_all = with_wasted(kept, counted, wasted=np.array([0.0, 0.0, 40.0]))
    assert with_all[0, 2] == pytest.approx(140)  # the counts ended early: the record of 40 is the whole
    assert with_all[1, 2] == pytest.approx(100)


def test_wasted_bytes_without_counts_are_shared_as_the_kept_blocks() -> None:
    kept = np.array([[0.0, 300.0], [100.0, 0.0]])
    assert with_wasted(kept, np.zeros((2, 2)), np.array([10.0, 0.0]))[1, 0] == pytest.approx(110)


def test_a_switch_loses_at_least_what_its_queues_count_and_all_that_did_not_leave() -> None:
    # Directions 0 and 1 leave switch 0, direction 2 a host. 100 packets came, 88 left; queues counted 4 + 2.
    lost = lost_bytes(
        drops=np.array([4.0, 2.0, 5.0]),
        segment=np.array([1000.0, 500.0, 100.0]),
        arrived=np.array([100.0]),
        departed=np.array([88.0]),
        switch_of=np.array([0, 0, -1]),
    )
    assert lost.tolist() == [8 * 1000.0, 4 * 500.0, 500.0]


def test_what_is_lost_on_a_link_crossed_the_links_before_it_once_more() -> None:
    """One pair, host 0 at PoP 0 to host 1 at PoP 1, over directions 0, 1, 2; direction 3 is the last step."""
    pairs = np.array([[0.0, 1000.0], [0.0, 0.0]])
    start = np.array([0, 0, 3, 3, 3], np.int64)
    step = np.array([0, 1, 2], np.int32)
    lost_share = np.array([0.5, 0.0, 0.1, 0.2])
    again = sent_again(pairs, np.array([0, 1], np.int32), np.array([9, 3]), start, step, lost_share)
    # Lost at the last step: 200, which crossed 0, 1 and 2; lost at 2: 100 more, which crossed 0 and 1. What
    # direction 0 itself lost never crossed it.
    assert again.tolist() == [300.0, 300.0, 200.0, 0.0]
