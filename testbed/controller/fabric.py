"""What the controller knows: the network as it is now, who is connected, what each switch should have. Pure.

The application writes it, the northbound API reads it. It knows no OpenFlow library and sends nothing: links
that fail, and what clients ask for, go in; routes and programs come out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from testbed.controller.counters import Totals
from testbed.controller.openflow import Program
from testbed.controller.requests import MeterSpec
from testbed.controller.rules import TTL_METER, Throttle, port_numbers, switch_programs
from testbed.errors import Problem, UserError
from testbed.topology.model import Direction, Link, Network
from testbed.topology.routes import Routes

FindRoutes = Callable[[Network, frozenset[str]], Routes]
_CHANGEABLE = ("rate_bps", "delay_s", "loss")


@dataclass
class Switch:
    """One PoP's switch. `rules` is how many of its program it has confirmed."""

    pop: str
    link_of_port: Mapping[int, str]
    connected: bool = False
    confirmed: bool = False
    rules: int = 0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("connected", "confirmed", "rules", "error")}


@dataclass(frozen=True)
class MeterState:
    """A meter that a client has set, with its number at the switches."""

    spec: MeterSpec
    number: int


@dataclass
class Asked:
    """What clients have asked for, which a controller that starts again takes up where the last one ended."""

    down: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    meters: dict[str, MeterState] = field(default_factory=dict)
    directions: dict[str, tuple[Direction, Direction]] = field(default_factory=dict)


