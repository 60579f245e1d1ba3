"""All rates of a network times a factor, so that a machine carries it: time runs slower, nothing else. Pure.

A compiled `Network` and a factor come in, the network with every link's rate, background load and queue in
bytes times the factor goes out. Delays, losses and queues in packets stay: they belong to the wire and to the
box, not to the rate.
"""

from __future__ import annotations

from dataclasses import replace

from testbed.spec.units import FRAME_BYTES
from testbed.topology.model import Direction, Link, Network

SLOWEST_BPS = 1000
"""No link gets slower than a topology file may make one."""


def scaled(network: Network, factor: float) -> Network:
    """The network with all rates times `factor`; the same one where it is 1."""
    if factor == 1:
        return network
    return replace(network, links=tuple(_link(link, factor) for link in network.links))


def _link(link: Link, factor: float) -> Link:
    return replace(link, forward=_way(link.forward, factor), backward=_way(link.backward, factor))


def _way(way: Direction, factor: float) -> Direction:
    # A queue of less than a frame would let nothing through.
    queue = None if way.queue_bytes is None else max(FRAME_BYTES, round(way.queue_bytes * factor))
    return replace(
        way,
        rate_bps=max(SLOWEST_BPS, round(way.rate_bps * factor)),
        background_bps=round(way.background_bps * factor),
        queue_bytes=queue,
    )
