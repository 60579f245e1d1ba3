"""Whether this machine carries an experiment: its memory and cores against what the peers will ask. Pure.

Two swarms are thought of (testbed.trial.demand), and the dearer one counts. What a frame and a byte cost
comes from the machine's calibration, or from built-in figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from testbed.emulation.blueprint import switch_groups
from testbed.emulation.probes import Finding
from testbed.errors import Problem
from testbed.spec.loading import Document
from testbed.topology.model import Network
from testbed.topology.routes import Routes
from testbed.topology.scaling import scaled
from testbed.trial.calibration import Costs
from testbed.trial.demand import Demand, demands

CLIENT_BYTES = 40 * 2**20
"""Memory of a libtorrent client with its buffers, beside the content that it holds."""

PORTAL_BYTES = 60 * 2**20
"""Memory of an ISP's portal: 59 MB of proportional set size were measured with four beside each other."""

_MEMORY_SHARE = 0.8
_CORES_SHARE = 0.85

_ROOM = 0.95  # of peers: the rest of the load does not shrink with them

_ROUNDS_PER_S = 100.0
"""A userspace datapath must ask all its ports this often at least, or frames wait over 10 ms at a switch."""


@dataclass(frozen=True)
class Machine:
    """What there is, and what things cost on it. `downloads_bytes` is free where downloads are kept."""

    cores: int
    memory_bytes: int
    downloads_bytes: int
    datapath: str
    delay: str
    costs: Costs


@dataclass(frozen=True)
class Load:
    """What an experiment asks for at most.

    `cores` are needed; `busy_cores` is what will be seen, with random neighbours and with near ones: a
    userspace datapath spends what it has on asking its ports. `busiest_process` is the most that one process
    which works in one thread needs, of a core: a userspace switch, or the delay line.
    """

    peers: int
    portals: int
    peers_bytes: int
    downloads_bytes: int
    cores: float
    busy_cores: tuple[float, float]
    busiest_process: float
    frame_hops_per_s: float
    payload_bps: float

    @property
    def portals_bytes(self) -> int:
        return self.portals * PORTAL_BYTES

    @property
    def memory_bytes(self) -> int:
        return self.peers_bytes + self.portals_bytes


@dataclass(frozen=True)
class _Work:
    """Cores for one demand."""

    needed: float
    busy: float
    busiest: float


def expected_load(network: Network, routes: Routes, content_bytes: int, machine: Machine) -> Load:
    """The load while the whole swarm is active."""
    peers = [host for host in network.hosts if host.role in ("leecher", "seed")]
    leechers = sum(host.role == "leecher" for host in peers)
    both = demands(network, routes)
    random, near = (_work(demand, network, len(peers), machine) for demand in both)
    # Of all seeds there is one copy.
    downloads_bytes = (leechers + 1) * content_bytes
    return Load(
        peers=len(peers),
        portals=sum(host.role == "portal" for host in network.hosts),
        peers_bytes=len(peers) * CLIENT_BYTES + leechers * content_bytes,
        downloads_bytes=downloads_bytes,
        cores=max(random.needed, near.needed),
        busy_cores=(random.busy, near.busy),
        busiest_process=max(random.busiest, near.busiest),
        frame_hops_per_s=max(demand.frame_hops_per_s for demand in both),
        payload_bps=max(demand.payload_bps for demand in both),
    )


def _work(demand: Demand, network: Network, peers: int, machine: Machine) -> _Work:
    costs = machine.costs
    ends = {pop.id: 0 for pop in network.pops}
    for link in network.links:
        for end in {link.a, link.b} & ends.keys():
            ends[end] += 1
    needed, busy, busiest = [], [], []
    for group in switch_groups(network, machine.datapath, machine.cores):
        frames_per_s = sum(demand.switch_frames_per_s[pop] for pop in group.pops)
        round_s = sum(ends[pop] for pop in group.pops) * costs.port_poll_s
        needed.append(frames_per_s * costs.frame_hop_s + _ROUNDS_PER_S * round_s)
        # Where frames come one by one, each costs a round; where they come together, the thread is full.
        alone = frames_per_s * (costs.frame_hop_s + round_s)
        busy.append(alone if machine.datapath == "system" else min(alone, max(1.0, needed[-1])))
        busiest += [needed[-1]] if machine.datapath == "netdev" else []
    line = demand.frames_per_s * costs.delayed_frame_s if machine.delay == "line" else 0.0
    others = (
        demand.payload_bps / 8 * costs.client_byte_s
        + peers * costs.client_s
        + len(network.pops) * costs.switch_s
        + line
    )
    return _Work(sum(needed) + others, sum(busy) + others, max([line, *busiest]))


