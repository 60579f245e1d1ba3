"""Whether this machine carries an experiment: its memory and cores against what the peers will ask. Pure.

The estimate is a ceiling: every leecher sends at its full upload rate over the mean path. What one core
carries was measured on one virtual machine of two cores; a slower one says so in its verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.errors import Problem
from testbed.spec.loading import Document
from testbed.topology.model import Network
from testbed.topology.routing import Routes

CLIENT_BYTES = 40 * 2**20
"""Memory of a libtorrent client with its buffers, beside the content that it holds."""

PORTAL_BYTES = 60 * 2**20
"""Memory of an ISP's portal: 59 MB of proportional set size were measured with four beside each other."""

CLIENT_CORE_SHARE = 0.008
"""Of a core, what one client takes while it transfers about a megabit a second."""

FRAME_HOPS_PER_CORE_S: Mapping[str, float] = {"netdev": 100_000.0, "system": 400_000.0}
"""Frames that one core moves through one switch a second, by datapath."""

_MEAN_FRAME_BYTES = 1000  # data one way and acknowledgements the other
_MEMORY_SHARE = 0.8
_CORES_SHARE = 0.85


@dataclass(frozen=True)
class Machine:
    """What there is."""

    cores: int
    memory_bytes: int
    datapath: str


@dataclass(frozen=True)
class Load:
    """What an experiment asks for at most."""

    peers: int
    portals: int
    peers_bytes: int
    cores: float

    @property
    def portals_bytes(self) -> int:
        return self.portals * PORTAL_BYTES

    @property
    def memory_bytes(self) -> int:
        return self.peers_bytes + self.portals_bytes


def expected_load(network: Network, routes: Routes, content_bytes: int, datapath: str) -> Load:
    """The load while the whole swarm is active and uploads at full rate over the mean path."""
    peers = [host for host in network.hosts if host.role in ("leecher", "seed")]
    leechers = [host for host in peers if host.role == "leecher"]
    places = sorted({host.pop for host in peers})
    lengths = [len(routes.path(a, b)) + 1 for a in places for b in places]
    switches = sum(lengths) / len(lengths)
    upload_bps = sum(network.link_by_id[host.link].direction(host.id).rate_bps for host in leechers)
    download_bps = sum(network.link_by_id[host.link].direction(host.pop).rate_bps for host in leechers)
    frames_per_s = min(upload_bps, download_bps) / 8 / _MEAN_FRAME_BYTES
    return Load(
        peers=len(peers),
        portals=sum(host.role == "portal" for host in network.hosts),
        peers_bytes=len(peers) * CLIENT_BYTES + len(leechers) * content_bytes,
        cores=frames_per_s * switches / FRAME_HOPS_PER_CORE_S[datapath] + len(peers) * CLIENT_CORE_SHARE,
    )


def too_much(load: Load, machine: Machine, document: Document) -> list[Problem]:
    """What this machine can't carry, at the line of the peers; empty where it carries everything."""
    where = document.where(("swarm", "leechers"))
    problems = []
    memory_limit = int(machine.memory_bytes * _MEMORY_SHARE)
    if load.portals_bytes > memory_limit:
        problems.append(
            Problem(
                f"{load.portals} portals need about {load.portals_bytes / 2**30:.1f} GiB of memory, and this "
                f"machine can give {memory_limit / 2**30:.1f} of {machine.memory_bytes / 2**30:.1f} GiB free",
                document.where(("topology",)),
                allowed=f"about {memory_limit // PORTAL_BYTES} ISPs with a portal here",
                mend="set 'portal: false' for ISPs whose peers you don't study, or take a smaller topology",
            )
        )
    elif load.memory_bytes > memory_limit:
        fits = int(load.peers * (memory_limit - load.portals_bytes) / load.peers_bytes)
        problems.append(
            Problem(
                f"{load.peers} peers and {load.portals} portals need about "
                f"{load.memory_bytes / 2**30:.1f} GiB of memory, and this "
                f"machine can give {memory_limit / 2**30:.1f} of {machine.memory_bytes / 2**30:.1f} GiB free",
                where,
                allowed=f"about {fits} peers here",
                mend="lower the counts or the content's size",
            )
        )
    cores_limit = machine.cores * _CORES_SHARE
    if load.cores > cores_limit:
        problems.append(
            Problem(
                f"{load.peers} peers at these upload rates need about {load.cores:.1f} cores, and this "
                f"machine can give {cores_limit:.1f} of {machine.cores}",
                where,
                allowed=f"about {int(load.peers * cores_limit / load.cores)} such peers here",
                mend="lower the counts or the access profiles' upload rates",
            )
        )
    return problems