class Fabric:
    """All switches and links of a network. `find_routes` computes routes without the failed links."""

    def __init__(
        self,
        network: Network,
        routes: Routes,
        find_routes: FindRoutes,
        largest_frame_bytes: int = 1514,
        asked: Asked | None = None,
    ) -> None:
        self._find_routes = find_routes
        self._largest_frame_bytes = largest_frame_bytes
        self._built = network
        self._first_routes = routes
        asked = asked or Asked()
        self.network = network
        """With the rates, delays and losses of now."""
        for name, (forward, backward) in asked.directions.items():
            self.set_directions(name, forward, backward)
        self.meters = dict(asked.meters)
        self.asked_down = set(asked.down)
        self.ports = port_numbers(network)
        # (PoP, link) of ports that are down, as switches last said.
        self._ports_down = {
            (end, name)
            for name in asked.failed
            for end in (self.links[name].a, self.links[name].b)
            if end in self.ports
        }
        self.by_pop = {
            pop.id: Switch(pop.id, {number: link for link, number in self.ports[pop.id].items()})
            for pop in network.pops
        }
        self.by_datapath = {pop.datapath_id: self.by_pop[pop.id] for pop in network.pops}
        self.totals: dict[str, Totals] = {pop.id: Totals() for pop in network.pops}
        # How often something was to be otherwise, and up to which of these times it is in force.
        self.wanted = self.settled = 0
        self.plan()

    @property
    def ready(self) -> bool:
        """Whether every switch has said that it has its whole program, that of now, and nothing else."""
        confirmed = all(switch.connected and switch.confirmed for switch in self.by_pop.values())
        return confirmed and self.settled == self.wanted

    @property
    def links(self) -> Mapping[str, Link]:
        """The links as they are now, by id."""
        return self.network.link_by_id

    @cached_property
    def isp_of_pop(self) -> Mapping[str, str]:
        return {pop.id: pop.isp for pop in self._built.pops}

    @cached_property
    def host_of_link(self) -> Mapping[str, str]:
        return {host.link: host.id for host in self._built.hosts}

    @cached_property
    def pop_of_name(self) -> Mapping[str, str]:
        """PoP, by its id, by a host's id and by a host's or gateway's address."""
        hosts = {name: host.pop for host in self._built.hosts for name in (host.id, host.ip)}
        return {pop.gateway_ip: pop.id for pop in self._built.pops} | hosts | {p: p for p in self.ports}

    def access_link(self, name: str) -> str | None:
        """The access link of a host, by its id or address; None for a PoP or a gateway."""
        return next((host.link for host in self._built.hosts if name in (host.id, host.ip)), None)

    def port_is(self, pop: str, link: str, down: bool) -> bool:
        """Note the state of a port. Returns whether the link is up or down by that, and was not before."""
        before = self.is_down(link)
        (self._ports_down.add if down else self._ports_down.discard)((pop, link))
        return self.is_down(link) != before

    def is_down(self, link: str) -> bool:
        ends = self.links[link]
        return (ends.a, link) in self._ports_down or (ends.b, link) in self._ports_down

    def port_down(self, pop: str, link: str) -> bool:
        return (pop, link) in self._ports_down

    @property
    def failed(self) -> frozenset[str]:
        """The core links that are down."""
        core = {link for _, link in self._ports_down if self.links[link].kind != "access"}
        return frozenset(core)

    def plan(self) -> None:
        """Compute routes and programs for the links and meters of now."""
        failed = self.failed
        self.planned_failed = failed
        self.routes = self._find_routes(self._built, failed) if failed else self._first_routes
        self.programs: Mapping[str, Program] = switch_programs(
            self._built, self.routes, failed, list(self._throttles()), self._largest_frame_bytes
        )

    def set_directions(self, name: str, forward: Direction, backward: Direction) -> None:
        changed = replace(self.links[name], forward=forward, backward=backward)
        links = tuple(changed if link.id == name else link for link in self.network.links)
        self.network = replace(self.network, links=links)

    def meter_in_the_way(self, name: str, spec: MeterSpec) -> str | None:
        """Another meter for some of the same packets at a PoP: rules of both would have the same match."""
        wanted = set(spec.traffic_class().matches())
        for other, meter in self.meters.items():
            there = meter.spec
            if (
                other != name
                and (there.isp, there.direction) == (spec.isp, spec.direction)
                and (there.pop == spec.pop or None in (there.pop, spec.pop))
                and wanted & set(there.traffic_class().matches())
            ):
                return other
        return None

    def number_for(self, name: str) -> int:
        """The number of a meter: its own where it has one, or the least that is free."""
        if name in self.meters:
            return self.meters[name].number
        taken = {meter.number for meter in self.meters.values()}
        return next(n for n in range(TTL_METER + 1, TTL_METER + 2 + len(taken)) if n not in taken)

    def _throttles(self) -> Iterable[Throttle]:
        for name, meter in self.meters.items():
            spec = meter.spec
            for pop in self._built.pops:
                if pop.isp == spec.isp and spec.pop in (None, pop.id):
                    yield Throttle(
                        name, meter.number, pop.id, spec.traffic_class(), spec.direction, spec.rate_bps
                    )

    def link_json(self, name: str) -> dict[str, Any]:
        link = self.links[name]
        return {
            "id": link.id,
            "kind": link.kind,
            "a": link.a,
            "b": link.b,
            "relationship": link.relationship,
            "state": "down" if self.is_down(name) else "up",
            "forward": {"from": link.a, **changeable(link.forward)},
            "backward": {"from": link.b, **changeable(link.backward)},
        }

    def asked_json(self) -> dict[str, Any]:
        """What `asked_from` reads back."""
        first = self._built.link_by_id
        return {
            "down": sorted(self.asked_down),
            "failed": sorted(self.failed),
            "meters": {
                name: {"number": meter.number, "spec": meter.spec.to_json()}
                for name, meter in self.meters.items()
            },
            "directions": {
                name: [changeable(link.forward), changeable(link.backward)]
                for name, link in self.links.items()
                if link != first[name]
            },
        }


def asked_from(data: Mapping[str, Any], network: Network) -> Asked:
    """The inverse of `Fabric.asked_json`. Raises KeyError, TypeError or ValueError where it is none."""
    by_id = network.link_by_id
    for name in ("meters", "directions"):
        if not isinstance(data[name], dict):
            raise TypeError(f"{name} is no mapping")
    return Asked(
        down={name for name in data["down"] if by_id[name]},
        failed={name for name in data["failed"] if by_id[name]},
        meters={
            name: MeterState(MeterSpec.model_validate(item["spec"]), int(item["number"]))
            for name, item in data["meters"].items()
        },
        directions={
            name: (replace(by_id[name].forward, **forward), replace(by_id[name].backward, **backward))
            for name, (forward, backward) in data["directions"].items()
        },
    )


def changeable(direction: Direction) -> dict[str, Any]:
    return {name: getattr(direction, name) for name in _CHANGEABLE}


def load_topology(path: Path) -> tuple[Network, Routes]:
    """What a `topology.json` holds. Raises UserError where the file is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Network.from_json(data["network"]), Routes.from_json(data["routes"])
    except OSError as error:
        raise UserError(Problem(where=str(path), what=f"can't be read: {error.strerror}")) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(Problem(where=str(path), what=f"is no compiled topology: {error!r}")) from error
