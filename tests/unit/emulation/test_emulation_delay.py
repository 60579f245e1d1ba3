"""The delay line's arithmetic: delays of paths, the lookup for a frame, the heap of frames that wait."""

from __future__ import annotations

import heapq
import ipaddress
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import random_networks
import small_topology
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from testbed.emulation.delay import kernel
from testbed.emulation.delay.line import LineCounters
from testbed.emulation.delay.process import _Line
from testbed.emulation.delay.table import (
    DelayTable,
    Forwarding,
    delay_table,
    fitted_forwarding,
    one_way,
)
from testbed.topology.model import Direction, Host, Link, Network
from testbed.topology.routes import Routes, crossed_between
from testbed.topology.routing import compute_routes


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return small_topology.network(tmp_path_factory.mktemp("topology"))


@pytest.fixture(scope="module")
def routes(network: Network) -> Routes:
    return compute_routes(network)


def frame(destination: str, kind: bytes = b"\x08\x00", ttl: int = 64) -> NDArray[np.uint8]:
    ethernet = bytes(12) + kind
    ip = bytes(8) + bytes([ttl]) + bytes(7) + ipaddress.IPv4Address(destination).packed
    return np.frombuffer(ethernet + ip + bytes(40), np.uint8)


def delay_ns(table: DelayTable, host: int, data: NDArray[np.uint8]) -> int:
    return int(kernel.delay_of(data, host, *vars(table).values()))


def test_a_frame_to_a_host_is_delayed_by_all_links_of_its_path(network: Network, routes: Routes) -> None:
    table = delay_table(network, routes)
    for number, source in enumerate(network.hosts):
        for target in network.hosts:
            wanted = one_way(network, routes, source.id, target.id).delay_s
            assert delay_ns(table, number, frame(target.ip)) == pytest.approx(wanted * 1e9, abs=3)
    # By hand: access lines of 2 ms at both ends, and 4 ms between the ISPs.
    carrier = sum(way.delay_s for _, way in crossed_between(network, routes, "carrier.edge", "carrier.hub"))
    there = one_way(network, routes, "right.only.leecher1", "carrier.hub.seed1")
    assert there.delay_s == pytest.approx(0.002 + 0.004 + carrier)
    assert there.switches == 3


def test_a_ping_to_a_gateway_takes_the_time_there_and_back_on_its_way_there(
    network: Network, routes: Routes
) -> None:
    table = delay_table(network, routes)
    source = network.host_by_id["right.only.leecher1"]
    number = network.hosts.index(source)
    gateway = network.pop_by_id["left.one"].gateway_ip
    seen = delay_ns(table, number, frame(gateway))
    server = "left.one.portal"  # its own access link has no delay
    both = one_way(network, routes, source.id, server), one_way(network, routes, server, source.id)
    assert seen == pytest.approx(sum(way.delay_s for way in both) * 1e9, abs=3)


@pytest.mark.parametrize(
    "data", [frame("192.0.2.1"), frame("10.1.1.2", b"\x08\x06"), frame("255.255.255.255"), frame("0.0.0.0")]
)
def test_what_the_table_does_not_know_takes_the_access_links_delay(
    network: Network, routes: Routes, data: NDArray[np.uint8]
) -> None:
    number = next(n for n, host in enumerate(network.hosts) if host.id == "left.two.leecher1")
    assert delay_ns(delay_table(network, routes), number, data) == 2_000_000


@st.composite
def networks_with_hosts(draw: st.DrawFn) -> Network:
    """Random ones whose links have delays, with a host at some PoPs."""
    bare = draw(random_networks.internets())
    delay_s = st.integers(0, 50).map(lambda number: number / 1000)

    def delayed(link: Link) -> Link:
        ways = (replace(way, delay_s=draw(delay_s)) for way in (link.forward, link.backward))
        return replace(link, **dict(zip(("forward", "backward"), ways, strict=True)))

    hosts, access = [], []
    for pop in draw(st.lists(st.sampled_from(bare.pops), min_size=1, max_size=4, unique_by=lambda p: p.id)):
        name, ip = f"{pop.id}.probe1", pop.gateway_ip.removesuffix(".1") + ".2"
        hosts.append(Host(name, pop.id, pop.isp, "probe", ip, "", "line", f"{name}--{pop.id}"))
        access.append(Link(hosts[-1].link, "access", name, pop.id, Direction(10**6), Direction(10**6)))
    links = tuple(delayed(link) for link in (*bare.links, *access))
    return replace(bare, links=links, hosts=tuple(hosts))


