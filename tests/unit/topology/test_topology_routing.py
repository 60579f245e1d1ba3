"""The laws of routes, on random networks, against networkx and against simulations that share no code."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import small_topology
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import failures, interdomain, internal, internets, isps, pop

from testbed.topology.model import Isp, Link, Network
from testbed.topology.routes import Routes, unreachable_pairs
from testbed.topology.routing import all_paths, compute_routes

law = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
whole = internets()
damaged = internets().flatmap(lambda network: st.tuples(st.just(network), failures(network)))
of_one_isp = isps("a", 0, symmetric=False).map(
    lambda isp: Network("one", (Isp("a", 1, ""),), tuple(isp[0]), tuple(isp[1]))
)


def reached(network: Network, routes: Routes) -> Iterator[tuple[str, str]]:
    cut = set(unreachable_pairs(network, routes))
    for a in network.pops:
        for b in network.pops:
            if a != b and (a.id, b.id) not in cut:
                yield a.id, b.id


def isps_on_path(network: Network, routes: Routes, source: str, destination: str) -> tuple[str, ...]:
    path = [network.isp_of_pop(pop) for pop in routes.pops_on_path(source, destination)]
    return tuple(isp for n, isp in enumerate(path) if n == 0 or path[n - 1] != isp)


def parts_of(network: Network, failed: frozenset[str]) -> dict[str, int]:
    """PoP -> number of the connected part of its ISP, in the order of their first PoPs."""
    graph = nx.Graph()
    graph.add_nodes_from(pop.id for pop in network.pops)
    graph.add_edges_from(
        (link.a, link.b) for link in network.core_links if link.kind == "internal" and link.id not in failed
    )
    order = {pop.id: number for number, pop in enumerate(network.pops)}
    parts = sorted(nx.connected_components(graph), key=lambda pops: min(map(order.__getitem__, pops)))
    return {pop: number for number, pops in enumerate(parts) for pop in pops}


def shape(network: Network, routes: Routes, source: str, destination: str) -> str:
    """A letter for each link between ISPs on the way: up to a provider, across to a peer, down."""
    letters = ""
    here = source
    for step in routes.path(source, destination):
        link = network.link_by_id[step]
        if link.relationship == "peer-peer":
            letters += "a"
        elif link.relationship == "customer-provider":
            letters += "u" if link.a == here else "d"
        here = link.other(here)
    return letters


def thousandths(link: Link, end: str) -> int:
    return round(link.direction(end).weight * 1000)


def length_of(network: Network, routes: Routes, source: str, destination: str) -> int:
    ways = zip(routes.path(source, destination), routes.pops_on_path(source, destination), strict=False)
    return sum(thousandths(network.link_by_id[step], end) for step, end in ways)


@law
@given(damaged)
def test_no_route_visits_a_pop_twice_or_uses_a_failed_link(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = case
    routes = compute_routes(network, failed)
    for pair in reached(network, routes):
        visited = routes.pops_on_path(*pair)
        assert len(set(visited)) == len(visited)
        assert (visited[0], visited[-1]) == pair
        assert not failed & set(routes.path(*pair))
        for step, ends in zip(routes.path(*pair), pairwise(visited), strict=True):
            assert set(ends) == {network.link_by_id[step].a, network.link_by_id[step].b}


@law
@given(damaged)
def test_every_route_is_valley_free(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = case
    routes = compute_routes(network, failed)
    for pair in reached(network, routes):
        letters = shape(network, routes, *pair)
        assert letters.lstrip("u").removeprefix("a").strip("d") == "", letters


@law
@given(damaged)
def test_inside_an_isp_routes_are_as_short_as_networkx_finds(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = case
    routes = compute_routes(network, failed)
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(pop.id for pop in network.pops)
    for link in network.core_links:
        if link.kind == "internal" and link.id not in failed:
            graph.add_edge(link.a, link.b, weight=thousandths(link, link.a))
            graph.add_edge(link.b, link.a, weight=thousandths(link, link.b))
    for source, lengths in nx.all_pairs_dijkstra_path_length(graph):
        for there in network.pops:
            if there.isp == network.isp_of_pop(source):
                assert routes.reaches(source, there.id) == (there.id in lengths)
                if there.id in lengths:
                    assert length_of(network, routes, source, there.id) == lengths[there.id]


@law
@given(of_one_isp)
def test_of_equal_paths_the_one_whose_next_link_is_first_in_the_file_is_taken(network: Network) -> None:
    """All simple paths are tried; the choice is made again at every PoP."""
    routes = compute_routes(network)
    order = {link.id: number for number, link in enumerate(network.core_links)}

    def ways(here: str, destination: str, seen: frozenset[str]) -> Iterator[tuple[int, int]]:
        """(length, number of its first link) of every path that visits no PoP twice."""
        for link in network.core_links:
            if here in (link.a, link.b) and link.other(here) not in seen:
                cost, there = thousandths(link, here), link.other(here)
                if there == destination:
                    yield cost, order[link.id]
                else:
                    onward = ways(there, destination, seen | {there})
                    yield from ((cost + length, order[link.id]) for length, _ in onward)

    for source, destination in reached(network, routes):
        best = min(ways(source, destination, frozenset({source})))
        assert order[routes.path(source, destination)[0]] == best[1]


@law
@given(internets(symmetric=True))
def test_where_weights_are_alike_both_ways_lengths_are_too(network: Network) -> None:
    routes = compute_routes(network)
    for a, b in reached(network, routes):
        if network.isp_of_pop(a) == network.isp_of_pop(b):
            assert length_of(network, routes, a, b) == length_of(network, routes, b, a)


@law
@given(whole)
def test_who_reaches_is_reached(network: Network) -> None:
    """A valley-free path is valley-free backwards."""
    routes = compute_routes(network)
    for a, b in reached(network, routes):
        assert routes.reaches(b, a)


@law
@given(damaged)
def test_isps_choose_as_bgp_speakers_do_that_tell_each_other_until_nothing_changes(
    case: tuple[Network, frozenset[str]],
) -> None:
    network, failed = case
    routes = compute_routes(network, failed)
    part = parts_of(network, failed)
    chosen = told_until_stable(network, failed, part)
    for source in network.pops:
        for destination in network.pops:
            expected = chosen.get((part[source.id], part[destination.id]))
            if expected is None:
                assert not routes.reaches(source.id, destination.id)
            else:
                path = [part[pop] for pop in routes.pops_on_path(source.id, destination.id)]
                assert tuple(p for n, p in enumerate(path) if n == 0 or path[n - 1] != p) == expected


def told_until_stable(
    network: Network, failed: frozenset[str], part: dict[str, int]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """(part, destination part) -> parts on the way, by passing offers around: the protocol itself.

    Each connected part of an ISP is a speaker with the ISP's ASN and refuses paths that have it already.
    """
    isp = {number: network.isp_by_name[network.isp_of_pop(pop)] for pop, number in part.items()}
    neighbours: dict[tuple[int, int], int] = {}  # what the second is to the first: customer, peer, provider
    for link in network.core_links:
        if link.kind == "interdomain" and link.id not in failed:
            a, b = part[link.a], part[link.b]
            paid = link.relationship == "customer-provider"
            neighbours[a, b], neighbours[b, a] = (2, 0) if paid else (1, 1)
    own = {(number, number): (number,) for number in isp}
    chosen = own
    while True:
        offers: dict[tuple[int, int], list[tuple[int, int, int, tuple[int, ...]]]] = {}
        for (teller, destination), path in chosen.items():
            from_customer = len(path) == 1 or neighbours[teller, path[1]] == 0
            for (first, listener), kind in neighbours.items():
                known = any(isp[number] == isp[listener] for number in path)
                if first == teller and not known and (from_customer or kind == 0):
                    what = neighbours[listener, teller]
                    offer = (what, len(path), isp[teller].asn, (listener, *path))
                    offers.setdefault((listener, destination), []).append(offer)
        # Of two parts of one neighbour the first of the file: their numbers come next in the tuple.
        told = {pair: min(many)[3] for pair, many in offers.items()} | own
        if told == chosen:
            return chosen
        chosen = told


@law
@given(damaged)
def test_packets_leave_every_isp_by_the_exit_that_is_nearest_inside(
    case: tuple[Network, frozenset[str]],
) -> None:
    network, failed = case
    routes = compute_routes(network, failed)
    part = parts_of(network, failed)
    order = {link.id: number for number, link in enumerate(network.core_links)}
    for source, destination in reached(network, routes):
        if part[destination] == part[source]:
            continue
        towards = next(
            p for pop in routes.pops_on_path(source, destination) if (p := part[pop]) != part[source]
        )
        exits = []
        for link in network.core_links:
            for border in (link.a, link.b):
                pair = part[border], part[link.other(border)]
                if pair == (part[source], towards) and link.relationship and link.id not in failed:
                    exits.append((length_of(network, routes, source, border), order[link.id], link.id))
        crossed = [step for step in routes.path(source, destination) if network.link_by_id[step].relationship]
        assert crossed[0] == min(exits)[2]


@law
@given(damaged)
def test_the_csr_paths_are_the_paths(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = case
    routes = compute_routes(network, failed)
    paths, number = all_paths(routes), len(network.pops)
    assert len(paths.start) == number**2 + 1
    for i, source in enumerate(network.pops):
        for j, destination in enumerate(network.pops):
            row = paths.step[paths.start[i * number + j] : paths.start[i * number + j + 1]].tolist()
            if not routes.reaches(source.id, destination.id):
                assert row == []
                continue
            assert tuple(routes.links[step // 2] for step in row) == routes.path(source.id, destination.id)
            leaves = [routes.pops[routes.ends[step // 2, step % 2]] for step in row]
            assert leaves == list(routes.pops_on_path(source.id, destination.id)[:-1])


@law
@given(damaged)
def test_routes_survive_json(case: tuple[Network, frozenset[str]]) -> None:
    routes = compute_routes(*case)
    assert Routes.from_json(routes.to_json()) == routes


@settings(max_examples=50, deadline=None)
@given(whole)
def test_many_pops_in_threads_route_like_few(network: Network) -> None:
    """Forty copies side by side, more than the size from which threads share the work."""
    copies = 40
    pops = [
        pop(f"{item.isp}-{copy}", item.name, 1000 * copy + number)
        for copy in range(copies)
        for number, item in enumerate(network.pops)
    ]
    named = {item.id: f"{item.isp}-{{}}.{item.name}" for item in network.pops}
    many = Network(
        "copies",
        tuple(Isp(f"{isp.name}-{copy}", isp.asn, "") for copy in range(copies) for isp in network.isps),
        tuple(pops),
        tuple(
            Link(
                f"{link.id}-{copy}",
                link.kind,
                named[link.a].format(copy),
                named[link.b].format(copy),
                link.forward,
                link.backward,
                link.relationship,
            )
            for copy in range(copies)
            for link in network.core_links
        ),
    )
    one, all_of_them = compute_routes(network), compute_routes(many)
    size, links = len(network.pops), len(network.core_links)
    for copy in (0, copies // 2, copies - 1):
        block = all_of_them.next_step[size * copy :, size * copy :][:size, :size]
        expected = np.where(one.next_step < 0, -1, one.next_step + 2 * links * copy)
        assert np.array_equal(block, expected)
    assert np.count_nonzero(all_of_them.next_step >= 0) == copies * np.count_nonzero(one.next_step >= 0)


def test_a_customer_route_is_preferred_to_a_shorter_one_through_a_peer() -> None:
    # The destination is a customer's customer's customer of `big`, and a customer of its peer.
    names = ("big", "peer", "one", "two", "three")
    links = (
        interdomain("big.x", "peer.x", "peer-peer"),
        interdomain("one.x", "big.x", "customer-provider"),
        interdomain("two.x", "one.x", "customer-provider"),
        interdomain("three.x", "two.x", "customer-provider"),
        interdomain("three.x", "peer.x", "customer-provider"),
    )
    isps = tuple(Isp(name, number, "") for number, name in enumerate(names, 1))
    network = Network("t", isps, tuple(pop(name, "x", n) for n, name in enumerate(names)), links)
    routes = compute_routes(network)
    assert isps_on_path(network, routes, "big.x", "three.x") == ("big", "one", "two", "three")
    assert isps_on_path(network, routes, "peer.x", "two.x") == ("peer", "big", "one", "two")


def test_packets_leave_by_the_nearest_exit() -> None:
    isps = (Isp("a", 1, ""), Isp("b", 2, ""))
    pops = (pop("a", "west", 0), pop("a", "east", 1), pop("b", "west", 2), pop("b", "east", 3))
    links = (
        internal("a.west", "a.east", 10),
        internal("b.west", "b.east", 10),
        interdomain("a.west", "b.west", "peer-peer"),
        interdomain("a.east", "b.east", "peer-peer"),
    )
    routes = compute_routes(Network("hot potato", isps, pops, links))
    assert routes.path("a.east", "b.west") == ("a.east--b.east", "b.west--b.east")
    assert routes.path("b.west", "a.east") == ("a.west--b.west", "a.west--a.east")


def test_isps_that_pay_each_other_in_a_circle_are_refused_by_name() -> None:
    names = ("a", "b", "c")
    links = tuple(
        interdomain(f"{x}.x", f"{y}.x", "customer-provider") for x, y in (("a", "b"), ("b", "c"), ("c", "a"))
    )
    isps = tuple(Isp(name, number, "") for number, name in enumerate(names, 1))
    network = Network("circle", isps, tuple(pop(name, "x", n) for n, name in enumerate(names)), links)
    with pytest.raises(ValueError, match=r"pay each other in a circle .*: . pays . pays . pays ."):
        compute_routes(network)


def test_the_parts_of_a_split_isp_route_each_by_itself() -> None:
    # s and t buy from both a and b; when a falls apart, they still have its parts, and b between each other.
    pops = (pop("s", "x", 0), pop("a", "one", 1), pop("a", "two", 2), pop("t", "x", 3), pop("b", "x", 4))
    links = (
        internal("a.one", "a.two"),
        interdomain("s.x", "a.one", "customer-provider"),
        interdomain("t.x", "a.two", "customer-provider"),
        interdomain("s.x", "b.x", "customer-provider"),
        interdomain("t.x", "b.x", "customer-provider"),
    )
    isps = tuple(Isp(name, number, "") for number, name in enumerate(("s", "a", "t", "b"), 1))
    network = Network("split", isps, pops, links)
    assert isps_on_path(network, compute_routes(network), "s.x", "t.x") == ("s", "a", "t")
    routes = compute_routes(network, frozenset({"a.one--a.two"}))
    assert isps_on_path(network, routes, "s.x", "t.x") == ("s", "b", "t")
    assert routes.reaches("s.x", "a.one")
    assert not routes.reaches("s.x", "a.two")
    # An ISP refuses paths that have its own ASN, so that its parts do not reach each other over others.
    top = Isp("top", 9, "")
    up = tuple(interdomain(f"a.{end}", "top.x", "customer-provider") for end in ("one", "two"))
    above = Network("split", (*isps, top), (*pops, pop("top", "x", 5)), (*links, *up))
    routes = compute_routes(above, frozenset({"a.one--a.two"}))
    assert isps_on_path(above, routes, "top.x", "t.x") == ("top", "a", "t")
    assert not routes.reaches("a.one", "a.two")
    assert not routes.reaches("a.one", "t.x")


def test_a_failed_link_moves_traffic_or_cuts_it_off(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    assert unreachable_pairs(network, compute_routes(network)) == []
    cut = compute_routes(network, frozenset({"right.only--carrier.edge"}))
    assert ("left.two", "right.only") in unreachable_pairs(network, cut)
    assert cut.path("left.two", "carrier.edge")
    with pytest.raises(KeyError):
        cut.path("left.two", "right.only")
