"""The experiment file: a topology, a swarm, the policies to compare, and how often.

These models say what a user may write. What needs the topology as well (does the ISP exist, how many peers
fit) is checked by `check`, what needs the machine by the trial's planner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from testbed.errors import Problem, UserError
from testbed.spec.loading import Document, Spec, load
from testbed.spec.topology import Name, TopologySpec, load_topology, unknown
from testbed.spec.units import Duration, Size


class ContentSpec(Spec):
    """What is downloaded: pseudo-random bytes from the experiment's seed."""

    size: Size
    piece: Size = 65536

    @field_validator("piece")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value < 16384 or value & (value - 1):
            raise PydanticCustomError(
                "piece",
                "{given} bytes is no piece size",
                {"given": value, "allowed": "a power of two from 16 KiB"},
            )
        return value


class PeersSpec(Spec):
    """`count` peers of one ISP with the same access profile; without `pop` spread evenly over its PoPs."""

    isp: Name
    pop: Name | None = None
    count: int = Field(default=1, ge=1, le=10000)
    access: Name


class ArrivalSpec(Spec):
    """When leechers start: a flash crowd, each at a random moment `within` the given time."""

    kind: Literal["flash-crowd"] = "flash-crowd"
    within: Duration = 5.0


class SwarmSpec(Spec):
    """Who downloads what from whom. Seeds start first and stay to the end, and so do leechers when done."""

    content: ContentSpec
    seeds: list[PeersSpec] = Field(min_length=1)
    leechers: list[PeersSpec] = Field(min_length=1)
    arrival: ArrivalSpec = ArrivalSpec()


class ClientSpec(Spec):
    """The settings of the BitTorrent client that decide the outcome.

    Peer exchange, DHT and local discovery find neighbours behind the tracker's back. They are off, and the
    torrent is private, unless an experiment studies just that.
    """

    program: Literal["libtorrent"] = "libtorrent"
    connections: int = Field(default=30, ge=2, le=2000)
    unchoke_slots: int = Field(default=4, ge=1, le=1000)
    request_queue: int = Field(default=500, ge=2, le=10000)
    encryption: Literal["off", "prefer"] = "off"
    peer_exchange: bool = False
    dht: bool = False
    local_discovery: bool = False


class TrackerSpec(Spec):
    """Where the tracker is (`isp.pop`) and how it answers: `interval` between announces, peers an answer."""

    at: str
    access: Name = "server"
    interval: Duration = 60.0
    numwant: int = Field(default=20, ge=1, le=1000)


class PortalsSpec(Spec):
    """The hosts that the ISPs' portals run in: one an ISP, at its first PoP."""

    access: Name = "server"
    refresh: Duration = Field(default=10.0, gt=0)


class ExperimentSpec(Spec):
    """A whole experiment file. The first policy is the one that others are compared with."""

    name: Name
    topology: str
    seed: int = Field(default=1, ge=0, lt=2**63)
    repeats: int = Field(default=1, ge=1, le=1000)
    policies: list[str | dict[str, dict[str, Any]]] = Field(min_length=1)
    swarm: SwarmSpec
    client: ClientSpec = ClientSpec()
    tracker: TrackerSpec
    portals: PortalsSpec = PortalsSpec()
    congestion_control: Literal["cubic", "reno", "bbr"] = "cubic"
    timeout: Duration = Field(default=300.0, gt=0)

    @field_validator("policies")
    @classmethod
    def _one_name_each(cls, value: list[str | dict[str, dict[str, Any]]]) -> list[Any]:
        for item in value:
            if isinstance(item, dict) and len(item) != 1:
                raise PydanticCustomError(
                    "policy",
                    "an entry names {given} policies",
                    {
                        "given": len(item),
                        "allowed": "a name, or one name with its parameters: {p4p: {gamma: 0.7}}",
                    },
                )
        return value

    @property
    def policy_parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Policy name -> parameters, in the order of the file."""
        named: list[dict[str, dict[str, Any]]] = [
            {item: {}} if isinstance(item, str) else item for item in self.policies
        ]
        return {name: parameters for item in named for name, parameters in item.items()}


def load_experiment(path: Path) -> tuple[ExperimentSpec, Document, TopologySpec, Document]:
    """Read an experiment and its topology, check both. Raises UserError with every problem found."""
    spec, document = load(path, ExperimentSpec)
    topology_path = path.parent / spec.topology
    if not topology_path.is_file():
        raise UserError(
            Problem(
                f"there is no topology file '{spec.topology}' (looked for {topology_path})",
                document.where(("topology",)),
                allowed="a path relative to the experiment's file",
            )
        )
    topology, topology_document = load_topology(topology_path)
    problems = list(check(spec, document, topology))
    if problems:
        raise UserError(problems)
    return spec, document, topology, topology_document


def check(spec: ExperimentSpec, document: Document, topology: TopologySpec) -> Iterator[Problem]:
    """What is wrong between the experiment and its topology, each problem with its line."""
    names: set[str] = set()
    for index, item in enumerate(spec.policies):
        for name in [item] if isinstance(item, str) else item:
            if name in names:
                yield Problem(f"policy '{name}' is named twice", document.where(("policies", index)))
            names.add(name)
    for kind in ("seeds", "leechers"):
        for index, peers in enumerate(getattr(spec.swarm, kind)):
            location = ("swarm", kind, index)
            isp = topology.isps.get(peers.isp)
            if isp is None:
                yield unknown("ISP", peers.isp, topology.isps, document.where((*location, "isp")))
            elif peers.pop is not None and peers.pop not in isp.pops:
                where = document.where((*location, "pop"))
                yield unknown(f"PoP of ISP {peers.isp}", peers.pop, isp.pops, where)
            if peers.access not in topology.access:
                where = document.where((*location, "access"))
                yield unknown("access profile", peers.access, topology.access, where)
    isp_name, _, pop = spec.tracker.at.partition(".")
    if isp_name not in topology.isps or pop not in topology.isps[isp_name].pops:
        every = [f"{name}.{pop}" for name, isp in topology.isps.items() for pop in isp.pops]
        yield unknown("PoP", spec.tracker.at, every, document.where(("tracker", "at")))
    for key, access in (("tracker", spec.tracker.access), ("portals", spec.portals.access)):
        if access not in topology.access:
            yield unknown("access profile", access, topology.access, document.where((key, "access")))