@settings(deadline=None)
@given(st.data())
def test_a_packet_whose_ttl_ends_on_the_way_takes_the_time_to_there_and_back(data: st.DataObject) -> None:
    network = data.draw(networks_with_hosts())
    routes = compute_routes(network, data.draw(random_networks.failures(network)))
    less = Forwarding(0.0, data.draw(st.sampled_from([0.0, 0.0002])))
    table = delay_table(network, routes, less)

    def core_s(source: str, target: str, switches: int | None = None) -> float:
        """What the links on the way to a PoP take, or to the first switches of it, less what those do."""
        if not routes.reaches(source, target):
            return 0.0
        links = [way.delay_s for _, way in crossed_between(network, routes, source, target)]
        switches = switches or len(links) + 1
        return sum(links[: switches - 1]) - less.hop_s * switches

    for number, source in enumerate(network.hosts):
        line = network.link_by_id[source.link]
        up_s, back_s = line.forward.delay_s, line.backward.delay_s
        gateways = [(pop.gateway_ip, pop.id, None) for pop in network.pops]
        for address, pop, host in [*gateways, *((host.ip, host.pop, host) for host in network.hosts)]:
            reached = routes.reaches(source.pop, pop)
            way = routes.pops_on_path(source.pop, pop) if reached else (source.pop,)
            for ttl in range(len(way) + 2):
                if ttl <= len(way):
                    switches = max(ttl, 1)
                    # The way to where it ends is part of the way that it was sent, and the way back its own.
                    there_s = core_s(source.pop, pop, switches) if reached else -less.hop_s
                    wanted_s = up_s + there_s + core_s(way[switches - 1], source.pop) + back_s
                elif host is None:
                    wanted_s = up_s + core_s(source.pop, pop) + core_s(pop, source.pop) + back_s
                else:
                    down_s = network.link_by_id[host.link].backward.delay_s
                    wanted_s = up_s + core_s(source.pop, pop) + down_s
                found_ns = delay_ns(table, number, frame(address, ttl=ttl))
                assert found_ns == pytest.approx(wanted_s * 1e9, abs=3), (source.id, address, ttl)


def test_a_hop_of_a_traceroute_takes_the_time_to_its_switch_and_back(
    network: Network, routes: Routes
) -> None:
    """By hand: an access line of 2 ms, 4 ms between the ISPs, the carrier's link, and so on."""
    table = delay_table(network, routes)
    source = network.host_by_id["right.only.leecher1"]
    number = network.hosts.index(source)
    target = network.host_by_id["left.two.leecher1"].ip
    carrier, between, left = (
        sum(way.delay_s for _, way in crossed_between(network, routes, *pops))
        for pops in (
            ("carrier.edge", "carrier.hub"),
            ("carrier.hub", "left.one"),
            ("left.one", "left.two"),
        )
    )
    seen = [delay_ns(table, number, frame(target, ttl=ttl)) / 1e9 for ttl in range(1, 8)]
    sums_s = np.cumsum([0.002, 0.004, carrier, between, left])
    assert seen == pytest.approx([*(2 * sums_s), sums_s[-1] + 0.002, sums_s[-1] + 0.002], abs=1e-8)


def test_what_forwarding_takes_comes_off_each_path_once(network: Network, routes: Routes) -> None:
    plain, less = delay_table(network, routes), delay_table(network, routes, Forwarding(50e-6, 100e-6))
    for number, source in enumerate(network.hosts):
        for target in network.hosts:
            data = frame(target.ip)
            switches = one_way(network, routes, source.id, target.id).switches
            difference = delay_ns(plain, number, data) - delay_ns(less, number, data)
            assert difference == pytest.approx(50_000 + 100_000 * switches, abs=3)


