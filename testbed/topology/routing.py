"""Routes as the Internet makes them: shortest paths inside an ISP, Gao-Rexford between ISPs. Pure.

A `Network` and a set of failed links come in; `Routes`, a next hop for each PoP and destination PoP, goes
out. Forwarding is by destination, so that the routes are what switches with prefix rules do.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.topology.model import Link, Network

# How an ISP came to know a route, best first (Gao and Rexford 2001: a customer pays, a peer is free, a
# provider costs).
_CUSTOMER, _PEER, _PROVIDER = 0, 1, 2


@dataclass(frozen=True)
class Routes:
    """`next_link[pop][destination pop]` is the link to take; a missing key means unreachable."""

    next_link: Mapping[str, Mapping[str, str]]
    ends: Mapping[str, tuple[str, str]]

    def path(self, source_pop: str, destination_pop: str) -> tuple[str, ...]:
        """Links from one PoP to another in order; () for the same PoP. Raises KeyError if unreachable."""
        links: list[str] = []
        here = source_pop
        while here != destination_pop:
            link = self.next_link[here][destination_pop]
            a, b = self.ends[link]
            links.append(link)
            here = b if here == a else a
        return tuple(links)

    def pops_on_path(self, source_pop: str, destination_pop: str) -> tuple[str, ...]:
        """The PoPs that a packet visits, both ends included. Raises KeyError if unreachable."""
        pops = [source_pop]
        for link in self.path(source_pop, destination_pop):
            a, b = self.ends[link]
            pops.append(b if pops[-1] == a else a)
        return tuple(pops)

    def to_json(self) -> dict[str, Any]:
        return {
            "next_link": {pop: dict(table) for pop, table in self.next_link.items()},
            "ends": {link: list(ends) for link, ends in self.ends.items()},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Routes:
        return Routes(data["next_link"], {link: (a, b) for link, (a, b) in data["ends"].items()})


def compute_routes(network: Network, failed: frozenset[str] = frozenset()) -> Routes:
    """Routes between all PoPs without the `failed` links (ids).

    Inside an ISP: least sum of routing weights, ties by the order of links in the file. Between ISPs: an
    ISP prefers a route from a customer, then from a peer, then from a provider, then the shortest AS path,
    then the lowest next ASN (Gao and Rexford, "Stable Internet Routing Without Global Coordination", 2001);
    the packet leaves by the exit that is nearest inside (hot potato).
    """
    links = [link for link in network.core_links if link.id not in failed]
    order = {link.id: index for index, link in enumerate(links)}
    inside: dict[str, list[Link]] = defaultdict(list)
    between: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for link in links:
        isp_a, isp_b = network.isp_of_pop(link.a), network.isp_of_pop(link.b)
        if link.kind == "internal":
            inside[isp_a].append(link)
        else:
            between[isp_a, isp_b].append(link)
            between[isp_b, isp_a].append(link)

    pops_of: dict[str, list[str]] = defaultdict(list)
    for pop in network.pops:
        pops_of[pop.isp].append(pop.id)

    distance: dict[str, dict[str, float]] = {}  # to each PoP, from each PoP of its ISP
    next_link: dict[str, dict[str, str]] = {pop.id: {} for pop in network.pops}
    for isp in network.isps:
        for destination in pops_of[isp.name]:
            distance[destination], hops = _towards(destination, inside[isp.name], order)
            for source, link_id in hops.items():
                next_link[source][destination] = link_id

    for destination_isp, next_isp in as_routes(network, failed).items():
        for isp_name, neighbour in next_isp.items():
            for source in pops_of[isp_name]:
                hop = _exit(
                    source, isp_name, between[isp_name, neighbour], distance, next_link, order, network
                )
                if hop is not None:
                    next_link[source].update(dict.fromkeys(pops_of[destination_isp], hop))
    reachable = _without_dead_ends(next_link, {link.id: (link.a, link.b) for link in links})
    return Routes(reachable, {link.id: (link.a, link.b) for link in network.core_links})


def unreachable_pairs(network: Network, routes: Routes) -> list[tuple[str, str]]:
    """Pairs of PoPs without a route, in the order of the file."""
    return [
        (source.id, destination.id)
        for source in network.pops
        for destination in network.pops
        if source.id != destination.id and destination.id not in routes.next_link[source.id]
    ]


def as_routes(network: Network, failed: frozenset[str] = frozenset()) -> dict[str, dict[str, str]]:
    """`result[destination ISP][ISP]` is the next ISP on the chosen, valley-free route."""
    asn = {isp.name: isp.asn for isp in network.isps}
    providers: dict[str, set[str]] = defaultdict(set)
    customers: dict[str, set[str]] = defaultdict(set)
    peers: dict[str, set[str]] = defaultdict(set)
    for link in network.core_links:
        if link.kind != "interdomain" or link.id in failed:
            continue
        isp_a, isp_b = network.isp_of_pop(link.a), network.isp_of_pop(link.b)
        if link.relationship == "customer-provider":
            providers[isp_a].add(isp_b)
            customers[isp_b].add(isp_a)
        else:
            peers[isp_a].add(isp_b)
            peers[isp_b].add(isp_a)

    return {isp.name: _routes_to(isp.name, asn, providers, customers, peers) for isp in network.isps}


def _routes_to(
    destination: str,
    asn: Mapping[str, int],
    providers: Mapping[str, set[str]],
    customers: Mapping[str, set[str]],
    peers: Mapping[str, set[str]],
) -> dict[str, str]:
    """The next ISP towards `destination` for each ISP that has a route."""
    # A route is (how it was learned, AS path length, ASN of the next ISP, next ISP); the smallest wins.
    best: dict[str, tuple[int, int, int, str]] = {destination: (-1, 0, 0, destination)}

    # Customer routes climb from the destination to its providers, breadth first.
    frontier = [destination]
    while frontier:
        offers: dict[str, tuple[int, int, int, str]] = {}
        for isp in frontier:
            for provider in providers.get(isp, ()):
                offer = (_CUSTOMER, best[isp][1] + 1, asn[isp], isp)
                if provider not in best and (provider not in offers or offer < offers[provider]):
                    offers[provider] = offer
        best.update(offers)
        frontier = list(offers)

    # An ISP tells its peers only what it has from customers (or itself), so this is one step.
    with_customer_route = list(best)
    offers = {}
    for isp in with_customer_route:
        for peer in peers.get(isp, ()):
            offer = (_PEER, best[isp][1] + 1, asn[isp], isp)
            if peer not in best and (peer not in offers or offer < offers[peer]):
                offers[peer] = offer
    best.update(offers)

    # Everyone tells customers the best that it has; shortest first, as in Dijkstra's algorithm.
    heap = [(route[1], asn[isp], isp) for isp, route in best.items()]
    heapq.heapify(heap)
    while heap:
        length, _, isp = heapq.heappop(heap)
        if length > best[isp][1]:
            continue
        for customer in customers.get(isp, ()):
            offer = (_PROVIDER, length + 1, asn[isp], isp)
            if customer not in best or offer < best[customer]:
                best[customer] = offer
                heapq.heappush(heap, (offer[1], asn[customer], customer))
    return {isp: route[3] for isp, route in best.items() if isp != destination}


def _towards(
    destination: str, links: list[Link], order: Mapping[str, int]
) -> tuple[dict[str, float], dict[str, str]]:
    """Distance to `destination` of each PoP that reaches it over `links`, and its next link."""
    neighbours: dict[str, list[tuple[Link, str]]] = defaultdict(list)
    for link in links:
        neighbours[link.a].append((link, link.b))
        neighbours[link.b].append((link, link.a))
    distance = {destination: 0.0}
    heap = [(0.0, destination)]
    while heap:
        length, here = heapq.heappop(heap)
        if length > distance[here]:
            continue
        for link, there in neighbours[here]:
            candidate = length + link.weight
            if candidate < distance.get(there, float("inf")):
                distance[there] = candidate
                heapq.heappush(heap, (candidate, there))
    hops = {
        pop: min((link.weight + distance[there], order[link.id], link.id) for link, there in neighbours[pop])[
            2
        ]
        for pop in distance
        if pop != destination
    }
    return distance, hops


def _exit(
    source: str,
    isp: str,
    exits: list[Link],
    distance: Mapping[str, Mapping[str, float]],
    next_link: Mapping[str, Mapping[str, str]],
    order: Mapping[str, int],
    network: Network,
) -> str | None:
    """The next link from `source` towards the nearest of `exits`; None where it reaches none."""
    choices = []
    for link in exits:
        border = link.a if network.isp_of_pop(link.a) == isp else link.b
        if source in distance[border]:
            choices.append((distance[border][source], order[link.id], border, link.id))
    if not choices:
        return None
    _, _, border, link_id = min(choices)
    return link_id if border == source else next_link[source][border]


def _without_dead_ends(
    next_link: Mapping[str, Mapping[str, str]], ends: Mapping[str, tuple[str, str]]
) -> dict[str, dict[str, str]]:
    """Drop next hops that lead nowhere, as where an ISP on the way is split into parts by a failure."""
    good: dict[tuple[str, str], bool] = {}

    def arrives(pop: str, destination: str) -> bool:
        trail: list[str] = []
        while pop != destination and (pop, destination) not in good:
            trail.append(pop)
            link = next_link[pop].get(destination)
            if link is None:
                break
            a, b = ends[link]
            pop = b if pop == a else a
        result = pop == destination or good.get((pop, destination), False)
        good.update(dict.fromkeys(((step, destination) for step in trail), result))
        return result

    return {
        pop: {destination: link for destination, link in table.items() if arrives(pop, destination)}
        for pop, table in next_link.items()
    }
