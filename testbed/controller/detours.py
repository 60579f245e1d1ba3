"""A way around each internal link, for packets that meet it cut before the routes are new. Pure.

The switch at the near end of a link sends what it would send over it along the shortest path inside the ISP
that avoids it, to its far end: what routers call facility backup (RFC 4090, section 3.2) with MAC addresses
for labels. The switches in between forward on the label alone; the far end, which knows none, routes on as if
the packet had come over the link. So it arrives nowhere that it would not have passed, and cannot circle.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from testbed.topology.model import Link, Network


@dataclass(frozen=True)
class Detour:
    """The way from `source` around `link` to its other end `target`: links in order, the PoPs in between."""

    link: str
    source: str
    target: str
    links: tuple[str, ...]
    between: tuple[str, ...]
    label: str


def detours(network: Network, failed: Collection[str] = ()) -> Mapping[tuple[str, str], Detour]:
    """(internal link, PoP at the near end) -> detour, where there is one without the `failed` links."""
    found = {}
    around: dict[str, list[Link]] = defaultdict(list)
    links = [link for link in network.core_links if link.kind == "internal" and link.id not in failed]
    for link in links:
        around[link.a].append(link)
        around[link.b].append(link)
    number = {link.id: index for index, link in enumerate(network.core_links)}
    for link in links:
        for side, (source, target) in enumerate(((link.a, link.b), (link.b, link.a))):
            way = _shortest(around, source, target, link.id)
            if way:
                steps = tuple(way)
                found[link.id, source] = Detour(
                    link.id,
                    source,
                    target,
                    tuple(step.id for step in steps),
                    tuple(_visited(source, steps))[:-1],
                    _label(number[link.id], side),
                )
    return found


def _label(link: int, side: int) -> str:
    """A locally administered MAC address that no host and no gateway has (theirs begin with 02:00)."""
    octets = (0x06, 0xFD, *link.to_bytes(3, "big"), side)
    return ":".join(f"{octet:02x}" for octet in octets)


def _shortest(around: Mapping[str, list[Link]], source: str, target: str, avoid: str) -> list[Link]:
    """Dijkstra by routing weight; empty without a way. Of equal ones the first of the file's."""
    queue: list[tuple[float, int, str]] = [(0.0, 0, source)]
    came: dict[str, Link] = {}
    best = {source: 0.0}
    done: set[str] = set()
    while queue:
        length, _, here = heapq.heappop(queue)
        if here in done:
            continue
        done.add(here)
        if here == target:
            return list(_back(came, source, target))[::-1]
        for link in around[here]:
            there = link.other(here)
            further = length + link.direction(here).weight
            if link.id != avoid and further < best.get(there, float("inf")):
                best[there], came[there] = further, link
                heapq.heappush(queue, (further, len(came), there))
    return []


def _back(came: Mapping[str, Link], source: str, target: str) -> Iterator[Link]:
    here = target
    while here != source:
        yield came[here]
        here = came[here].other(here)


def _visited(source: str, links: tuple[Link, ...]) -> Iterator[str]:
    here = source
    for link in links:
        here = link.other(here)
        yield here
