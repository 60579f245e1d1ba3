"""Which paths are measured before a trial, what they are to show, and when that is a reason for doubt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import small_topology
from synthetic_results import four_isps

from testbed.topology.model import Direction, Network
from testbed.topology.routing import compute_routes
from testbed.trial import preflight
from testbed.trial.preflight import Finding, Way, rate_finding, rtt_finding


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return small_topology.network(tmp_path)


def pings(network: Network) -> tuple[Way, ...]:
    return preflight.pings(network, compute_routes(network))


def transfers(network: Network) -> tuple[Way, ...]:
    return preflight.transfers(network, compute_routes(network))


def test_pings_pass_every_pop_and_the_longest_way_is_among_them() -> None:
    network = four_isps()
    ways = pings(network)
    assert len(ways) <= preflight.MOST_PINGS
    assert frozenset().union(*(way.pops for way in ways)) == {pop.id for pop in network.pops}
    routes = compute_routes(network)
    one_a_pop = [f"{pop.id}.leecher1" for pop in network.pops]
    longest = max(
        len(routes.path(a.rpartition(".")[0], b.rpartition(".")[0])) for a in one_a_pop for b in one_a_pop
    )
    # Every link between PoPs has 5 ms each way there.
    assert ways[0].rtt_s == pytest.approx(2 * longest * 0.005)


def test_pings_pass_every_access_profile(network: Network) -> None:
    accesses = {host.access for host in network.hosts}
    assert accesses == {"server", "line"}
    assert frozenset().union(*(way.accesses for way in pings(network))) == accesses


def test_transfers_share_no_link_and_cross_isps_first() -> None:
    ways = transfers(four_isps())
    assert 1 < len(ways) <= preflight.MOST_TRANSFERS
    assert sum(len(way.links) for way in ways) == len(frozenset().union(*(way.links for way in ways)))
    assert len(ways[0].isps) > 1


def test_many_hosts_are_sampled() -> None:
    assert len(transfers(four_isps(leechers_per_pop=50))) <= preflight.MOST_TRANSFERS


def test_a_way_has_the_delays_and_the_slowest_link_of_the_file(network: Network) -> None:
    way = next(way for way in pings(network) if "right.only" in way.pops)
    direction = network.link_by_id
    assert way.rtt_s > 2 * direction["right.only--carrier.edge"].forward.delay_s
    (wide,) = [way for way in transfers(network) if len(way.isps) > 1]
    # 5 Mbit/s between the ISPs; of a frame of 1514 bytes, 1448 are payload.
    assert wide.payload_bps == pytest.approx(5e6 * 1448 / 1514)


def test_a_path_that_loses_at_random_tells_no_rate(network: Network) -> None:
    lossy = tuple(
        replace(link, backward=replace(link.backward, loss=0.01)) if link.kind == "access" else link
        for link in network.links
    )
    assert transfers(replace(network, links=lossy)) == ()


def test_a_short_queue_on_a_long_path_tells_no_rate(network: Network) -> None:
    def shortened(direction: Direction) -> Direction:
        return replace(direction, queue_packets=1, delay_s=0.02)

    short = tuple(
        replace(link, forward=shortened(link.forward), backward=shortened(link.backward))
        for link in network.links
    )
    assert transfers(replace(network, links=short)) == ()


def test_faster_paths_than_this_machine_surely_carries_are_left_out(network: Network) -> None:
    fast = tuple(
        replace(
            link,
            forward=replace(link.forward, rate_bps=10**9),
            backward=replace(link.backward, rate_bps=10**9),
        )
        for link in network.links
    )
    assert transfers(replace(network, links=fast)) == ()


def test_one_host_alone_gives_nothing_to_measure(network: Network) -> None:
    alone = replace(network, hosts=network.hosts[:1])
    assert pings(alone) == transfers(alone) == ()


@pytest.mark.parametrize(
    ("measured_s", "words"),
    [
        (0.1039, ""),
        (0.0961, ""),
        (0.105, "a ping from a to b took 105.0 ms, and the links' delays there and back are 100.0 ms"),
        (0.09, "took 90.0 ms"),
        (None, "pings from a to b got no answer"),
    ],
)
def test_a_round_trip_that_is_off_says_both_values(measured_s: float | None, words: str) -> None:
    reason = Finding("rtt_s", "a", "b", 0.1, measured_s).reason
    assert words in reason
    assert bool(words) == bool(reason)


@pytest.mark.parametrize(
    ("measured_bps", "words"),
    [
        (5e6, ""),
        (4.8e6, ""),
        (5.2e6, ""),
        (4e6, "a transfer from a to b got 4 Mbit/s, and the slowest link on the way allows 5 Mbit/s"),
        (6e6, "got 6 Mbit/s"),
        (None, "nothing came through in a transfer from a to b"),
    ],
)
def test_a_rate_that_is_off_says_both_values(measured_bps: float | None, words: str) -> None:
    reason = Finding("rate_bps", "a", "b", 5e6, measured_bps).reason
    assert words in reason
    assert bool(words) == bool(reason)


def test_without_emulated_delays_a_ping_is_to_take_no_time(network: Network) -> None:
    way = pings(network)[0]
    assert rtt_finding(way, 0.001, delayed=False).reason == ""
    assert rtt_finding(way, 0.001, delayed=True).reason != ""
    assert rate_finding(way, way.payload_bps).reason == ""
