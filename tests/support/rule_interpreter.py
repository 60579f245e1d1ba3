"""Switches that do what their programs say, without a switch: packets are walked rule by rule.

As Open vSwitch does it: the matching rule of highest priority, tables with goto, fast-failover groups by the
liveness of ports, no output through the port that a packet came by, no packet whose TTL ends. A network, the
programs of its switches and the links that are cut come in; where packets go, and whom they pass, comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from testbed.controller.openflow import (
    IN_PORT,
    Action,
    DecTtl,
    ForgetPort,
    Group,
    Move,
    Output,
    Program,
    Rule,
    SetField,
    SetTtl,
    ToController,
    ToGroup,
)
from testbed.controller.rules import port_numbers
from testbed.topology.model import Direction, Host, Isp, Link, Network, Pop

Packet = Mapping[str, Any]
"""Header fields by their OXM names, addresses as text, and "nw_ttl"; what is not there matches nothing."""

_LINE = Direction(10**7)
_SAME = {"eth_type_nxm": "eth_type"}  # names of Nicira's extensible match beside those of OXM


def ip_packet(source: str, target: str, ttl: int = 64, **more: Any) -> Packet:
    """What a host sends, after it has put the gateway's MAC address on it."""
    return {"eth_type": 0x0800, "ipv4_src": source, "ipv4_dst": target, "nw_ttl": ttl, **more}


@dataclass
class Walk:
    """What became of one packet: the last field that is set says how it ended.

    `pops` is every switch that it passed, `links` every link; `counted` has (PoP, name) of counting rules,
    `metered` (PoP, meter). `host` got it; or the switch of `controller` gave it to the controller; or
    `dropped` says why it ended: "no action", "port down", "came by it", "ttl".
    """

    pops: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    counted: list[tuple[str, str]] = field(default_factory=list)
    metered: list[tuple[str, int]] = field(default_factory=list)
    host: str = ""
    controller: str = ""
    dropped: str = ""
    packet: Packet = field(default_factory=dict)


@dataclass
class _Here:
    """A packet on its way through one switch."""

    packet: dict[str, Any]
    in_port: int
    sent: list[tuple[int, Packet]] = field(default_factory=list)
    controller: bool = False
    lost: str = ""


