"""How long each frame is on its way: the whole delay of a path, looked up once, where its sender sends. Pure.

A network with its routes comes in; arrays go out that a delay line searches by source host and destination
address. Another table follows a reroute or a changed link.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from testbed.topology.model import Network
from testbed.topology.routes import Routes, crossed

NS_PER_S = 1_000_000_000
ARRIVES = -(2**63)
"""In `between_ns`: the packet's TTL is enough for its way."""


@dataclass(frozen=True)
class DelayTable:
    """Delays in ns. With H hosts, T known addresses, P PoPs, and L switches on the longest way:

    `host_pop` (H), `up_ns` (H, host to PoP) and `back_ns` (H, PoP to host) by sending host; `addresses` (T,
    sorted IPv4), `target_pop` (T), `down_ns` (T, PoP to host) by destination; `between_ns` (P, P, 1 + L) by
    PoP of source and destination, and 0 or the TTL. A switch answers at once and without a delay of its own,
    so what ends at one takes the time there and back on its way there: what is sent to a gateway
    (`is_gateway`, T), and what has a TTL of 1, 2, ... that ends at the first, second, ... switch. With 0,
    `between_ns` is the way to the last switch, with a TTL the way to where that ends and back, or ARRIVES.
    """

    host_pop: NDArray[np.int64]
    up_ns: NDArray[np.int64]
    back_ns: NDArray[np.int64]
    addresses: NDArray[np.int64]
    target_pop: NDArray[np.int64]
    down_ns: NDArray[np.int64]
    is_gateway: NDArray[np.bool_]
    between_ns: NDArray[np.int64]

    @property
    def longest_s(self) -> float:
        """A time after which every packet that hosts have sent each other is there."""
        parts = (self.up_ns, self.between_ns[:, :, 0], self.down_ns)
        return sum(max(0, int(part.max(initial=0))) for part in parts) / NS_PER_S

    def save(self, path: Path) -> None:
        """Write it, wholly or not at all: whoever reads it meanwhile has the one before."""
        unfinished = path.with_suffix(".new")
        with unfinished.open("wb") as file:
            np.savez(file, **vars(self))
        unfinished.replace(path)

    @staticmethod
    def load(path: Path) -> DelayTable:
        with np.load(path) as arrays:
            return DelayTable(**{name: arrays[name] for name in arrays.files})


@dataclass(frozen=True)
class Forwarding:
    """What the emulation itself takes one way: `base_s` at the ends, `hop_s` in each switch."""

    base_s: float = 0.0
    hop_s: float = 0.0

    def path_s(self, switches: int) -> float:
        return self.base_s + self.hop_s * switches

    def answer_s(self, up_s: float) -> float:
        """How long a switch's own answer takes that is asked for over an access link with a delay of `up_s`.

        Both ends and one switch are passed, and the line delays the request alone, by as much less.
        """
        return max(up_s, self.base_s) + self.hop_s


def fitted_forwarding(excesses: Sequence[tuple[float, float]]) -> Forwarding:
    """The `Forwarding` that explains best how much longer one way took than it should.

    `excesses` are (switches on the way, seconds) and at least two; least squares with no negative part.
    """
    switches = np.array([[1.0, count] for count, _ in excesses])
    base_s, hop_s = nnls(switches, np.array([excess for _, excess in excesses]))[0]
    return Forwarding(float(base_s), float(hop_s))


def delay_table(network: Network, routes: Routes, forwarding: Forwarding = Forwarding()) -> DelayTable:
    """The delays of all paths from the hosts of `network`, in their order; those cut off have no delay.

    Each is less by what `forwarding` takes, so that both together are the path's; none is negative.
    """
    hosts = network.hosts
    at = {pop: number for number, pop in enumerate(routes.pops)}
    links = [network.link_by_id[host.link] for host in hosts]
    down = [_ns(link.direction(host.pop).delay_s) for host, link in zip(hosts, links, strict=True)]
    rows = [
        (int(ipaddress.IPv4Address(host.ip)), at[host.pop], delay, False)
        for host, delay in zip(hosts, down, strict=True)
    ]
    rows += [(int(ipaddress.IPv4Address(pop.gateway_ip)), at[pop.id], 0, True) for pop in network.pops]
    rows.sort()
    addresses, target_pop, down_ns, is_gateway = zip(*rows, strict=True)
    return DelayTable(
        host_pop=np.array([at[host.pop] for host in hosts], np.int64),
        # The base is part of every path, so it goes off the access link; the line ends negative sums at zero.
        up_ns=np.array(
            [
                _ns(link.direction(host.id).delay_s - forwarding.base_s)
                for host, link in zip(hosts, links, strict=True)
            ],
            np.int64,
        ),
        back_ns=np.array(down, np.int64),
        addresses=np.array(addresses, np.int64),
        target_pop=np.array(target_pop, np.int64),
        down_ns=np.array(down_ns, np.int64),
        is_gateway=np.array(is_gateway, np.bool_),
        between_ns=_between(network, routes, forwarding),
    )


def _between(network: Network, routes: Routes, forwarding: Forwarding) -> NDArray[np.int64]:
    """All ways between PoPs at once, a hop at a time."""
    links = (network.link_by_id[name] for name in routes.links)
    step_s = np.array([way.delay_s for link in links for way in (link.forward, link.backward)])
    count = len(routes.pops)
    source, target = np.divmod(np.arange(count**2), count)
    there_s = np.where(routes.reachable.ravel(), -forwarding.hop_s, 0.0)
    hops = []
    for going, step in routes.hops(source, target):
        there_s[going] += step_s[step] - forwarding.hop_s
        hops.append((going, routes.ends[step // 2, 1 - step % 2], there_s[going]))
    between_s = np.full((count**2, 2 + len(hops)), np.nan)
    between_s[:, 0], between_s[:, 1] = there_s, -2 * forwarding.hop_s
    for ttl, (going, here, so_far_s) in enumerate(hops, 2):
        between_s[going, ttl] = so_far_s + there_s[here * count + source[going]]
    between_ns = np.where(np.isnan(between_s), ARRIVES, np.rint(between_s * NS_PER_S))
    return between_ns.astype(np.int64).reshape(count, count, -1)


@dataclass(frozen=True)
class OneWay:
    """What a packet meets from host to host: the links' delays in sum, how many switches, the slowest
    link's rate."""

    delay_s: float
    switches: int
    slowest_bps: int


def one_way(network: Network, routes: Routes, source: str, destination: str) -> OneWay:
    """The way between two hosts (ids), their access links included."""
    hosts = network.host_by_id
    links = [way for _, way in crossed(network, routes, hosts[source], hosts[destination])]
    return OneWay(sum(way.delay_s for way in links), len(links) - 1, min(way.rate_bps for way in links))


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
