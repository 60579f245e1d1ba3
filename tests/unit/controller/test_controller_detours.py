"""The way around each internal link: against networkx, which shares no code with it."""

from __future__ import annotations

from itertools import pairwise
from math import isclose

import networkx as nx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import failures, interdomain, internal, internets, pop
from rule_interpreter import addressed

from testbed.controller.detours import detours
from testbed.topology.model import Isp, Link, Network

law = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
damaged = internets().map(addressed).flatmap(lambda network: st.tuples(st.just(network), failures(network)))


def inside(network: Network, without: frozenset[str]) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(pop.id for pop in network.pops)
    for link in network.core_links:
        if link.kind == "internal" and link.id not in without:
            graph.add_edge(link.a, link.b, weight=link.forward.weight)
            graph.add_edge(link.b, link.a, weight=link.backward.weight)
    return graph


@law
@given(damaged)
def test_a_detour_is_the_shortest_way_inside_the_isp_without_the_link(
    case: tuple[Network, frozenset[str]],
) -> None:
    network, failed = case
    found = dict(detours(network, failed))
    for link in network.core_links:
        for source, target in ((link.a, link.b), (link.b, link.a)):
            graph = inside(network, failed | {link.id})
            if link.kind != "internal" or link.id in failed or not nx.has_path(graph, source, target):
                assert (link.id, source) not in found
                continue
            detour = found.pop((link.id, source))
            assert (detour.link, detour.source) == (link.id, source)
            assert not {link.id, *failed} & set(detour.links)
            pops = [source, *detour.between, target]
            assert len(set(pops)) == len(pops)
            assert len(detour.links) == len(pops) - 1
            length = 0.0
            for name, (here, there) in zip(detour.links, pairwise(pops), strict=True):
                step = network.link_by_id[name]
                assert step.kind == "internal"
                assert step.other(here) == there
                length += step.direction(here).weight
            assert isclose(length, nx.shortest_path_length(graph, source, target, "weight"))
    assert not found


@law
@given(damaged)
def test_labels_are_unique_and_nobodys_address(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = case
    labels = [detour.label for detour in detours(network, failed).values()]
    assert len(set(labels)) == len(labels)
    assert not set(labels) & {host.mac for host in network.hosts}
    assert not set(labels) & {pop.gateway_mac for pop in network.pops}
    for label in labels:
        octets = bytes.fromhex(label.replace(":", ""))
        assert len(octets) == 6
        assert octets[0] & 0b11 == 0b10, "locally administered, one receiver"


@law
@given(damaged)
def test_a_label_stays_when_other_links_fail(case: tuple[Network, frozenset[str]]) -> None:
    network, failed = case
    before = detours(network)
    for key, detour in detours(network, failed).items():
        assert detour.label == before[key].label


def drawn(*links: Link) -> Network:
    names = sorted({end for link in links for end in (link.a, link.b)})
    pops = tuple(pop(name[0], name[2:], number) for number, name in enumerate(names))
    return Network("drawn", (Isp("a", 1, ""), Isp("b", 2, "")), pops, links)


def test_of_parallel_links_each_is_the_others_detour() -> None:
    network = drawn(internal("a.0", "a.1"), internal("a.0", "a.1", nth=2))
    found = detours(network)
    assert {key: detour.links for key, detour in found.items()} == {
        ("a.0--a.1", "a.0"): ("a.0--a.1~2",),
        ("a.0--a.1", "a.1"): ("a.0--a.1~2",),
        ("a.0--a.1~2", "a.0"): ("a.0--a.1",),
        ("a.0--a.1~2", "a.1"): ("a.0--a.1",),
    }
    assert all(detour.between == () for detour in found.values())
    assert not detours(network, {"a.0--a.1~2"})


def test_of_parallel_links_on_the_way_the_lighter_is_taken() -> None:
    network = drawn(
        internal("a.0", "a.1"),
        internal("a.0", "a.2", 5.0),
        internal("a.2", "a.0", 1.0),
        internal("a.2", "a.1", 1.0),
    )
    assert detours(network)["a.0--a.1", "a.0"].links == ("a.2--a.0", "a.2--a.1")
    assert detours(network)["a.0--a.1", "a.1"].links == ("a.2--a.1", "a.2--a.0")


def test_of_equal_ways_the_first_of_the_file_is_taken() -> None:
    square = [internal("a.0", "a.1"), internal("a.0", "a.2"), internal("a.2", "a.1")]
    other = [internal("a.0", "a.3"), internal("a.3", "a.1")]
    assert detours(drawn(*square, *other))["a.0--a.1", "a.0"].between == ("a.2",)
    assert detours(drawn(square[0], *other, *square[1:]))["a.0--a.1", "a.0"].between == ("a.3",)


def test_a_way_through_another_isp_is_none() -> None:
    network = drawn(
        internal("a.0", "a.1"),
        interdomain("a.0", "b.0", "customer-provider"),
        interdomain("a.1", "b.0", "customer-provider"),
    )
    assert not detours(network)


def test_weights_count_in_the_direction_of_travel() -> None:
    network = drawn(
        internal("a.0", "a.1"),
        internal("a.0", "a.2", 1.0, 9.0),
        internal("a.2", "a.1", 1.0, 9.0),
        internal("a.0", "a.3", 2.0, 2.0),
        internal("a.3", "a.1", 2.0, 2.0),
    )
    found = detours(network)
    assert found["a.0--a.1", "a.0"].between == ("a.2",)
    assert found["a.0--a.1", "a.1"].between == ("a.3",)
