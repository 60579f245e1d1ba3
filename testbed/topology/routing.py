"""Routes as the Internet makes them: shortest paths inside an ISP, Gao-Rexford between ISPs. Pure.

A `Network` and a set of failed links come in; `Routes`, the next link from each PoP towards each other, goes
out. Forwarding is by destination, so that the routes are what switches with prefix rules do. The arithmetic
is in `testbed.topology.routing_kernels`; here stand the laws, and the way from names to numbers and back.

Inside an ISP the least sum of routing weights wins, in thousandths, so that ties are exact; of equal paths
the one whose next link comes first in the file. Between ISPs, an ISP prefers a route from a customer, then
from a peer, then from a provider, then the shortest AS path, then the lowest next ASN; it tells its peers and
providers only what it has from customers (Gao and Rexford, "Stable Internet Routing Without Global
Coordination", 2001). A packet leaves its ISP by the nearest exit towards the next ISP (hot potato); of
equally near ones by the first of the file.

Where failed links leave an ISP in parts, each part chooses by itself, and no part takes a route that passes
its own ISP again: BGP refuses paths that hold its own ASN (RFC 4271, section 9.1.2). So parts of an ISP do
not reach each other through others. Of two parts of a neighbour that are as good, the first of the file wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.topology import routing_kernels as kernels
from testbed.topology.model import Link, Network

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

WEIGHT_STEP = 0.001
"""The finest difference between routing weights."""


@dataclass(frozen=True)
class Paths:
    """The links on the way from each PoP to each other, as CSR arrays.

    The path from PoP i to PoP j is row r = i * pops + j, `step[start[r]:start[r + 1]]`, in the order of
    travel; a step is 2 k where the packet leaves end `a` of core link k, 2 k + 1 where it leaves `b`. The row
    is empty for i = j and where j cannot be reached. `start` is (pops² + 1,) int64, `step` int32.
    """

    start: Int64
    step: Int32


@dataclass(frozen=True, eq=False)
class Routes:
    """The next link from every PoP towards every other.

    `pops` and `links` are the ids of PoPs and core links in the order of the network, `ends` is (links, 2),
    the PoPs at `a` and `b`. `next_step[j, i]` is the step (as in `Paths`) from PoP i towards PoP j, -1 where
    i = j or where j cannot be reached.
    """

    pops: tuple[str, ...]
    links: tuple[str, ...]
    ends: Int32
    next_step: Int32

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Routes) and (
            self.pops == other.pops
            and self.links == other.links
            and np.array_equal(self.ends, other.ends)
            and np.array_equal(self.next_step, other.next_step)
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {pop: index for index, pop in enumerate(self.pops)}

    def reaches(self, source_pop: str, destination_pop: str) -> bool:
        """Whether there is a route; a PoP reaches itself."""
        source, destination = self._index[source_pop], self._index[destination_pop]
        return source == destination or bool(self.next_step[destination, source] >= 0)

    def next_links(self, pop: str) -> dict[str, str]:
        """The link to take from `pop` towards each PoP that it reaches, in the order of PoPs."""
        steps = self.next_step[:, self._index[pop]]
        return {self.pops[j]: self.links[steps[j] // 2] for j in np.flatnonzero(steps >= 0)}

    def path(self, source_pop: str, destination_pop: str) -> tuple[str, ...]:
        """Links from one PoP to another in order; () for the same PoP. Raises KeyError if unreachable."""
        return tuple(self.links[step // 2] for step in self._steps(source_pop, destination_pop))

    def pops_on_path(self, source_pop: str, destination_pop: str) -> tuple[str, ...]:
        """The PoPs that a packet visits, both ends included. Raises KeyError if unreachable."""
        steps = self._steps(source_pop, destination_pop)
        return source_pop, *(self.pops[self.ends[step // 2, 1 - step % 2]] for step in steps)

    def paths(self) -> Paths:
        """All paths, expanded. They take 4 bytes for each link of each path."""
        return Paths(*kernels.expand(self.ends, self.next_step))

    def to_json(self) -> dict[str, Any]:
        """`next_link[pop][destination pop]` is the link to take, `ends[link]` are its PoPs."""
        return {
            "next_link": {pop: self.next_links(pop) for pop in self.pops},
            "ends": {
                link: [self.pops[a], self.pops[b]] for link, (a, b) in zip(self.links, self.ends, strict=True)
            },
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Routes:
        """The inverse of `to_json`. Raises KeyError where it names a PoP or link that it does not have."""
        pops, links = tuple(data["next_link"]), tuple(data["ends"])
        pop_index = {pop: index for index, pop in enumerate(pops)}
        link_index = {link: index for index, link in enumerate(links)}
        next_step = np.full((len(pops), len(pops)), -1, np.int32)
        for pop, table in data["next_link"].items():
            for destination, link in table.items():
                side = 0 if data["ends"][link][0] == pop else 1
                next_step[pop_index[destination], pop_index[pop]] = 2 * link_index[link] + side
        ends = [[pop_index[end] for end in data["ends"][link]] for link in links]
        return Routes(pops, links, np.array(ends, np.int32).reshape(-1, 2), next_step)

    def _steps(self, source_pop: str, destination_pop: str) -> list[int]:
        here, destination = self._index[source_pop], self._index[destination_pop]
        steps: list[int] = []
        while here != destination:
            step = int(self.next_step[destination, here])
            if step < 0:
                raise KeyError((source_pop, destination_pop))
            steps.append(step)
            here = int(self.ends[step // 2, 1 - step % 2])
        return steps


def compute_routes(network: Network, failed: frozenset[str] = frozenset()) -> Routes:
    """Routes between all PoPs without the `failed` links (ids), by the laws above.

    Raises ValueError where ISPs are each other's providers in a circle: such networks have no stable routes.
    Time grows with PoPs x (links + PoPs) inside ISPs and with ISPs x interdomain links; memory is 4 bytes for
    each pair of PoPs.
    """
    links = network.core_links
    pop_index = {pop.id: index for index, pop in enumerate(network.pops)}
    ends = np.array([[pop_index[link.a], pop_index[link.b]] for link in links], np.int32).reshape(-1, 2)
    up = np.array([link.id not in failed for link in links], bool)
    internal = np.array([link.kind == "internal" for link in links], bool)

    weights = np.array([[link.forward.weight, link.backward.weight] for link in links]).reshape(-1, 2)
    thousandths = np.maximum(1, np.rint(weights / WEIGHT_STEP)).astype(np.int64)
    inside, between = np.flatnonzero(internal & up), np.flatnonzero(~internal & up)
    part_of_pop = _parts(ends[inside].tolist(), len(network.pops))
    blocks = kernels.Blocks.of(part_of_pop)
    next_step, distance = kernels.shortest_inside(inside, ends, thousandths, blocks)
    if len(between):
        graph = _part_graph(network, part_of_pop, ends, [(index, links[index]) for index in between.tolist()])
        exits = kernels.nearest_exits(graph, between, ends, blocks, next_step, distance)
        kernels.route_between(graph, exits, blocks, next_step)
    return Routes(tuple(pop_index), tuple(link.id for link in links), ends, next_step)


def unreachable_pairs(network: Network, routes: Routes) -> list[tuple[str, str]]:
    """(source, destination) of PoPs without a route, in the order of the network."""
    cut = routes.next_step.T < 0
    np.fill_diagonal(cut, False)
    return [(network.pops[i].id, network.pops[j].id) for i, j in np.argwhere(cut)]


def _parts(ends: Sequence[tuple[int, int]], pops: int) -> Int32:
    """The connected part that each PoP is in, numbered by their first PoPs. An ISP is one part if whole."""
    part = [[pop] for pop in range(pops)]
    for a, b in ends:
        if part[a] is not part[b]:
            small, large = sorted((part[a], part[b]), key=len)
            large += small
            for pop in small:
                part[pop] = large
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(id(members), len(numbers)) for members in part], np.int32)


def _part_graph(
    network: Network, part_of_pop: Int32, ends: Int32, links: Sequence[tuple[int, Link]]
) -> kernels.PartGraph:
    """Who borders on whom, and as what, over interdomain links, given with their numbers."""
    isp_index = {isp.name: index for index, isp in enumerate(network.isps)}
    parts: list[int] = part_of_pop.tolist()
    isp_of_part = {part: isp_index[pop.isp] for part, pop in zip(parts, network.pops, strict=True)}
    neighbours: list[dict[int, int]] = [{} for _ in isp_of_part]
    for index, link in links:
        a, b = (parts[end] for end in ends[index])
        paid = link.relationship == "customer-provider"
        neighbours[a][b] = kernels.PROVIDER if paid else kernels.PEER
        neighbours[b][a] = kernels.CUSTOMER if paid else kernels.PEER
    customers = {
        part: [other for other, kind in around.items() if kind == kernels.CUSTOMER]
        for part, around in enumerate(neighbours)
    }
    try:
        customers_first = list(TopologicalSorter(customers).static_order())
    except CycleError as error:
        names = " pays ".join(network.isps[isp_of_part[part]].name for part in error.args[1])
        raise ValueError(f"ISPs that pay each other in a circle have no stable routes: {names}") from None
    isps = [isp_of_part[part] for part in range(len(isp_of_part))]
    return kernels.PartGraph.of(neighbours, customers_first, isps, [isp.asn for isp in network.isps])
