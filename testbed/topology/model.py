"""The network as a graph: ISPs, PoPs, hosts and links, compiled from what a user wrote.

A `Network` is complete and frozen: addresses are given, routes are computed elsewhere from it. It is what
`topology.json` of a trial holds, and all that portal, controller, emulation and analysis know of a topology.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

LinkKind = Literal["internal", "interdomain", "access"]
Relationship = Literal["customer-provider", "peer-peer"]
Role = Literal["leecher", "seed", "tracker", "portal", "probe"]


@dataclass(frozen=True)
class Isp:
    """An autonomous system. `portal` is false for an ISP that publishes no map."""

    name: str
    asn: int
    prefix: str
    portal: bool = True


@dataclass(frozen=True)
class Pop:
    """A point of presence, one switch. `id` is `<isp>.<name>`; hosts live in `prefix` behind `gateway_ip`."""

    id: str
    isp: str
    name: str
    prefix: str
    gateway_ip: str
    gateway_mac: str
    datapath_id: int
    latitude: float | None = None
    longitude: float | None = None
    pid: str = ""


@dataclass(frozen=True)
class Direction:
    """One direction of a link: what is shaped.

    `rate_bps` is what the hosts of a trial can use: the capacity less the background load of others.
    `weight` is the routing weight of an internal link; of an interdomain one, what portals add for it.
    `loss` is the probability that a packet is lost. The queue's length is in bytes or in packets; where
    neither is given, it is one bandwidth-delay product at 100 ms.
    """

    rate_bps: int
    delay_s: float = 0.0
    weight: float = 1.0
    background_bps: int = 0
    loss: float = 0.0
    queue_bytes: int | None = None
    queue_packets: int | None = None

    @property
    def capacity_bps(self) -> int:
        return self.rate_bps + self.background_bps

    def utilisation(self, carried_bps: float) -> float:
        """The share of the capacity that is used when hosts send `carried_bps` on top of the background."""
        return (carried_bps + self.background_bps) / self.capacity_bps


@dataclass(frozen=True)
class Tariff:
    """How an interdomain link is billed: `price` per Mbit/s of the percentile, or flat per month."""

    kind: Literal["percentile-95", "flat", "none"]
    price: float
    currency: str = "EUR"


@dataclass(frozen=True)
class Link:
    """A link between two ends. `a` and `b` are PoP ids; for an access link `a` is the host id.

    `forward` is a -> b, `backward` b -> a. Of a customer-provider link, `a` is the customer. `ixp` names the
    exchange point where the link is, if it is at one.
    """

    id: str
    kind: LinkKind
    a: str
    b: str
    forward: Direction
    backward: Direction
    relationship: Relationship | None = None
    tariff: Tariff | None = None
    ixp: str = ""

    @property
    def is_lossy(self) -> bool:
        """Whether packets are lost at random in either direction."""
        return bool(self.forward.loss or self.backward.loss)

    def direction(self, source: str) -> Direction:
        """The direction that leaves `source`. Raises ValueError where `source` is no end of the link."""
        if source == self.a:
            return self.forward
        if source == self.b:
            return self.backward
        raise ValueError(f"{source} is no end of link {self.id}")

    def other(self, end: str) -> str:
        """The end that is not `end`. Raises ValueError where `end` is no end of the link."""
        if end == self.a:
            return self.b
        if end == self.b:
            return self.a
        raise ValueError(f"{end} is no end of link {self.id}")


@dataclass(frozen=True)
class Host:
    """A host at a PoP, with one access link. `id` is `<isp>.<pop>.<role><number>`."""

    id: str
    pop: str
    isp: str
    role: Role
    ip: str
    mac: str
    access: str
    link: str


@dataclass(frozen=True)
class Ixp:
    """An Internet exchange point: a place where links between its members meet."""

    name: str
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True)
class Network:
    """ISPs, PoPs, hosts and links of one trial, each in the order of the file."""

    name: str
    isps: tuple[Isp, ...]
    pops: tuple[Pop, ...]
    links: tuple[Link, ...]
    hosts: tuple[Host, ...] = field(default=())
    ixps: tuple[Ixp, ...] = field(default=())

    @cached_property
    def isp_by_name(self) -> Mapping[str, Isp]:
        return {isp.name: isp for isp in self.isps}

    @cached_property
    def pop_by_id(self) -> Mapping[str, Pop]:
        return {pop.id: pop for pop in self.pops}

    @cached_property
    def host_by_id(self) -> Mapping[str, Host]:
        return {host.id: host for host in self.hosts}

    @cached_property
    def link_by_id(self) -> Mapping[str, Link]:
        return {link.id: link for link in self.links}

    @cached_property
    def core_links(self) -> tuple[Link, ...]:
        """Internal and interdomain links: what is between PoPs."""
        return tuple(link for link in self.links if link.kind != "access")

    def isp_of_pop(self, pop_id: str) -> str:
        return self.pop_by_id[pop_id].isp

    def to_json(self) -> dict[str, Any]:
        """A mapping of plain lists, numbers and strings; `from_json` reads it back equal."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Network:
        """The inverse of `to_json`. Raises KeyError or TypeError where a field is missing or unknown."""

        def link(item: Mapping[str, Any]) -> Link:
            return Link(
                **{
                    **item,
                    "forward": Direction(**item["forward"]),
                    "backward": Direction(**item["backward"]),
                    "tariff": Tariff(**item["tariff"]) if item["tariff"] else None,
                }
            )

        return Network(
            name=data["name"],
            isps=tuple(Isp(**item) for item in data["isps"]),
            pops=tuple(Pop(**item) for item in data["pops"]),
            links=tuple(link(item) for item in data["links"]),
            hosts=tuple(Host(**item) for item in data["hosts"]),
            ixps=tuple(Ixp(**item) for item in data["ixps"]),
        )
