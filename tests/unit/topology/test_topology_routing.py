from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import networkx as nx
import small_topology
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.topology.model import Direction, Isp, Link, Network, Pop
from testbed.topology.routing import Routes, as_routes, compute_routes, unreachable_pairs


def pop(isp: str, name: str, number: int) -> Pop:
    return Pop(f"{isp}.{name}", isp, name, f"10.0.{number}.0/24", f"10.0.{number}.1", "", number)


def link(a: str, b: str, kind: str, weight: float = 1.0, relationship: str | None = None) -> Link:
    both = Direction(10**6)
    return Link(f"{a}--{b}", kind, a, b, both, both, weight, relationship)  # type: ignore[arg-type]


@st.composite
def internets(draw: st.DrawFn) -> Network:
    """ISPs with a ring of PoPs each; an ISP buys only from ISPs of lower number, so without a cycle."""
    isps = [f"isp{number}" for number in range(draw(st.integers(1, 6)))]
    sizes = {isp: draw(st.integers(1, 4)) for isp in isps}
    pops = [pop(isp, f"p{n}", len(isps) * n + i) for i, isp in enumerate(isps) for n in range(sizes[isp])]
    links = []
    for isp in isps:
        size = sizes[isp]
        for n in range(size if size > 2 else size - 1):
            weight = draw(st.integers(1, 5))
            links.append(link(f"{isp}.p{n}", f"{isp}.p{(n + 1) % size}", "internal", weight))
    for high, customer in enumerate(isps):
        for low in range(high):
            kind = draw(st.sampled_from(["none", "customer-provider", "peer-peer"]))
            if kind != "none":
                a = f"{customer}.p{draw(st.integers(0, sizes[customer] - 1))}"
                b = f"{isps[low]}.p{draw(st.integers(0, sizes[isps[low]] - 1))}"
                links.append(link(a, b, "interdomain", 1.0, kind))
    return Network(
        "random",
        tuple(Isp(isp, 100 + number, f"10.{number}.0.0/16") for number, isp in enumerate(isps)),
        tuple(pops),
        tuple(links),
    )


def isp_path(network: Network, routes: Routes, source: str, destination: str) -> list[str]:
    path = [network.isp_of_pop(pop) for pop in routes.pops_on_path(source, destination)]
    return [isp for n, isp in enumerate(path) if n == 0 or path[n - 1] != isp]


def steps(network: Network, path: list[str]) -> list[str]:
    """up (to a provider), across (to a peer) or down (to a customer), for each step between ISPs."""
    kinds: dict[tuple[str, str], str] = {}
    for link in network.core_links:
        a, b = network.isp_of_pop(link.a), network.isp_of_pop(link.b)
        if link.relationship == "customer-provider":
            kinds[a, b], kinds[b, a] = "up", "down"
        elif link.relationship == "peer-peer":
            kinds[a, b] = kinds[b, a] = "across"
    return [kinds[pair] for pair in pairwise(path)]


def reachable_pairs(network: Network, routes: Routes) -> list[tuple[str, str]]:
    cut = set(unreachable_pairs(network, routes))
    every = [(a.id, b.id) for a in network.pops for b in network.pops if a.id != b.id]
    return [pair for pair in every if pair not in cut]


@settings(max_examples=200, deadline=None)
@given(internets())
def test_no_route_has_a_loop(network: Network) -> None:
    routes = compute_routes(network)
    for pair in reachable_pairs(network, routes):
        visited = routes.pops_on_path(*pair)
        assert len(set(visited)) == len(visited)


@settings(max_examples=200, deadline=None)
@given(internets())
def test_every_route_between_isps_is_valley_free(network: Network) -> None:
    routes = compute_routes(network)
    for pair in reachable_pairs(network, routes):
        walk = steps(network, isp_path(network, routes, *pair))
        shape = "".join({"up": "u", "across": "a", "down": "d"}[step] for step in walk)
        ups = shape.lstrip("u")
        assert ups.removeprefix("a").strip("d") == "", walk


