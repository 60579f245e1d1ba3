"""Whether links are what the file says: which paths to measure before a trial, and what to expect. Pure.

A network with its routes comes in, host pairs with what a ping and a TCP transfer between them should find go
out; with the measured values they become `Finding`s, whose reasons make a trial suspect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, Literal

from testbed.emulation.links import shaping
from testbed.spec.units import FRAME_BYTES, PAYLOAD_BYTES, format_rate
from testbed.topology.model import Direction, Host, Network
from testbed.topology.routes import Routes, crossed

RTT_TOLERANCE_S = 0.002
RTT_TOLERANCE = 0.02
RATE_TOLERANCE = 0.05
"""Beside two frames, one at each end of the time that is counted."""

MOST_PINGS = 8
MOST_TRANSFERS = 4
COUNT_S = 0.75
_SETTLE_S = 0.25
_LONGEST_SETTLE_S = 1.0
_MOST_HOSTS = 24
_MOST_BPS = 100_000_000
_FIRST_WINDOW_FRAMES = 10
_LEAST_FRAMES = 10


@dataclass(frozen=True)
class Way:
    """From host to host: the directions that a packet takes there, those back, and what is on the way."""

    source: Host
    destination: Host
    there: tuple[Direction, ...]
    back: tuple[Direction, ...]
    links: frozenset[str]
    pops: frozenset[str]
    accesses: frozenset[str]
    isps: frozenset[str]

    @cached_property
    def rtt_s(self) -> float:
        return sum(direction.delay_s for direction in (*self.there, *self.back))

    @cached_property
    def bottleneck(self) -> Direction:
        return min(self.there, key=lambda direction: direction.rate_bps)

    @property
    def payload_bps(self) -> float:
        """What TCP can carry over the slowest link of the way there."""
        return self.bottleneck.rate_bps * PAYLOAD_BYTES / FRAME_BYTES

    @property
    def limited_between_pops(self) -> bool:
        """Whether a link between PoPs is slower than both access links."""
        ends = self.there[0], self.there[-1]
        return all(self.bottleneck.rate_bps < end.rate_bps for end in ends)

    @cached_property
    def settle_s(self) -> float:
        """How long TCP takes to fill the slowest link: a round trip for each doubling, and three more."""
        frames = self.bottleneck.rate_bps * self.rtt_s / 8 / FRAME_BYTES
        rounds = 3 + math.log2(max(1.0, frames / _FIRST_WINDOW_FRAMES))
        return max(_SETTLE_S, rounds * self.rtt_s)

    @property
    def tells_the_rate(self) -> bool:
        """Whether one TCP connection fills it soon: nothing is lost at random, and the queue is not short."""
        if any(direction.loss for direction in (*self.there, *self.back)):
            return False
        queue = shaping(self.bottleneck, emulate_delay=False)
        queue_bytes = queue.queue_bytes or (queue.queue_packets or 0) * FRAME_BYTES
        in_flight_bytes = self.bottleneck.rate_bps * self.rtt_s / 8
        counted = self.bottleneck.rate_bps * COUNT_S / 8 / FRAME_BYTES
        soon = self.settle_s <= _LONGEST_SETTLE_S and counted >= _LEAST_FRAMES
        return soon and queue_bytes >= in_flight_bytes / 2


@dataclass(frozen=True)
class Finding:
    """A measurement between two hosts (ids): round trip time in s or payload rate in bit/s.

    `measured` is None where nothing came through.
    """

    kind: Literal["rtt_s", "rate_bps"]
    source: str
    destination: str
    expected: float
    measured: float | None

    @property
    def reason(self) -> str:
        """What is wrong, in words with both values; empty where nothing is."""
        if self.kind == "rtt_s":
            return self._rtt_reason()
        return self._rate_reason()

    def row(self) -> dict[str, Any]:
        return asdict(self)

    def _rtt_reason(self) -> str:
        if self.measured is None:
            return f"before the trial, pings from {self.source} to {self.destination} got no answer"
        if abs(self.measured - self.expected) <= RTT_TOLERANCE_S + RTT_TOLERANCE * self.expected:
            return ""
        return (
            f"before the trial, a ping from {self.source} to {self.destination} took "
            f"{self.measured * 1e3:.1f} ms, and the links' delays there and back are "
            f"{self.expected * 1e3:.1f} ms"
        )

    def _rate_reason(self) -> str:
        path = f"from {self.source} to {self.destination}"
        if self.measured is None:
            return f"before the trial, nothing came through in a transfer {path}"
        edge_bps = 2 * PAYLOAD_BYTES * 8 / COUNT_S
        if abs(self.measured - self.expected) <= RATE_TOLERANCE * self.expected + edge_bps:
            return ""
        return (
            f"before the trial, a transfer {path} got {_rate(self.measured)}, and the slowest link on "
            f"the way allows {_rate(self.expected)}"
        )


def pings(network: Network, routes: Routes) -> tuple[Way, ...]:
    """Ways that together pass as many PoPs and access profiles as eight can: the longest delay first."""
    hosts = _spread(_one_of_each(network))
    left = [_way(network, routes, *pair) for pair in combinations(hosts, 2)]
    chosen: list[Way] = []
    seen_pops: set[str] = set()
    seen_accesses: set[str] = set()

    def new(way: Way) -> int:
        return len(way.pops - seen_pops) + len(way.accesses - seen_accesses)

    while left and len(chosen) < MOST_PINGS:
        if chosen:
            best = max(left, key=lambda way: (new(way), len(way.isps), way.rtt_s))
        else:
            best = max(left, key=lambda way: way.rtt_s)
        if not new(best):
            break
        chosen.append(best)
        seen_pops |= best.pops
        seen_accesses |= best.accesses
        left.remove(best)
    return tuple(chosen)


def transfers(network: Network, routes: Routes) -> tuple[Way, ...]:
    """Ways without a common link, those that cross ISPs first, whose rates this machine surely carries."""
    hosts = _spread(_one_of_each(network))
    ways = [_way(network, routes, *pair) for pair in permutations(hosts, 2)]
    ways.sort(key=lambda way: (not way.limited_between_pops, -len(way.isps), way.rtt_s))
    chosen: list[Way] = []
    total_bps = 0
    for way in ways:
        rate_bps = way.bottleneck.rate_bps
        if len(chosen) == MOST_TRANSFERS:
            break
        shared = any(way.links & other.links for other in chosen)
        if not shared and way.tells_the_rate and total_bps + rate_bps <= _MOST_BPS:
            chosen.append(way)
            total_bps += rate_bps
    return tuple(chosen)


def settle_s(ways: Sequence[Way]) -> float:
    """After which time all transfers go at their full rate."""
    return max(way.settle_s for way in ways)


def rtt_finding(way: Way, measured_s: float | None, *, delayed: bool) -> Finding:
    """`delayed` says whether this machine emulates delays."""
    expected_s = way.rtt_s if delayed else 0.0
    return Finding("rtt_s", way.source.id, way.destination.id, expected_s, measured_s)


def rate_finding(way: Way, measured_bps: float | None) -> Finding:
    return Finding("rate_bps", way.source.id, way.destination.id, way.payload_bps, measured_bps)


def _one_of_each(network: Network) -> list[Host]:
    """A host for each access profile at every PoP."""
    found: dict[tuple[str, str], Host] = {}
    for host in network.hosts:
        found.setdefault((host.pop, host.access), host)
    return list(found.values())


def _spread(hosts: Sequence[Host]) -> list[Host]:
    """At most two dozen, evenly from all over the list: pairs are many."""
    count = min(len(hosts), _MOST_HOSTS)
    return [hosts[index * len(hosts) // count] for index in range(count)]


def _way(network: Network, routes: Routes, source: Host, destination: Host) -> Way:
    there = list(crossed(network, routes, source, destination))
    back = list(crossed(network, routes, destination, source))
    pops = frozenset(
        (
            *routes.pops_on_path(source.pop, destination.pop),
            *routes.pops_on_path(destination.pop, source.pop),
        )
    )
    return Way(
        source,
        destination,
        tuple(direction for _, direction in there),
        tuple(direction for _, direction in back),
        frozenset(link for link, _ in (*there, *back)),
        pops,
        frozenset((source.access, destination.access)),
        frozenset(network.isp_of_pop(pop) for pop in pops),
    )


def _rate(bps: float) -> str:
    return format_rate(round(bps, -3))
