"""The experiment file: a topology, a swarm, the policies to compare, and how often.

These models say what a user may write. What needs the topology as well (does the ISP exist, how many peers
fit) is checked by `check`, what needs the machine by the trial's planner.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from testbed.errors import Problem, UserError
from testbed.spec.events import Event, problems_in_events
from testbed.spec.fields import Name, PopId
from testbed.spec.loading import Document, Spec, load_document, unknown, validate
from testbed.spec.portals import PortalsSpec, problems_in_portals
from testbed.spec.topology import TopologySpec, refuse_experiment, topology_of
from testbed.spec.units import Duration, Size
from testbed.spec.wording import shown


class ContentSpec(Spec):
    """What is downloaded: pseudo-random bytes from the experiment's seed."""

    size: Size
    """Of the whole, such as 16 MiB."""
    piece: Size = 65536
    """A power of two from 16 KiB. Default: 64 KiB."""

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
    """Peers of one ISP with the same access profile."""

    isp: Name
    """An ISP of the topology."""
    pop: Name | None = None
    """Where they are. Default: spread evenly over the ISP's PoPs."""
    count: int = Field(default=1, ge=1, le=10000)
    """How many they are."""
    access: Name
    """An access profile of the topology."""


class ArrivalSpec(Spec):
    """When leechers start: a flash crowd, each at a random moment `within` the given time."""

    kind: Literal["flash-crowd"] = "flash-crowd"
    """All come at nearly the same time."""
    within: Duration = 5.0
    """The time in which all come. Default: 5 s."""


class SwarmSpec(Spec):
    """Who downloads what from whom. Seeds start first and stay to the end, and so do leechers when done."""

    content: ContentSpec
    """What is downloaded."""
    seeds: list[PeersSpec] = Field(min_length=1)
    """Who has all of it from the start."""
    leechers: list[PeersSpec] = Field(min_length=1)
    """Who downloads it."""
    arrival: ArrivalSpec = ArrivalSpec()
    """When leechers start."""


class ClientSpec(Spec):
    """The settings of the BitTorrent client that decide the outcome.

    Peer exchange, DHT and local discovery find neighbours behind the tracker's back. They are off, and the
    torrent is private, unless an experiment studies just that.
    """

    program: Literal["libtorrent"] = "libtorrent"
    """The BitTorrent client."""
    connections: int = Field(default=30, ge=2, le=2000)
    """The most neighbours of a peer."""
    unchoke_slots: int = Field(default=4, ge=1, le=1000)
    """The most neighbours that a peer sends to at a time."""
    request_queue: int = Field(default=500, ge=2, le=10000)
    """The most blocks that a peer asks one neighbour for ahead."""
    encryption: Literal["off", "prefer"] = "off"
    """Of the BitTorrent protocol."""
    peer_exchange: bool = False
    """Neighbours tell each other of further peers."""
    dht: bool = False
    """Peers find each other in a distributed hash table."""
    local_discovery: bool = False
    """Peers look for each other by multicast."""


class TrackerSpec(Spec):
    """Where the tracker is and how it answers."""

    at: PopId
    """Its PoP, as isp.pop."""
    access: Name = "server"
    """An access profile of the topology."""
    interval: Duration = 60.0
    """The time between two announces of a peer. Default: 60 s."""
    numwant: int = Field(default=20, ge=1, le=1000)
    """The peers that an answer names."""


def _one_policy(item: Any) -> Any:
    """A name, or one name with its parameters; a name with nothing behind it has none."""
    if isinstance(item, str):
        return item
    allowed = "a name, or one name with its parameters: {p4p: {gamma: 0.7}}"
    if not isinstance(item, dict):
        raise PydanticCustomError(
            "policy", "{given} is no policy", {"given": shown(item), "allowed": allowed}
        )
    if len(item) != 1:
        raise PydanticCustomError(
            "policy", "an entry names {given} policies", {"given": len(item), "allowed": allowed}
        )
    ((name, parameters),) = item.items()
    if not (parameters is None or isinstance(parameters, dict)):
        context = {"name": name, "given": shown(parameters), "allowed": allowed}
        raise PydanticCustomError("policy", "the parameters of {name} are {given}", context)
    return {name: parameters or {}}


Policy = Annotated[str | dict[str, dict[str, Any]], BeforeValidator(_one_policy)]
"""A policy by name, with its parameters where it has some."""


class ExperimentSpec(Spec):
    """An experiment: a topology, a swarm in it, the policies to compare, and how often."""

    name: Name
    """Names the folder of its results."""
    topology: str
    """The topology's file, relative to this one."""
    seed: int = Field(default=1, ge=0, lt=2**63)
    """Of arrivals and content, the same for every policy of a repeat."""
    repeats: int = Field(default=1, ge=1, le=1000)
    """How often each policy is tried."""
    policies: list[Policy] = Field(min_length=1)
    """How the tracker picks peers; the first is the one that others are compared with."""
    swarm: SwarmSpec
    """Who downloads what from whom."""
    client: ClientSpec = ClientSpec()
    """The settings of the BitTorrent client."""
    tracker: TrackerSpec
    """The tracker that peers ask for others."""
    portals: PortalsSpec = PortalsSpec()
    """The ISPs' portals: what they say, and to whom."""
    controller: Literal["ryu", "os-ken"] = "ryu"
    """The framework that the SDN controller runs on."""
    congestion_control: Literal["cubic", "reno", "bbr"] = "cubic"
    """Of TCP, in all hosts."""
    timeout: Duration = Field(default=300.0, gt=0)
    """The longest that a trial downloads. Default: 300 s."""
    events: list[Event] = Field(default_factory=list)
    """What changes in mid-trial."""

    @property
    def policy_parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Policy name -> parameters, in the order of the file."""
        named: list[dict[str, dict[str, Any]]] = [
            {item: {}} if isinstance(item, str) else item for item in self.policies
        ]
        return {name: parameters for item in named for name, parameters in item.items()}


def load_experiment(path: Path) -> tuple[ExperimentSpec, Document, TopologySpec, Document]:
    """Read an experiment and its topology, check both. Raises UserError with every problem found."""
    document = load_document(path)
    _refuse_topology(document)
    spec = validate(document, ExperimentSpec)
    topology_path = path.parent / spec.topology
    if not os.path.isfile(topology_path):
        raise UserError(
            Problem(
                f"there is no topology file '{spec.topology}' (looked for {topology_path})",
                document.where(("topology",)),
                allowed="a path relative to the experiment's file",
            )
        )
    topology_file = load_document(topology_path)
    refuse_experiment(topology_file, document.where(("topology",)))
    topology, topology_document = topology_of(topology_file)
    problems = list(check(spec, document, topology))
    if problems:
        raise UserError(problems)
    return spec, document, topology, topology_document


def _refuse_topology(document: Document) -> None:
    if "isps" in document.data and "swarm" not in document.data:
        what = f"{document.path} is a topology file, and an experiment file is needed"
        mend = "give an experiment that names it under 'topology'"
        raise UserError(Problem(what, document.where(("isps",)), mend=mend))


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
                yield unknown("PoP", peers.pop, isp.pops, where, owner=f"ISP {peers.isp}")
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
    yield from problems_in_portals(spec.portals, document, topology)
    yield from problems_in_events(spec.events, spec.timeout, document, topology)
