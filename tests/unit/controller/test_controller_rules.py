"""The programs of the switches, interpreted packet by packet without a switch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import Literal

import networkx as nx
import pytest
import random_networks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import failures, interdomain, internal, internets, isps
from rule_interpreter import Fabric, Walk, addressed, ip_packet, matching

from testbed.controller.openflow import IP_TCP, IP_UDP, DecTtl, Output, Program, SetField
from testbed.controller.rules import (
    ADMIT,
    ANSWER_TTL,
    BITTORRENT_PORT,
    METER_IN,
    METER_OUT,
    NOT_IP,
    ROUTE,
    TTL_METER,
    UNROUTED,
    Throttle,
    TrafficClass,
    pair_source,
    port_numbers,
    switch_programs,
)
from testbed.spec.topology import load_topology
from testbed.topology.compile import HostRequest, compile_network
from testbed.topology.model import Direction, Host, Isp, Link, Network, Relationship
from testbed.topology.routes import Routes
from testbed.topology.routing import compute_routes

SHIPPED = sorted((Path(__file__).parents[3] / "topologies").glob("*.yaml"))
LARGE = {"isp-a", "isp-b", "isp-c"}
law = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
networks = internets(most_isps=4).map(addressed)
of_one_isp = isps("a", 0, symmetric=False).map(
    lambda isp: addressed(Network("one", (Isp("a", 1, ""),), tuple(isp[0]), tuple(isp[1])))
)
damaged = networks.flatmap(lambda network: st.tuples(st.just(network), failures(network)))

BITTORRENT = TrafficClass((IP_TCP, IP_UDP), BITTORRENT_PORT)
ALL = TrafficClass()


@cache
def shipped(path: Path) -> Network:
    """A shipped topology with a host at every PoP."""
    spec = load_topology(path)[0]
    access = next(iter(spec.access), None) or "cable"
    pops = compile_network(spec).pops
    return compile_network(spec, [HostRequest(pop.id, "leecher", access) for pop in pops])


def gao_network(core: list[tuple[str, str]], isps_: str = "abc") -> Network:
    """ISPs of one letter with the PoPs that links name; between ISPs the first end is the customer."""
    names = sorted({end for ends in core for end in ends})
    pops = tuple(random_networks.pop(name[0], name[2:], number) for number, name in enumerate(names))
    paid: Relationship = "customer-provider"
    links = tuple(internal(a, b) if a[0] == b[0] else interdomain(a, b, paid) for a, b in core)
    isps_found = tuple(Isp(name, 65000 + n, "") for n, name in enumerate(isps_))
    return addressed(Network("drawn", isps_found, pops, links), hosts_per_pop=2)


RING = gao_network([("a.0", "a.1"), ("a.1", "a.2"), ("a.2", "a.3"), ("a.3", "a.0")], "a")
_TRIANGLE = [("a.0", "a.1"), ("a.1", "a.2"), ("a.0", "a.2")]
TWO_EXITS = gao_network(
    [*_TRIANGLE, ("b.0", "b.1"), ("a.0", "b.0"), ("a.2", "b.1"), ("c.0", "b.0")],
)


def hosts_of_pops(network: Network) -> Iterator[tuple[Host, Host]]:
    """A host of every PoP with a host of every other."""
    first = {host.pop: host for host in reversed(network.hosts)}
    return ((a, b) for a in first.values() for b in first.values() if a is not b)


def check_delivery(network: Network, failed: frozenset[str] = frozenset()) -> None:
    """Programs for the failed links carry packets along the routes, and to nowhere else."""
    routes = compute_routes(network, failed)
    fabric = Fabric(network, switch_programs(network, routes, failed), cut=failed)
    for source, target in hosts_of_pops(network):
        walk = fabric.send(source, ip_packet(source.ip, target.ip))
        if not routes.reaches(source.pop, target.pop):
            assert walk.dropped == "no action", (source, target, walk)
            assert walk.counted[-1] == (walk.pops[-1], UNROUTED)
            continue
        check_arrival(network, walk, target)
        assert tuple(walk.pops) == routes.pops_on_path(source.pop, target.pop)
        assert tuple(walk.links[:-1]) == routes.path(source.pop, target.pop)


def check_arrival(network: Network, walk: Walk, target: Host) -> None:
    """The host got it, addressed to it, with a TTL that counts the switches, and one count of its ISP."""
    assert walk.host == target.id, walk
    assert walk.packet["eth_dst"] == target.mac
    assert walk.packet["eth_src"] == network.pop_by_id[target.pop].gateway_mac
    assert walk.packet["nw_ttl"] == 64 - len(walk.pops)
    source = next(isp.name for isp in network.isps if within(walk.packet["ipv4_src"], isp.prefix))
    assert [(pop, pair_source(name)) for pop, name in walk.counted] == [(target.pop, source)]


def within(address: str, prefix: str) -> bool:
    return IPv4Address(address) in IPv4Network(prefix)


def check_cut(
    network: Network, cut: str, failed: frozenset[str] = frozenset(), routes: Routes | None = None
) -> int:
    """With the programs from before the cut, packets that met the link arrive where there is a way around.

    Returns how many packets met the cut.
    """
    routes = routes or compute_routes(network, failed)
    fabric = Fabric(network, switch_programs(network, routes, failed), cut={*failed, cut})
    link = network.link_by_id[cut]
    whole = connected(network, link.kind, {*failed, cut}, link.a, link.b)
    met = 0
    for source, target in hosts_of_pops(network):
        if not routes.reaches(source.pop, target.pop) or cut not in routes.path(source.pop, target.pop):
            continue
        met += 1
        walk = fabric.send(source, ip_packet(source.ip, target.ip))
        if whole:
            check_arrival(network, walk, target)
            assert cut not in walk.links
        else:
            assert walk.dropped == "port down", (source, target, walk)
            assert not walk.counted
    return met


def connected(network: Network, kind: str, without: Collection[str], a: str, b: str) -> bool:
    """Whether an ISP joins the two by other links than these."""
    if kind != "internal":
        return False
    graph = nx.Graph()
    graph.add_nodes_from((a, b))
    graph.add_edges_from(
        (link.a, link.b) for link in network.links if link.kind == "internal" and link.id not in without
    )
    return bool(nx.has_path(graph, a, b))


@law
@given(networks)
def test_every_pop_reaches_every_other_along_its_route(network: Network) -> None:
    check_delivery(network)


@law
@given(damaged)
def test_programs_for_failed_links_reach_who_can_be_reached(case: tuple[Network, frozenset[str]]) -> None:
    check_delivery(*case)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_topologies_deliver(path: Path) -> None:
    check_delivery(shipped(path))


@pytest.mark.parametrize("cut", [link.id for link in RING.core_links])
def test_a_ring_that_is_cut_delivers_all_the_same(cut: str) -> None:
    assert check_cut(RING, cut) > 0


@law
@given(of_one_isp, st.data())
def test_whoever_met_a_cut_link_arrives_where_the_isp_has_a_way_around(
    network: Network, data: st.DataObject
) -> None:
    if network.core_links:
        check_cut(network, data.draw(st.sampled_from(network.core_links)).id)


@law
@given(damaged, st.data())
def test_detours_hold_between_isps_and_after_other_failures(
    case: tuple[Network, frozenset[str]], data: st.DataObject
) -> None:
    network, failed = case
    left = [link.id for link in network.core_links if link.id not in failed]
    if left:
        check_cut(network, data.draw(st.sampled_from(left)), failed)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_cut_of_a_shipped_topology_is_passed_by(path: Path) -> None:
    network = shipped(path)
    routes = compute_routes(network)
    links = network.core_links[:: 9 if path.stem in LARGE else 1]  # all of the large take a minute
    assert sum(check_cut(network, link.id, routes=routes) for link in links) > 0


def test_a_cut_between_isps_waits_for_the_controller() -> None:
    cut = "a.0--b.0"
    walk = Fabric(TWO_EXITS, programs_of(TWO_EXITS), cut={cut}).send(
        TWO_EXITS.host_by_id["a.0.leecher0"], ip_packet("10.0.0.2", "10.1.0.2")
    )
    assert walk.dropped == "port down"
    assert walk.links == [cut]


def programs_of(
    network: Network, failed: frozenset[str] = frozenset(), **more: object
) -> Mapping[str, Program]:
    return switch_programs(network, compute_routes(network, failed), failed, **more)  # type: ignore[arg-type]


def formula(network: Network, routes: Routes, failed: Collection[str], pop: str) -> int:
    """The docstring of `switch_programs`, counted without its code."""
    own = network.isp_of_pop(pop)
    hosts = sum(host.pop == pop for host in network.hosts)
    count = 8 + len(network.isps) + passing(network, failed, pop) + hosts
    towards = routes.next_links(pop)
    for isp in network.isps:
        others = [other.id for other in network.pops if other.isp == isp.name and other.id != pop]
        ways = [towards[other] for other in others if other in towards]
        if isp.name == own or len(ways) < len(others):
            count += len(ways)
        elif ways:
            count += 1 + len(ways) - max(Counter(ways).values())
    return count


def passing(network: Network, failed: Collection[str], pop: str) -> int:
    """How many detours pass the PoP in between: those whose shortest path is not shorter without it.

    Where several are as short as each other, the detour may be any of them: networks for this have none.
    """
    graph = nx.MultiDiGraph()
    links = [link for link in network.links if link.kind == "internal" and link.id not in failed]
    for link in links:
        graph.add_edge(link.a, link.b, key=link.id, weight=link.forward.weight)
        graph.add_edge(link.b, link.a, key=link.id, weight=link.backward.weight)
    found = 0
    for link in links:
        for source, target in ((link.a, link.b), (link.b, link.a)):
            without = graph.copy()
            without.remove_edges_from([(link.a, link.b, link.id), (link.b, link.a, link.id)])
            if nx.has_path(without, source, target):
                found += pop in nx.dijkstra_path(without, source, target)[1:-1]
    return found


def with_distinct_paths(network: Network) -> Network:
    """Weights of which no two sums are equal, so that shortest paths are unique."""
    distinct = (1 + 2.0**-number for number in range(1, 50))

    def link(old: Link) -> Link:
        if old.kind != "internal":
            return old
        ways = (Direction(10**6, 0.0, next(distinct)) for _ in range(2))
        return Link(old.id, old.kind, old.a, old.b, *ways)

    return replace(network, links=tuple(link(old) for old in network.links))


few = internets(most_isps=3).map(addressed).filter(lambda network: len(network.core_links) <= 24)


@law
@given(few.flatmap(lambda network: st.tuples(st.just(network), failures(network))))
def test_a_switch_has_as_many_rules_as_the_formula_says(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = with_distinct_paths(case[0]), case[1]
    routes = compute_routes(network, failed)
    programs = switch_programs(network, routes, failed)
    for pop, program in programs.items():
        assert len(program.rules) == formula(network, routes, failed, pop)


@law
@given(damaged)
def test_rules_of_a_switch_differ_in_cookie_and_in_match(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = case
    throttles = [
        Throttle(f"{number}", 2 + number, pop.id, traffic, direction, 10**6)
        for pop in network.pops
        for number, (traffic, direction) in enumerate(EVERY_CLASS)
    ]
    for program in programs_of(network, failed, throttles=throttles).values():
        check_distinct(program)
        assert len({group.id for group in program.groups}) == len(program.groups)


def check_distinct(program: Program) -> None:
    for names in ([rule.cookie for rule in program.rules], [_place(rule) for rule in program.rules]):
        assert len(set(names)) == len(names)


def _place(rule: object) -> tuple[object, ...]:
    return rule.table, rule.priority, frozenset(rule.match)  # type: ignore[attr-defined]


EVERY_CLASS: list[tuple[TrafficClass, Literal["out", "in"]]] = [
    (ALL, "out"),
    (ALL, "in"),
    (BITTORRENT, "out"),
    (BITTORRENT, "in"),
    (TrafficClass((IP_TCP,), 80), "out"),
    (TrafficClass((IP_UDP,), 80), "in"),
]


def test_the_same_network_makes_the_same_cookies_and_groups() -> None:
    assert programs_of(TWO_EXITS) == programs_of(TWO_EXITS)
    kinds = {rule.cookie >> 56 for program in programs_of(TWO_EXITS).values() for rule in program.rules}
    assert kinds == {0x01, 0xC0}


def test_the_longest_prefix_wins_in_whatever_order_the_rules_are() -> None:
    # By hand, so that PoPs of b are left for by different links whatever the exit policy is.
    network = gao_network([("b.0", "a.0"), ("b.1", "a.0"), ("b.0", "b.1"), ("b.0", "b.2")], "ab")
    first, second = "b.0--a.0", "b.1--a.0"
    ends = {link.id: [link.a, link.b] for link in network.core_links}
    hops: dict[str, dict[str, str]] = {pop.id: {} for pop in network.pops}
    hops["a.0"] = {"b.0": first, "b.1": second, "b.2": first}
    program = switch_programs(network, Routes.from_json({"next_link": hops, "ends": ends}))["a.0"]
    ports = port_numbers(network)["a.0"]
    for address, link in (("10.1.0.2", first), ("10.1.1.2", second), ("10.1.2.3", first)):
        best, *rest = matching(program, ROUTE, ip_packet("10.0.0.2", address))
        assert best.actions[-1] == Output(ports[link])
        assert all(rule.priority < best.priority for rule in rest)
    prefixes = [dict(rule.match)["ipv4_dst"] for rule in program.rules if rule.table == ROUTE and rule.match]
    assert sorted(prefixes) == ["10.0.0.2/32", "10.0.0.3/32", "10.1.0.0/16", "10.1.1.0/24"]


def test_ports_of_the_core_come_first_and_do_not_depend_on_hosts() -> None:
    bare = replace(RING, links=RING.core_links, hosts=())
    for pop, ports in port_numbers(bare).items():
        assert list(ports.values()) == [1, 2]
        assert port_numbers(RING)[pop].items() >= ports.items()
        assert sorted(port_numbers(RING)[pop].values()) == [1, 2, 3, 4]


# What a packet meets on its way.


def test_two_hosts_of_one_pop_reach_each_other() -> None:
    one, two = (RING.host_by_id[f"a.0.leecher{n}"] for n in range(2))
    walk = Fabric(RING, programs_of(RING)).send(one, ip_packet(one.ip, two.ip))
    check_arrival(RING, walk, two)
    assert walk.pops == ["a.0"]


@pytest.mark.parametrize("target", ["10.0.0.200", "10.9.0.2", "192.0.2.1", "255.255.255.255", "224.0.0.251"])
def test_what_is_for_nobody_is_dropped_and_counted(target: str) -> None:
    host = TWO_EXITS.host_by_id["a.0.leecher0"]
    walk = Fabric(TWO_EXITS, programs_of(TWO_EXITS)).send(host, ip_packet(host.ip, target))
    assert walk.dropped == "no action"
    assert walk.counted[-1] == (walk.pops[-1], UNROUTED)


@pytest.mark.parametrize("eth_type", [0x86DD, 0x88CC, 0x0806])
def test_what_is_not_ip_is_dropped_and_counted(eth_type: int) -> None:
    host = RING.hosts[0]
    walk = Fabric(RING, programs_of(RING)).send(host, {"eth_type": eth_type})
    assert walk.dropped == "no action"
    assert walk.counted == [(host.pop, NOT_IP)]


def test_arp_for_the_gateway_is_answered_through_the_port_it_came_by() -> None:
    host, pop = RING.hosts[0], RING.pop_by_id[RING.hosts[0].pop]
    request = {"eth_type": 0x0806, "eth_dst": "ff:ff:ff:ff:ff:ff", "arp_op": 1, "arp_sha": host.mac}
    request |= {"arp_spa": host.ip, "arp_tha": "00:00:00:00:00:00", "arp_tpa": pop.gateway_ip}
    fabric = Fabric(RING, programs_of(RING))
    answer = fabric.send(host, request)
    assert answer.host == host.id
    assert answer.packet == {
        **{"eth_type": 0x0806, "eth_src": pop.gateway_mac, "eth_dst": host.mac, "arp_op": 2},
        **{"arp_sha": pop.gateway_mac, "arp_spa": pop.gateway_ip, "arp_tha": host.mac, "arp_tpa": host.ip},
    }
    other = RING.pop_by_id["a.1"].gateway_ip
    assert fabric.send(host, {**request, "arp_tpa": other}).dropped == "no action"


@law
@given(networks)
def test_every_gateway_answers_pings_of_all_who_reach_it(network: Network) -> None:
    routes = compute_routes(network)
    fabric = Fabric(network, switch_programs(network, routes))
    for source, target in [*hosts_of_pops(network), *((host, host) for host in network.hosts)]:
        gateway = network.pop_by_id[target.pop].gateway_ip
        walk = fabric.send(source, ip_packet(source.ip, gateway, ip_proto=1, icmpv4_type=8))
        if routes.reaches(source.pop, target.pop) and routes.reaches(target.pop, source.pop):
            assert walk.host == source.id
            assert (walk.packet["ipv4_src"], walk.packet["icmpv4_type"]) == (gateway, 0)
            back = len(routes.path(target.pop, source.pop)) + 1
            assert walk.packet["nw_ttl"] == ANSWER_TTL + 1 - back


@law
@given(networks)
def test_the_ttl_ends_at_each_pop_of_the_way_in_turn(network: Network) -> None:
    routes = compute_routes(network)
    fabric = Fabric(network, switch_programs(network, routes))
    for source, target in hosts_of_pops(network):
        if routes.reaches(source.pop, target.pop):
            for ttl, pop in enumerate(routes.pops_on_path(source.pop, target.pop), 1):
                walk = fabric.send(source, ip_packet(source.ip, target.ip, ttl))
                assert walk.controller == pop
                assert walk.metered == [(pop, TTL_METER)]
                assert not walk.counted


def test_a_packet_without_a_ttl_is_forwarded_by_nobody() -> None:
    one, two = RING.host_by_id["a.0.leecher0"], RING.host_by_id["a.1.leecher0"]
    assert Fabric(RING, programs_of(RING)).send(one, ip_packet(one.ip, two.ip, 0)).dropped == "ttl"


def test_the_ttl_ends_on_a_detour_as_well() -> None:
    one, two = RING.host_by_id["a.0.leecher0"], RING.host_by_id["a.1.leecher0"]
    fabric = Fabric(RING, programs_of(RING), cut={"a.0--a.1"})
    for ttl, pop in enumerate(["a.0", "a.3", "a.2", "a.1"], 1):
        assert fabric.send(one, ip_packet(one.ip, two.ip, ttl)).controller == pop


# Throttles.


def throttled(*throttles: Throttle) -> Fabric:
    return Fabric(TWO_EXITS, programs_of(TWO_EXITS, throttles=throttles))


def tcp(port: int, end: str = "dst") -> dict[str, int]:
    other = "src" if end == "dst" else "dst"
    return {"ip_proto": IP_TCP, f"tcp_{end}": port, f"tcp_{other}": 50000}


@pytest.mark.parametrize("end", ["dst", "src"])
def test_classes_and_directions_end_in_their_meters(end: str) -> None:
    here, there = TWO_EXITS.host_by_id["a.0.leecher0"], TWO_EXITS.host_by_id["b.1.leecher0"]
    pops = {"out": here.pop, "in": there.pop}
    fabric = throttled(
        *(
            Throttle(f"{number}", 2 + number, pops[direction], traffic, direction, 10**6)
            for number, (traffic, direction) in enumerate(EVERY_CLASS)
        )
    )

    def meters(**fields: int) -> list[tuple[str, int]]:
        walk = fabric.send(here, ip_packet(here.ip, there.ip, **fields))
        check_arrival(TWO_EXITS, walk, there)
        return walk.metered

    assert meters(**tcp(BITTORRENT_PORT, end)) == [(here.pop, 4), (there.pop, 5)]
    assert meters(**tcp(80, end)) == [(here.pop, 6), (there.pop, 3)]
    assert meters(**tcp(81, end)) == [(here.pop, 2), (there.pop, 3)]
    udp = {"ip_proto": IP_UDP, f"udp_{end}": 80, f"udp_{'src' if end == 'dst' else 'dst'}": 5}
    assert meters(**udp) == [(here.pop, 2), (there.pop, 7)]
    assert meters(ip_proto=1, icmpv4_type=8) == [(here.pop, 2), (there.pop, 3)]
    back = fabric.send(there, ip_packet(there.ip, here.ip, **tcp(80, end)))
    assert back.metered == []


def test_who_only_passes_a_throttled_pop_is_not_throttled() -> None:
    line = gao_network([("a.0", "a.1"), ("a.1", "a.2")], "a")
    throttles = [Throttle(d, n, "a.1", ALL, d, 10**6) for n, d in ((2, "out"), (3, "in"))]  # type: ignore[arg-type]
    fabric = Fabric(line, programs_of(line, throttles=throttles))
    one, two, three = (line.host_by_id[f"a.{n}.leecher0"] for n in range(3))
    assert fabric.send(one, ip_packet(one.ip, three.ip)).metered == []
    assert fabric.send(one, ip_packet(one.ip, two.ip)).metered == [("a.1", 3)]
    assert fabric.send(two, ip_packet(two.ip, one.ip)).metered == [("a.1", 2)]


def test_hosts_of_one_pop_are_throttled_in_both_directions() -> None:
    throttles = [Throttle(d, n, "a.0", ALL, d, 10**6) for n, d in ((2, "out"), (3, "in"))]  # type: ignore[arg-type]
    one, two = (TWO_EXITS.host_by_id[f"a.0.leecher{n}"] for n in range(2))
    walk = throttled(*throttles).send(one, ip_packet(one.ip, two.ip))
    assert walk.metered == [("a.0", 2), ("a.0", 3)]


@pytest.mark.parametrize(("traffic", "rules"), [(ALL, 1), (BITTORRENT, 4), (TrafficClass((IP_UDP,), 53), 2)])
def test_a_throttle_adds_the_rules_of_its_class_where_it_is_and_nowhere_else(
    traffic: TrafficClass, rules: int
) -> None:
    before = programs_of(TWO_EXITS)
    after = programs_of(TWO_EXITS, throttles=[Throttle("slow", 2, "a.0", traffic, "in", 3_000_000)])
    assert len(after["a.0"].rules) == len(before["a.0"].rules) + rules
    (meter,) = (meter for meter in after["a.0"].meters if meter.id == 2)
    assert (meter.rate, meter.burst, meter.in_packets) == (3000, 375, False)
    assert all(after[pop] == before[pop] for pop in before if pop != "a.0")


@given(st.integers(1000, 10**12), st.integers(60, 262144))
def test_a_meters_bucket_holds_two_frames_and_fits_its_field(rate: int, frame: int) -> None:
    throttle = Throttle("slow", 2, "a.0", ALL, "out", rate)
    (meter,) = (
        meter
        for meter in programs_of(RING, throttles=[throttle], largest_frame_bytes=frame)["a.0"].meters
        if meter.id == 2
    )
    assert 1 <= meter.rate < 2**32
    assert abs(meter.rate * 1000 - rate) <= 500
    assert 2 * frame * 8 <= meter.burst * 1000 < 2**32 * 1000


def test_a_hop_is_written_with_both_addresses_before_it_is_sent() -> None:
    for pop, program in programs_of(TWO_EXITS).items():
        gateway = TWO_EXITS.pop_by_id[pop].gateway_mac
        lists = [rule.actions for rule in program.rules if rule.table == ROUTE and rule.actions]
        assert all(isinstance(actions[0], DecTtl) for actions in lists)
        lists += [bucket.actions for group in program.groups for bucket in group.buckets]
        for actions in lists:
            outputs = [n for n, action in enumerate(actions) if isinstance(action, Output)]
            for at in outputs:
                assert SetField("eth_src", gateway) in actions[:at]
                assert any(isinstance(a, SetField) and a.field == "eth_dst" for a in actions[:at])


def test_tables_are_passed_in_order() -> None:
    assert [*pairwise((ADMIT, METER_OUT, METER_IN, ROUTE))] == [(0, 1), (1, 2), (2, 3)]
    for program in programs_of(TWO_EXITS).values():
        assert all(rule.then is None or rule.then > rule.table for rule in program.rules)


def test_pairs_are_named_after_the_senders_isp_and_nothing_else_is() -> None:
    sources = [pair_source(rule.counts) for rule in programs_of(TWO_EXITS)["a.0"].rules if rule.counts]
    assert sources == ["a", "b", "c", None, None]