class Fabric:
    """The switches of a network with their programs; the links in `cut` carry nothing."""

    def __init__(self, network: Network, programs: Mapping[str, Program], cut: Collection[str] = ()) -> None:
        self._network = network
        self._programs = programs
        self._cut = frozenset(cut)
        self._ports = port_numbers(network)
        self._link_of_port = {
            pop: {port: link for link, port in ports.items()} for pop, ports in self._ports.items()
        }
        self._tables = {pop: _tables(program) for pop, program in programs.items()}
        self._groups = {
            pop: {group.id: group for group in program.groups} for pop, program in programs.items()
        }

    def send(self, host: Host, packet: Packet) -> Walk:
        """Walk a packet that a host sends, to where it ends. Raises AssertionError if it goes in circles."""
        gateway = self._network.pop_by_id[host.pop].gateway_mac
        start = {"eth_src": host.mac, "eth_dst": gateway, **packet}
        return self.walk(host.pop, self._ports[host.pop][host.link], start)

    def walk(self, pop: str, in_port: int, packet: Packet) -> Walk:
        walk, been = Walk(), set()
        while True:
            state = (pop, in_port, packet.get("eth_dst"), packet.get("ipv4_dst"))
            assert state not in been, f"goes in circles: {walk.pops}"
            been.add(state)
            walk.pops.append(pop)
            here = self._pass(walk, pop, _Here(dict(packet), in_port))
            assert len(here.sent) <= 1, "a packet has become two"
            if not here.sent:
                walk.packet = here.packet
                walk.controller = pop if here.controller else ""
                walk.dropped = "" if here.controller else here.lost or "no action"
                return walk
            port, packet = here.sent[0]
            name = self._link_of_port[pop][port]
            link = self._network.link_by_id[name]
            walk.links.append(name)
            if name in self._cut:
                walk.packet, walk.dropped = packet, "port down"
                return walk
            if link.kind == "access":
                walk.packet, walk.host = packet, link.a
                return walk
            pop = link.other(pop)
            in_port = self._ports[pop][name]

    def _pass(self, walk: Walk, pop: str, here: _Here) -> _Here:
        table: int | None = 0
        while table is not None:
            rule = _chosen(self._tables[pop].get(table, []), here.packet)
            if rule is None:
                return here
            if rule.counts:
                walk.counted.append((pop, rule.counts))
            if rule.meter is not None:
                walk.metered.append((pop, rule.meter))
                assert rule.meter in {meter.id for meter in self._programs[pop].meters}
            self._do(pop, here, rule.actions)
            if here.lost:
                return here
            assert rule.then is None or rule.then > table, "tables only go forward"
            table = rule.then
        return here

    def _do(self, pop: str, here: _Here, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case SetField():
                    here.packet[action.field] = action.value
                case Move():
                    here.packet[action.target] = here.packet[action.source]
                case SetTtl():
                    here.packet["nw_ttl"] = action.ttl
                case DecTtl():
                    if here.packet["nw_ttl"] <= 1:
                        here.lost = "ttl"
                        return
                    here.packet["nw_ttl"] -= 1
                case ForgetPort():
                    here.in_port = 0
                case ToController():
                    here.controller = True
                case Output():
                    self._send(here, action.port)
                case ToGroup():
                    self._do_group(pop, here, self._groups[pop][action.group])

    def _do_group(self, pop: str, here: _Here, group: Group) -> None:
        """The first bucket whose port is up, on a copy: what it writes is its own."""
        for bucket in group.buckets:
            if self._link_of_port[pop][bucket.watch] not in self._cut:
                aside = replace(here, packet=dict(here.packet))
                self._do(pop, aside, bucket.actions)
                here.lost = aside.lost
                return
        here.lost = "port down"

    def _send(self, here: _Here, port: int) -> None:
        if port == IN_PORT:
            here.sent.append((here.in_port, dict(here.packet)))
        elif port == here.in_port:
            here.lost = "came by it"
        else:
            here.sent.append((port, dict(here.packet)))


def matching(program: Program, table: int, packet: Packet) -> list[Rule]:
    """The rules of a table that match, the one that is taken first."""
    return [rule for rule in _tables(program).get(table, []) if _matches(rule, packet)]


def _tables(program: Program) -> dict[int, list[Rule]]:
    tables: dict[int, list[Rule]] = {}
    for rule in sorted(program.rules, key=lambda rule: -rule.priority):
        tables.setdefault(rule.table, []).append(rule)
    return tables


def _chosen(rules: list[Rule], packet: Packet) -> Rule | None:
    found = None
    for rule in rules:
        if found is not None and rule.priority < found.priority:
            break
        if _matches(rule, packet):
            assert found is None, f"two rules of one priority match {packet}: {found.match} and {rule.match}"
            found = rule
    return found


def _matches(rule: Rule, packet: Packet) -> bool:
    return all(_has(packet, _SAME.get(name, name), value) for name, value in rule.match)


def _has(packet: Packet, name: str, value: int | str) -> bool:
    if name not in packet:
        return False
    if isinstance(value, str) and "/" in value:
        network, mask = _prefix(value)
        return _address(packet[name]) & mask == network
    return bool(packet[name] == value)


@cache
def _prefix(text: str) -> tuple[int, int]:
    network = IPv4Network(text)
    return int(network.network_address), int(network.netmask)


@cache
def _address(text: str) -> int:
    return int(IPv4Address(text))


def addressed(network: Network, hosts_per_pop: int = 1) -> Network:
    """A network of `random_networks` with the addresses that a compiled one has, and hosts at every PoP."""
    pops, hosts = list(_addressed_pops(network)), []
    for number, pop in enumerate(pops):
        for nth in range(hosts_per_pop):
            name = f"{pop.id}.leecher{nth}"
            ip = pop.gateway_ip.rpartition(".")[0] + f".{nth + 2}"
            mac = f"02:01:{nth:02x}:00:{number >> 8:02x}:{number & 255:02x}"
            hosts.append(Host(name, pop.id, pop.isp, "leecher", ip, mac, "line", f"{name}--{pop.id}"))
    access = [Link(host.link, "access", host.id, host.pop, _LINE, _LINE) for host in hosts]
    isps = tuple(
        Isp(isp.name, isp.asn, f"10.{number}.0.0/16", isp.portal) for number, isp in enumerate(network.isps)
    )
    # Access links among the core's: the numbering of ports must not depend on it.
    return replace(network, isps=isps, pops=tuple(pops), links=(*access, *network.links), hosts=tuple(hosts))


def _addressed_pops(network: Network) -> Iterator[Pop]:
    number_of_isp = {isp.name: number for number, isp in enumerate(network.isps)}
    seen: dict[str, int] = {}
    for number, pop in enumerate(network.pops):
        nth = seen[pop.isp] = seen.get(pop.isp, -1) + 1
        subnet = f"10.{number_of_isp[pop.isp]}.{nth}"
        mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        yield replace(pop, prefix=f"{subnet}.0/24", gateway_ip=f"{subnet}.1", gateway_mac=mac)
