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

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import numpy as np
import numpy.typing as npt

from testbed.topology import routing_kernels as kernels
from testbed.topology.model import Link, Network
from testbed.topology.routes import Routes

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


def all_paths(routes: Routes) -> Paths:
    """All paths, expanded. They take 4 bytes for each link of each path."""
    return Paths(*kernels.expand(routes.ends, routes.next_step))


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
