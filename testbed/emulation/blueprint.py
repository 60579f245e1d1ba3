"""Everything that a network becomes in the kernel, decided before anything is made. Pure.

A `Network` comes in with the run's tag, switch port numbers and the engines that this machine has; out come
names, batches of `ip` and `tc` commands, and bridges. `testbed.emulation.network` applies them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from testbed.emulation.capabilities import Engines
from testbed.emulation.commands import Batch
from testbed.emulation.delay.line import LineHost
from testbed.emulation.links import (
    Shaping,
    gso_segments,
    needs_offload,
    receive_lines,
    shaping,
    tc_lines,
    wire_lines,
)
from testbed.emulation.ovs import Bridge, Port
from testbed.spec.units import FRAME_BYTES
from testbed.topology.model import Host, Link, Network

HOST_DEVICE = "eth0"
"""What a host sends through, and has its address on."""

UPLINK_DEVICE = "up0"
"""With a delay line, whose TAP is `eth0`: the veth that leads to the switch, and knows no addresses."""

PortNumbers = Mapping[str, Mapping[str, int]]
"""PoP id -> link id -> OpenFlow port number."""


_Pairs = list[tuple[tuple[str, str], tuple[str, str]]]
"""Pairs of (namespace, device)."""


@dataclass(frozen=True)
class SwitchGroup:
    """PoPs whose switches share a namespace and an Open vSwitch."""

    name: str
    pops: tuple[str, ...]


def switch_groups(network: Network, datapath: str, cores: int) -> tuple[SwitchGroup, ...]:
    """PoPs by the Open vSwitch that forwards for them: whole ISPs, spread over as many as half the cores.

    A userspace daemon forwards in one thread, and asks all its ports whenever one packet wakes it. With a
    core of its own it spends what it has on asking; under load it takes many packets at once and asks less.
    More daemons than half the cores would take the clients' time for that. A kernel datapath needs just one.
    """
    count = 1 if datapath == "system" else min(len(network.isps), max(1, cores // 2))
    ends = Counter(end for link in network.links for end in (link.a, link.b))
    loads = [0] * count
    pops: list[list[str]] = [[] for _ in range(count)]
    for isp in network.isps:
        mine = [pop.id for pop in network.pops if pop.isp == isp.name]
        lightest = loads.index(min(loads))
        loads[lightest] += sum(ends[pop] for pop in mine)
        pops[lightest] += mine
    return tuple(SwitchGroup(f"switches{number}", tuple(group)) for number, group in enumerate(pops, 1))


@dataclass(frozen=True)
class Device:
    """The interface at the sending end of one link direction, and how it is shaped."""

    namespace: str
    name: str
    link: str
    source: str
    shaping: Shaping


@dataclass(frozen=True)
class WireEnd:
    """One end of a wire: netem on it delays what goes towards its end of the link; `other` is its far end."""

    namespace: str
    name: str
    other: str
    shaping: Shaping


@dataclass(frozen=True)
class Blueprint:
    """The kernel objects of one run. Interface names are at most 15 characters and start with the tag."""

    tag: str
    network: Network
    ports: PortNumbers
    engines: Engines
    cores: int
    congestion_control: str
    ipv6: bool

    def namespace(self, name: str) -> str:
        """The network namespace of a host or of a switch group."""
        return f"{self.tag}.{name}"

    @cached_property
    def offload(self) -> bool:
        """Whether hosts leave checksums and segmentation to the other side of the switches."""
        return self.engines.datapath == "system" or needs_offload(self.network)

    @cached_property
    def largest_frame_bytes(self) -> int:
        """Of what hosts hand to the switches: segments of TCP that are split behind them count as one."""
        uplinks = (self.network.link_by_id[host.link].direction(host.id) for host in self.network.hosts)
        segments = max((gso_segments(uplink.rate_bps) for uplink in uplinks), default=1)
        return segments * FRAME_BYTES

    @cached_property
    def groups(self) -> tuple[SwitchGroup, ...]:
        return switch_groups(self.network, self.engines.datapath, self.cores)

    @cached_property
    def switch_namespaces(self) -> Mapping[str, str]:
        """PoP id -> the namespace of its switch."""
        return {pop: self.namespace(group.name) for group in self.groups for pop in group.pops}

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """All of the run, those of switches first."""
        names = [group.name for group in self.groups] + [host.id for host in self.network.hosts]
        return tuple(self.namespace(name) for name in names)

    @cached_property
    def bridge_names(self) -> Mapping[str, str]:
        """PoP id -> bridge."""
        return {pop.id: f"{self.tag}s{number}" for number, pop in enumerate(self.network.pops)}

    @cached_property
    def devices(self) -> Mapping[tuple[str, str], Device]:
        """(link id, sending end) -> device."""
        found = {}
        for number, link in enumerate(self.network.links):
            for end, letter in ((link.a, "a"), (link.b, "b")):
                at_host = end in self.network.host_by_id
                found[link.id, end] = Device(
                    namespace=self.namespace(end) if at_host else self.switch_namespaces[end],
                    name=HOST_DEVICE if at_host else f"{self.tag}l{number}{letter}",
                    link=link.id,
                    source=end,
                    shaping=shaping(link.direction(end), self.engines.delay == "netem"),
                )
        return found

    @cached_property
    def wires(self) -> Mapping[tuple[str, str], WireEnd]:
        """(link id, sending end) -> where netem delays that direction: the end of the wire that it leaves by.

        A wire is two devices in the middle of a link that pass frames to each other, netem on each of them.
        """
        found = {}
        for number, link in enumerate(self.network.links):
            if not any(self.devices[link.id, end].shaping.delay_s for end in (link.a, link.b)):
                continue
            names = {link.a: f"{self.tag}w{number}a", link.b: f"{self.tag}w{number}b"}
            for source, target in ((link.a, link.b), (link.b, link.a)):
                found[link.id, source] = WireEnd(
                    namespace=self.switch_namespaces[link.b],
                    name=names[target],
                    other=names[source],
                    shaping=self.devices[link.id, source].shaping,
                )
        return found

    @cached_property
    def line_hosts(self) -> tuple[LineHost, ...]:
        """Where a delay line takes and gives frames, in the order of the hosts; empty without a line."""
        if not self.has_delay_line:
            return ()
        namespaces = (self.namespace(host.id) for host in self.network.hosts)
        return tuple(LineHost(namespace, HOST_DEVICE, UPLINK_DEVICE) for namespace in namespaces)

    @cached_property
    def has_delay_line(self) -> bool:
        """Whether a process delays frames: where the kernel can't, and some link is to have a delay."""
        directions = (way for link in self.network.links for way in (link.forward, link.backward))
        return self.engines.delay == "line" and any(way.delay_s for way in directions)

    def pair_batches(self) -> tuple[Batch, ...]:
        """All veth pairs, each made inside the namespace of one end: the machine's own never sees them."""
        lines: dict[str, list[str]] = defaultdict(list)
        for link in self.network.links:
            far, near = self._plug(link, link.a), self._plug(link, link.b)
            for one, two in self._pairs(link, near, far):
                where = "" if two[0] == one[0] else f" netns {two[0]}"
                lines[one[0]].append(f"link add dev {one[1]} type veth peer name {two[1]}{where}")
        return _batches("ip", lines)

    def _plug(self, link: Link, end: str) -> tuple[str, str]:
        """(namespace, device) where a link's cable is plugged in."""
        device = self.devices[link.id, end]
        at_host = end in self.network.host_by_id
        return device.namespace, UPLINK_DEVICE if at_host and self.has_delay_line else device.name

    def _pairs(self, link: Link, near: tuple[str, str], far: tuple[str, str]) -> _Pairs:
        if (link.id, link.a) not in self.wires:
            return [(near, far)]
        # The end that delays what `b` sends is the one next to `a`.
        at_a, at_b = self.wires[link.id, link.b], self.wires[link.id, link.a]
        return [((at_b.namespace, at_b.name), near), ((at_a.namespace, at_a.name), far)]

    def switch_batches(self) -> tuple[Batch, ...]:
        """The switches' ends of all links and the wires, up."""
        lines: dict[str, list[str]] = defaultdict(list)
        switches = set(self.switch_namespaces.values())
        places = [(device.namespace, device.name) for device in self.devices.values()]
        places += [(end.namespace, end.name) for end in self.wires.values()]
        for namespace, name in places:
            if namespace in switches:
                lines[namespace].extend(self._up(name))
        return _batches("ip", lines)

    def host_batches(self) -> tuple[Batch, ...]:
        """Address, route and gateway of each host. The gateway's MAC is given, so that nobody asks by ARP."""
        return tuple(self._host_batch(host) for host in self.network.hosts)

    def shaping_batches(self) -> tuple[Batch, ...]:
        """The qdiscs of every direction of every link, a batch for each namespace."""
        lines: dict[str, list[str]] = defaultdict(list)
        for device in self.devices.values():
            lines[device.namespace].extend(tc_lines(device.name, device.shaping))
        for host in self.line_hosts:
            lines[host.namespace].extend(receive_lines(host.uplink, host.tap))
        for end in self.wires.values():
            lines[end.namespace].extend(wire_lines(end.name, end.other, end.shaping))
        return _batches("tc", lines)

    def bridges(self) -> Mapping[str, Bridge]:
        """PoP id -> its bridge with all ports."""
        links_at: dict[str, list[Link]] = defaultdict(list)
        for link in self.network.links:
            for end in {link.a, link.b} & self.network.pop_by_id.keys():
                links_at[end].append(link)
        return {
            pop.id: Bridge(
                name=self.bridge_names[pop.id],
                datapath_id=pop.datapath_id,
                ports=tuple(
                    Port(self.devices[link.id, pop.id].name, self.ports[pop.id][link.id])
                    for link in links_at[pop.id]
                ),
            )
            for pop in self.network.pops
        }

    def _up(self, device: str) -> tuple[str, ...]:
        """Up without an IPv6 address, whose announcements would go through the shaped links.

        In two commands: in one, the kernel puts the device up first, and gives it an address.
        """
        up = f"link set dev {device} up"
        return (f"link set dev {device} addrgenmode none", up) if self.ipv6 else (up,)

    def _host_batch(self, host: Host) -> Batch:
        pop = self.network.pop_by_id[host.pop]
        uplink = self.network.link_by_id[host.link].direction(host.id)
        gateway, device = pop.gateway_ip, HOST_DEVICE
        plug = (
            (f"link set dev {UPLINK_DEVICE} address {host.mac}", *self._up(UPLINK_DEVICE))
            if self.has_delay_line
            else ()
        )
        return Batch(
            "ip",
            self.namespace(host.id),
            (
                "link set dev lo up",
                *plug,
                f"link set dev {device} address {host.mac} gso_max_segs {gso_segments(uplink.rate_bps)}",
                *self._up(device),
                f"addr add {host.ip}/32 dev {device}",
                f"neigh add {gateway} lladdr {pop.gateway_mac} dev {device} nud permanent",
                f"route add {gateway} dev {device} scope link",
                f"route add default via {gateway} dev {device} congctl {self.congestion_control}",
            ),
        )


def _batches(program: Literal["ip", "tc"], lines: Mapping[str, list[str]]) -> tuple[Batch, ...]:
    return tuple(Batch(program, namespace, tuple(group)) for namespace, group in lines.items())