def fitting_scale(network: Network, routes: Routes, content_bytes: int, machine: Machine) -> float | None:
    """The largest factor on all rates, of two digits, with which the cores carry it: 1 where all of it fits.

    None where not even a hundredth of the rates fits.
    """

    def fits(hundredths: int) -> bool:
        slower = scaled(network, hundredths / 100)
        return _fits(expected_load(slower, routes, content_bytes, machine), machine)

    if fits(100):
        return 1.0
    least, beyond = 0, 100
    while beyond - least > 1:
        middle = (least + beyond) // 2
        least, beyond = (middle, beyond) if fits(middle) else (least, middle)
    return least / 100 if least else None


def _fits(load: Load, machine: Machine) -> bool:
    return load.cores <= machine.cores * _CORES_SHARE and load.busiest_process <= _CORES_SHARE


def too_little_memory(load: Load, machine: Machine, document: Document) -> list[Problem]:
    """What this machine's memory can't hold, at the line of the peers or of the topology."""
    return [*_memory(load, machine, document), *_downloads(load, machine, document)]


def too_little_cores(load: Load, machine: Machine, document: Document, scale: float | None) -> list[Problem]:
    """What this machine's cores can't carry. `scale` is the factor on all rates that would fit."""
    if _fits(load, machine):
        return []
    limit = machine.cores * _CORES_SHARE
    if load.cores / limit > load.busiest_process / _CORES_SHARE:
        needs = f"about {load.cores:.1f} cores, and this machine can give {limit:.1f} of {machine.cores}"
        share = limit / load.cores
    else:
        needs = f"{load.busiest_process:.1f} cores for what one process does in one thread"
        share = _CORES_SHARE / load.busiest_process
    if scale is None:
        mend = "lower the counts: slower links alone are not enough"
    else:
        mend = f"--scale auto, which is {scale:g} here; or lower the counts or the access profiles' rates"
    fitting = int(load.peers * share * _ROOM)
    allowed = [f"about {fitting} such peers here"] if fitting else []
    allowed += [f"all rates times {scale:g}"] if scale else []
    return [
        Problem(
            f"{load.peers} peers at these upload rates need {needs}",
            document.where(("swarm", "leechers")),
            allowed=", or ".join(allowed),
            mend=mend,
        )
    ]


def cannot_lose(network: Network, document: Document, loss: Callable[[], Finding]) -> list[Problem]:
    """That links are to lose packets at random, where the kernel can't. `loss` tries whether it can."""
    lossy = [link.id for link in network.links if link.is_lossy]
    if not lossy or (finding := loss()).state != "missing":
        return []
    what = f"link {lossy[0]} is to lose packets at random, and this machine can't: {finding.found}"
    mend = "see 'random loss' in testbed doctor, or take 'loss' out of the topology"
    return [Problem(what, document.where(("topology",)), mend=mend)]


def _memory(load: Load, machine: Machine, document: Document) -> Iterator[Problem]:
    limit = int(machine.memory_bytes * _MEMORY_SHARE)
    gives = (
        f"of memory, and this machine can give {limit / 2**30:.1f} of "
        f"{machine.memory_bytes / 2**30:.1f} GiB free"
    )
    if load.portals_bytes > limit:
        yield Problem(
            f"{load.portals} portals need about {load.portals_bytes / 2**30:.1f} GiB {gives}",
            document.where(("topology",)),
            allowed=f"about {limit // PORTAL_BYTES} ISPs with a portal here",
            mend="set 'portal: false' for ISPs whose peers you don't study, or take a smaller topology",
        )
    elif load.memory_bytes > limit:
        fits = int(load.peers * (limit - load.portals_bytes) / load.peers_bytes)
        yield Problem(
            f"{load.peers} peers and {load.portals} portals need about "
            f"{load.memory_bytes / 2**30:.1f} GiB {gives}",
            document.where(("swarm", "leechers")),
            allowed=f"about {fits} peers here",
            mend="lower the counts or the content's size",
        )


def _downloads(load: Load, machine: Machine, document: Document) -> Iterator[Problem]:
    if load.downloads_bytes > machine.downloads_bytes:
        yield Problem(
            f"downloads take {load.downloads_bytes / 2**30:.1f} GiB, and where they are kept (/dev/shm) "
            f"{machine.downloads_bytes / 2**30:.1f} GiB are free",
            document.where(("swarm", "content", "size")),
            mend="lower the counts or the content's size, or make it larger: "
            f"mount -o remount,size={load.downloads_bytes // 2**30 + 1}G /dev/shm",
        )
