"""What a picture of a network shows: nodes and strokes between them, not yet where.

In goes a compiled `Network`; out comes a `Sketch`. A node is a PoP or an exchange point; in a network of very
many ISPs a node is a whole ISP. The peerings of an exchange point become one stroke from each member to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.topology.model import Link, Network

MOST_ISPS_WITH_POPS = 100
"""In a network of more ISPs than that, a node is an ISP."""

MOST_HEADS = 12
"""Arrow heads around one node; of more, each would cover the next."""

StrokeKind = Literal["internal", "customer-provider", "peer-peer"]


@dataclass(frozen=True)
class Node:
    """A PoP, an ISP or an exchange point. `isp` is empty for an exchange point."""

    id: str
    isp: str
    label: str
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True)
class Stroke:
    """A line between two nodes (indices), for one link or for several that share it.

    Of customer-provider, `a` is the customer. `capacity_bps` is that of the faster direction, the sum where
    the links are those between two ISPs, the largest where they share the port of an exchange point.
    """

    links: tuple[str, ...]
    a: int
    b: int
    kind: StrokeKind
    capacity_bps: int


@dataclass(frozen=True)
class Sketch:
    """Nodes and strokes, and the numbers of the title. `of_isps` says that a node is a whole ISP."""

    name: str
    nodes: tuple[Node, ...]
    strokes: tuple[Stroke, ...]
    isps: tuple[str, ...]
    pops: int
    links: int
    of_isps: bool

    def degrees(self) -> list[int]:
        """How many strokes end at each node."""
        count = [0] * len(self.nodes)
        for stroke in self.strokes:
            count[stroke.a] += 1
            count[stroke.b] += 1
        return count


def sketch_of(network: Network) -> Sketch:
    """The nodes and strokes that show `network`."""
    of_isps = len(network.isps) > MOST_ISPS_WITH_POPS
    nodes = [*(_isp_nodes(network) if of_isps else _pop_nodes(network)), *_ixp_nodes(network)]
    index = {node.id: number for number, node in enumerate(nodes)}
    strokes = _isp_strokes(network, index) if of_isps else _pop_strokes(network, index)
    return Sketch(
        name=network.name,
        nodes=tuple(nodes),
        strokes=(*strokes, *_spokes(network, index, of_isps)),
        isps=tuple(isp.name for isp in network.isps),
        pops=len(network.pops),
        links=len(network.core_links),
        of_isps=of_isps,
    )


def headless(strokes: Sequence[Stroke]) -> frozenset[int]:
    """The numbers of the strokes from customer to provider that are drawn without an arrow head.

    They lead to a node where more than `MOST_HEADS` arrive, from one where fewer do: so one sees where to.
    """
    arriving = Counter(stroke.b for stroke in strokes if stroke.kind == "customer-provider")
    return frozenset(
        number
        for number, stroke in enumerate(strokes)
        if stroke.kind == "customer-provider" and arriving[stroke.b] > MOST_HEADS >= arriving[stroke.a]
    )


def _isp_nodes(network: Network) -> Iterator[Node]:
    for isp in network.isps:
        yield Node(isp.name, isp.name, isp.name)


def _pop_nodes(network: Network) -> Iterator[Node]:
    alone = _isps_of_one_pop(network)
    for pop in network.pops:
        # The only PoP of an ISP carries the ISP's name too, so that one label does for both.
        label = pop.id if pop.isp in alone and len(network.isps) > 1 else pop.name
        yield Node(pop.id, pop.isp, label, pop.latitude, pop.longitude)


def _isps_of_one_pop(network: Network) -> set[str]:
    pops: dict[str, int] = defaultdict(int)
    for pop in network.pops:
        pops[pop.isp] += 1
    return {isp for isp, number in pops.items() if number == 1}


def _ixp_id(name: str) -> str:
    return f"ixp {name}"  # the space is in no other id


def _ixp_nodes(network: Network) -> Iterator[Node]:
    for ixp in network.ixps:
        yield Node(_ixp_id(ixp.name), "", ixp.name, ixp.latitude, ixp.longitude)


def _kind(link: Link) -> StrokeKind:
    return link.relationship or "internal"


def _capacity_bps(link: Link) -> int:
    return max(link.forward.capacity_bps, link.backward.capacity_bps)


def _pop_strokes(network: Network, index: Mapping[str, int]) -> Iterator[Stroke]:
    for link in network.core_links:
        if not link.ixp:
            yield Stroke((link.id,), index[link.a], index[link.b], _kind(link), _capacity_bps(link))


def _isp_strokes(network: Network, index: Mapping[str, int]) -> Iterator[Stroke]:
    """One stroke for all links between two ISPs."""
    together: dict[tuple[int, int, StrokeKind], list[Link]] = defaultdict(list)
    for link in network.core_links:
        if link.kind == "interdomain" and not link.ixp:
            a, b = (index[network.isp_of_pop(end)] for end in (link.a, link.b))
            if link.relationship == "peer-peer":
                a, b = min(a, b), max(a, b)
            together[a, b, _kind(link)].append(link)
    for (a, b, kind), links in together.items():
        yield Stroke(tuple(link.id for link in links), a, b, kind, sum(map(_capacity_bps, links)))


def _spokes(network: Network, index: Mapping[str, int], of_isps: bool) -> Iterator[Stroke]:
    """From each member of an exchange point to the point, for all its peerings there."""
    ports: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for link in network.core_links:
        if link.ixp:
            for end in (link.a, link.b):
                member = network.isp_of_pop(end) if of_isps else end
                ports[member, link.ixp].append(link)
    for (member, ixp), links in ports.items():
        ids = tuple(link.id for link in links)
        yield Stroke(ids, index[member], index[_ixp_id(ixp)], "peer-peer", max(map(_capacity_bps, links)))