def test_a_table_follows_a_reroute_and_is_read_as_it_was_written(
    network: Network, routes: Routes, tmp_path: Path
) -> None:
    slow = {"left.one", "carrier.hub"}
    links = tuple(
        replace(link, forward=replace(link.forward, delay_s=0.5)) if {link.a, link.b} == slow else link
        for link in network.links
    )
    table = delay_table(replace(network, links=links), routes)
    table.save(tmp_path / "table.npz")
    read = DelayTable.load(tmp_path / "table.npz")
    assert list(vars(read)) == list(vars(table))
    pairs = zip(vars(table).values(), vars(read).values(), strict=True)
    assert all(np.array_equal(mine, other) for mine, other in pairs)
    number = next(n for n, host in enumerate(network.hosts) if host.id == "left.one.leecher1")
    seed = network.host_by_id["carrier.hub.seed1"]
    assert delay_ns(read, number, frame(seed.ip)) == pytest.approx(502_000_000, abs=3)


@settings(deadline=None)  # SciPy and numba take their time at the first call
@given(st.floats(0, 1e-3), st.floats(0, 1e-3))
def test_forwarding_is_found_from_what_it_makes_of_paths(base_s: float, hop_s: float) -> None:
    found = fitted_forwarding([(hops, base_s + hops * hop_s) for hops in (1, 1, 2, 4)])
    assert found.base_s == pytest.approx(base_s, abs=1e-9)
    assert found.hop_s == pytest.approx(hop_s, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=200))
def test_frames_leave_in_the_order_in_which_they_are_due_and_came(steps: list[tuple[bool, int]]) -> None:
    capacity = 16
    due, order = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
    slots = np.arange(capacity, dtype=np.int32)
    size, number = 0, 0
    waiting: list[tuple[int, int, int]] = []
    for put, moment in steps:
        if put and size < capacity:
            due[size], order[size] = moment, number
            heapq.heappush(waiting, (moment, number, int(slots[size])))
            size, number = size + 1, number + 1
            kernel.push(due, order, slots, size)
        elif size:
            assert (due[0], order[0], slots[0]) == heapq.heappop(waiting)
            kernel.pop(due, order, slots, size)
            size -= 1
        assert sorted(slots) == list(range(capacity))


def test_lateness_is_told_by_the_end_of_the_class_that_holds_the_share() -> None:
    none = (0,) * kernel.LATE_CLASSES
    late = (5, 0, 0, 90, 4, 1, *none[6:])
    counters = LineCounters(100, 0, 0, 0, late)
    before = LineCounters(0, 0, 0, 0, none)
    assert counters.late_s(0.5, before) == pytest.approx(8e-6)
    assert counters.late_s(0.99, before) == pytest.approx(16e-6)
    assert counters.late_s(1.0, before) == pytest.approx(32e-6)
    assert counters.late_s(0.99, counters) == 0.0


def test_a_switch_answers_after_the_delay_of_the_request_and_what_forwarding_takes() -> None:
    forwarding = Forwarding(base_s=0.001, hop_s=0.0002)
    assert forwarding.answer_s(0.020) == pytest.approx(0.0202)
    assert forwarding.answer_s(0.0) == pytest.approx(0.0012)  # no delay is negative


def test_a_line_that_cannot_wait_for_frames_says_so(network: Network, routes: Routes, tmp_path: Path) -> None:
    delay_table(network, routes).save(tmp_path / "table")
    np.zeros(kernel.COUNTERS, np.int64).tofile(tmp_path / "counters")
    line = _Line({"table": tmp_path / "table", "counters": tmp_path / "counters", "offload": False})
    os.close(line.epoll.fileno())
    with pytest.raises(OSError, match="epoll_pwait2"):
        line.relay()
