"""All rates of a network times a factor: what changes with it and what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import small_topology
from hypothesis import given
from hypothesis import strategies as st

from testbed.topology.model import Direction, Link, Network
from testbed.topology.scaling import SLOWEST_BPS, scaled


def one_link(way: Direction) -> Network:
    return Network("one", (), (), (Link("l", "internal", "a", "b", way, way),))


def test_rates_background_and_queues_in_bytes_follow_and_the_rest_stays() -> None:
    way = Direction(8_000_000, 0.02, 3.0, 2_000_000, loss=0.01, queue_bytes=100_000)
    (link,) = scaled(one_link(way), 0.25).links
    assert link.forward == replace(way, rate_bps=2_000_000, background_bps=500_000, queue_bytes=25_000)
    assert link.forward == link.backward


def test_queues_in_packets_and_default_ones_stay_as_they_are_written() -> None:
    counted = Direction(8_000_000, queue_packets=50)
    assert scaled(one_link(counted), 0.5).links[0].forward.queue_packets == 50
    assert scaled(one_link(Direction(8_000_000)), 0.5).links[0].forward.queue_bytes is None


def test_a_network_times_one_is_itself(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    assert scaled(network, 1) is network


@given(st.integers(1000, 10**10), st.floats(0.001, 1))
def test_no_link_gets_slower_than_may_be_written_nor_faster_than_it_was(rate_bps: int, factor: float) -> None:
    slower = scaled(one_link(Direction(rate_bps, queue_bytes=2000)), factor).links[0].forward
    assert SLOWEST_BPS <= slower.rate_bps <= rate_bps
    assert slower.queue_bytes is not None
    assert slower.queue_bytes >= 1514


def test_hosts_and_links_between_pops_are_scaled_alike(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    for link, before in zip(scaled(network, 0.5).links, network.links, strict=True):
        for end in (link.a, link.b):
            expected = pytest.approx(before.direction(end).rate_bps / 2)
            assert link.direction(end).rate_bps == expected
            assert link.direction(end).delay_s == before.direction(end).delay_s
