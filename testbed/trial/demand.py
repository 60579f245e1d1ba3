"""How many frames a swarm will send over each switch: what the links let through of what peers offer.

A network and its routes come in, the rates of payload and of frames go out. Pure. Two swarms are thought of,
one where all neighbours are random and one where all are near, as selection policies lie between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.emulation.links import gso_segments
from testbed.spec.units import FRAME_BYTES, PAYLOAD_BYTES
from testbed.topology.model import Network
from testbed.topology.routes import Routes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PAYLOAD_PER_FRAME_BYTES = 730
"""Of BitTorrent, acknowledgements counted as frames: a segment carries 1448, and one acknowledgement answers
each. Measured: 552 thousand frames for 403 MB in the quickstart.
"""

_PAYLOAD_SHARE = PAYLOAD_BYTES / FRAME_BYTES
_HALVINGS = 32


@dataclass(frozen=True)
class Demand:
    """What a swarm asks of the network while it is active. Rates of frames count each frame once."""

    payload_bps: float
    frames_per_s: float
    switch_frames_per_s: Mapping[str, float]
    """PoP id -> frames that its switch moves."""

    @property
    def frame_hops_per_s(self) -> float:
        return sum(self.switch_frames_per_s.values())


def demands(network: Network, routes: Routes) -> tuple[Demand, Demand]:
    """The demand of a swarm of random neighbours, and of one of near neighbours."""
    peers = _Peers.of(network)
    ways = _Ways.of(routes, peers.pop)
    random, near = (_demand(network, routes, ways, peers, offer) for offer in (peers.random(), peers.near()))
    return random, near


@dataclass(frozen=True)
class _Ways:
    """The steps (as in `testbed.topology.routes.Routes`) of all ways between PoPs with peers: step
    `step[k]` is on the way from place `source[k]` to place `target[k]`.
    """

    source: Ints
    target: Ints
    step: Ints

    @staticmethod
    def of(routes: Routes, pop: Ints) -> _Ways:
        """All ways between the places at these PoPs at once, a hop at a time."""
        source, target = np.divmod(np.arange(len(pop) ** 2), len(pop))
        walk = routes.hops(pop[source], pop[target])
        hops = [(source[going], target[going], step) for going, step in walk]
        columns = zip(*hops, strict=True) if hops else ([], [], [])
        return _Ways(*(np.concatenate([np.empty(0, np.int64), *column]) for column in columns))


@dataclass(frozen=True)
class _Peers:
    """Peers by place, a PoP where some are: what they upload and download, and who is there."""

    pop: Ints
    up_bps: Floats
    down_bps: Floats
    count: Floats
    leechers: Floats
    frames_per_byte: Floats
    isp: Ints

    @staticmethod
    def of(network: Network) -> _Peers:
        peers = [host for host in network.hosts if host.role in ("leecher", "seed")]
        places = {pop: index for index, pop in enumerate(dict.fromkeys(host.pop for host in peers))}
        pops = {pop.id: index for index, pop in enumerate(network.pops)}
        isps = {isp.name: index for index, isp in enumerate(network.isps)}
        up_bps, down_bps, count, leechers, frames = (np.zeros(len(places)) for _ in range(5))
        for host in peers:
            here, link = places[host.pop], network.link_by_id[host.link]
            rate_bps = link.direction(host.id).rate_bps
            up_bps[here] += rate_bps
            count[here] += 1
            frames[here] += rate_bps / PAYLOAD_PER_FRAME_BYTES / gso_segments(rate_bps)
            if host.role == "leecher":
                leechers[here] += 1
                down_bps[here] += link.direction(host.pop).rate_bps
        return _Peers(
            pop=np.array([pops[place] for place in places]),
            up_bps=up_bps * _PAYLOAD_SHARE,
            down_bps=down_bps * _PAYLOAD_SHARE,
            count=count,
            leechers=leechers,
            frames_per_byte=frames / up_bps,
            isp=np.array([isps[network.isp_of_pop(place)] for place in places]),
        )

    def random(self) -> Floats:
        """(places, places) bit/s that peers offer where each sends alike to every leecher."""
        offered_bps: Floats = np.outer(self.up_bps, self.leechers / self.leechers.sum())
        return offered_bps

    def near(self) -> Floats:
        """The same where each sends within its PoP if others are there, else its ISP, else anywhere."""
        shares = np.empty((len(self.pop), len(self.pop)))
        for here in range(len(self.pop)):
            at_pop = np.arange(len(self.pop)) == here
            for near in (at_pop, self.isp == self.isp[here], np.ones(len(self.pop), bool)):
                shares[here] = self.leechers * near
                if shares[here].sum() > 1:  # a single one may be the sender itself
                    break
        offered_bps: Floats = self.up_bps[:, None] * shares / np.maximum(1, shares.sum(axis=1))[:, None]
        return offered_bps


def _demand(network: Network, routes: Routes, ways: _Ways, peers: _Peers, offered_bps: Floats) -> Demand:
    """What comes through of the offer: each link, and each place's access lines, fairly by connection.

    A sender does not send to others what a full link holds back: its slots are taken by those who wait.
    """
    core_bps = [way.rate_bps for link in network.core_links for way in (link.forward, link.backward)]
    capacity_bps = np.concatenate([_PAYLOAD_SHARE * np.array(core_bps, float), peers.down_bps])
    # Of each pair of places, the links that it takes, its receivers' access lines last.
    source, target = np.divmod(np.arange(offered_bps.size), len(peers.pop))
    pair = np.concatenate([ways.source * len(peers.pop) + ways.target, np.arange(offered_bps.size)])
    link = np.concatenate([ways.step, len(core_bps) + target])
    connections = peers.count[source] * np.maximum(1, peers.leechers[target])
    carried_bps = _fair(offered_bps.ravel(), connections, pair, link, capacity_bps).reshape(offered_bps.shape)

    frames = carried_bps / 8 * peers.frames_per_byte[:, None]
    # Acknowledgements go back over as many switches: all of a way's frames count at each of its switches.
    entered = routes.ends[ways.step // 2, 1 - ways.step % 2]
    moved = np.bincount(entered, weights=frames[ways.source, ways.target], minlength=len(network.pops))
    moved[peers.pop] += frames.sum(axis=1)
    return Demand(
        payload_bps=float(carried_bps.sum()),
        frames_per_s=float(frames.sum()),
        switch_frames_per_s={pop.id: float(moved[index]) for index, pop in enumerate(network.pops)},
    )


def _fair(offered_bps: Floats, connections: Floats, pair: Ints, link: Ints, capacity_bps: Floats) -> Floats:
    """What each pair carries where every link gives its connections alike, and none more than it offers.

    Entry k says that pair `pair[k]` takes link `link[k]`. The level of each full link, in bit/s a connection,
    is found by halving.
    """
    low: Floats = np.zeros(len(capacity_bps))
    high: Floats = np.maximum(capacity_bps, 1.0)
    offered, alike = offered_bps[pair], connections[pair]
    full = np.bincount(link, weights=offered, minlength=len(capacity_bps)) > capacity_bps
    for _ in range(_HALVINGS):
        level = (low + high) / 2
        taken = np.bincount(link, np.minimum(offered, alike * level[link]), len(capacity_bps))
        over = taken > capacity_bps
        low, high = np.where(over, low, level), np.where(over, level, high)
    carried_bps = offered_bps.copy()
    np.minimum.at(carried_bps, pair, np.where(full, low, np.inf)[link] * alike)
    return carried_bps