@settings(max_examples=200, deadline=None)
@given(internets())
def test_a_route_exists_exactly_where_a_valley_free_path_does(network: Network) -> None:
    """An independent oracle: reachability in the graph of (ISP, still climbing or already going down)."""
    graph = nx.DiGraph()
    for isp in network.isps:
        graph.add_edge((isp.name, "climb"), (isp.name, "descend"))
    for link in network.core_links:
        a, b = network.isp_of_pop(link.a), network.isp_of_pop(link.b)
        if link.relationship == "customer-provider":
            graph.add_edge((a, "climb"), (b, "climb"))
            graph.add_edge((b, "descend"), (a, "descend"))
        elif link.relationship == "peer-peer":
            graph.add_edge((a, "climb"), (b, "descend"))
            graph.add_edge((b, "climb"), (a, "descend"))
    chosen = as_routes(network)
    for source in network.isps:
        reached = {isp for isp, _ in nx.descendants(graph, (source.name, "climb"))}
        for destination in network.isps:
            if source != destination:
                assert (destination.name in reached) == (source.name in chosen[destination.name])


@settings(max_examples=200, deadline=None)
@given(internets())
def test_inside_an_isp_routes_are_as_short_as_dijkstra_finds(network: Network) -> None:
    routes = compute_routes(network)
    weight = {link.id: link.weight for link in network.core_links}
    graph = nx.Graph()
    graph.add_nodes_from(pop.id for pop in network.pops)
    for item in network.core_links:
        if item.kind == "internal":
            graph.add_edge(item.a, item.b, weight=item.weight)
    shortest = dict(nx.all_pairs_dijkstra_path_length(graph))
    for source, destination in reachable_pairs(network, routes):
        if network.isp_of_pop(source) == network.isp_of_pop(destination):
            length = sum(weight[step] for step in routes.path(source, destination))
            assert length == shortest[source][destination]


def test_a_customer_route_is_preferred_to_a_shorter_one_through_a_provider() -> None:
    # top sells to middle, middle to bottom; top also sells to bottom directly. Seen from middle, bottom is a
    # customer; seen from a peer of middle, it is reached through middle's customer route.
    isps = tuple(Isp(name, number, "") for number, name in enumerate(("top", "middle", "bottom"), 1))
    pops = tuple(pop(isp.name, "x", number) for number, isp in enumerate(isps))
    links = (
        link("middle.x", "top.x", "interdomain", 1, "customer-provider"),
        link("bottom.x", "middle.x", "interdomain", 1, "customer-provider"),
        link("bottom.x", "top.x", "interdomain", 1, "customer-provider"),
    )
    routes = compute_routes(Network("t", isps, pops, links))
    assert routes.path("middle.x", "bottom.x") == ("bottom.x--middle.x",)
    assert routes.path("top.x", "bottom.x") == ("bottom.x--top.x",)


def test_packets_leave_by_the_nearest_exit() -> None:
    isps = (Isp("a", 1, ""), Isp("b", 2, ""))
    pops = (pop("a", "west", 0), pop("a", "east", 1), pop("b", "west", 2), pop("b", "east", 3))
    links = (
        link("a.west", "a.east", "internal", 10),
        link("b.west", "b.east", "internal", 10),
        link("a.west", "b.west", "interdomain", 1, "peer-peer"),
        link("a.east", "b.east", "interdomain", 1, "peer-peer"),
    )
    routes = compute_routes(Network("hot potato", isps, pops, links))
    assert routes.path("a.east", "b.west") == ("a.east--b.east", "b.west--b.east")
    assert routes.path("b.west", "a.east") == ("a.west--b.west", "a.west--a.east")


def test_a_failed_link_moves_traffic_or_cuts_it_off(tmp_path: Path) -> None:
    network = small_topology.network(tmp_path)
    assert unreachable_pairs(network, compute_routes(network)) == []
    cut = compute_routes(network, frozenset({"right.only--carrier.edge"}))
    assert ("left.two", "right.only") in unreachable_pairs(network, cut)
    assert cut.path("left.two", "carrier.edge")


def test_routes_survive_json(tmp_path: Path) -> None:
    routes = compute_routes(small_topology.network(tmp_path))
    assert Routes.from_json(routes.to_json()) == routes
