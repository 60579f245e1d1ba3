"""The OpenFlow 1.3 program of every switch, from the compiled network and its routes. Pure.

A packet is routed as routers do it: each switch forwards on the longest matching destination prefix,
decrements the TTL and writes the MAC addresses of the next hop. Writing them at every hop also keeps the
datapath's cache small: what arrives over a link has the same addresses, whichever host sent it. There is no
flooding and no learning; what nothing matches is dropped and counted.

A packet passes four tables: ADMIT answers ARP and pings of the gateway, hands packets whose TTL ends to the
controller (which answers for the PoP), sends detoured ones on, and counts by ISP what is for the PoP's hosts;
METER_OUT and METER_IN throttle classes of what the PoP's hosts send and receive; ROUTE forwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.controller.detours import Detour, detours
from testbed.controller.openflow import (
    ETH_ARP,
    ETH_IPV4,
    IN_PORT,
    IP_ICMP,
    IP_TCP,
    IP_UDP,
    Action,
    Bucket,
    DecTtl,
    ForgetPort,
    Group,
    Meter,
    Move,
    Output,
    Program,
    Rule,
    SetField,
    SetTtl,
    ToController,
    ToGroup,
)
from testbed.topology.model import Network, Pop
from testbed.topology.routes import Routes

TABLES = ("ADMIT", "METER_OUT", "METER_IN", "ROUTE")
ADMIT, METER_OUT, METER_IN, ROUTE = range(len(TABLES))

ARP_REQUEST, ARP_REPLY = 1, 2
ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY = 8, 0

_OWN_PRIORITY, _TTL_PRIORITY, _LABEL_PRIORITY, _PAIR_PRIORITY, _IP_PRIORITY, _MISS_PRIORITY = (
    400,
    300,
    200,
    110,
    100,
    0,
)
# A longer prefix has a higher priority: longest prefix match in one table.
_PREFIX_PRIORITY = 100
# A packet from one metered port to another meets the meter of the one that it goes to.
_METER_PRIORITIES = {"all": 100, "src": 200, "dst": 300}

ANSWER_TTL = 64
"""Of what a switch answers itself, as others see it."""

BITTORRENT_PORT = 6881
TTL_METER = 1
_ANSWERS_PER_S = 100
"""Packets a second whose TTL has ended that a switch hands to the controller: routers limit this as well (RFC
1812, section 4.3.2.8)."""

UNROUTED, NOT_IP = "unrouted", "not-ip"
_PAIR = "pair:"

_QUOTED_BYTES = 128
_BURST_S = 0.125
"""How much a meter lets through at once, in time at its rate: TCP halves its rate at smaller ones."""


@dataclass(frozen=True)
class TrafficClass:
    """Packets by protocol and port, either one; all IPv4 packets where `protocols` is empty."""

    protocols: tuple[int, ...] = ()
    port: int | None = None

    def matches(self) -> tuple[tuple[int, tuple[tuple[str, int | str], ...]], ...]:
        """(priority, OXM fields beside the addresses), a rule each: towards the port and from it."""
        if not self.protocols:
            return ((_METER_PRIORITIES["all"], ()),)
        names = {IP_TCP: "tcp", IP_UDP: "udp"}
        return tuple(
            (
                _METER_PRIORITIES[end],
                (("ip_proto", protocol), (f"{names[protocol]}_{end}", self.port or 0)),
            )
            for protocol in self.protocols
            for end in ("dst", "src")
        )


@dataclass(frozen=True)
class Throttle:
    """A meter at one PoP: what of a class its hosts send (`out`) or receive (`in`) passes at `rate_bps`.

    `number`, from 2, is the meter's id at the switch.
    """

    name: str
    number: int
    pop: str
    traffic: TrafficClass
    direction: Literal["out", "in"]
    rate_bps: int


def port_numbers(network: Network) -> Mapping[str, Mapping[str, int]]:
    """`result[pop id][link id]` is the OpenFlow port of the link's end at the PoP's switch.

    Core links in the order of the file from 1, then access links: hosts do not renumber the core.
    """
    ports: dict[str, dict[str, int]] = {pop.id: {} for pop in network.pops}
    access = (link for link in network.links if link.kind == "access")
    for link in (*network.core_links, *access):
        for end in (link.a, link.b):
            if end in ports:
                ports[end][link.id] = len(ports[end]) + 1
    return ports


def switch_programs(
    network: Network,
    routes: Routes,
    failed: Collection[str] = (),
    throttles: Sequence[Throttle] = (),
    largest_frame_bytes: int = 1514,
) -> Mapping[str, Program]:
    """`result[pop id]` is the whole program of the PoP's switch. `routes` avoid the `failed` links.

    The rules of a switch at PoP p of ISP i, without throttles, are

        8 + ISPs + detours(p) + hosts(p) + (other reachable PoPs of i)
          + sum over other reachable ISPs j of (1 + exceptions(p, j))

    8 being ARP, the gateway's ping, the TTL's end, IPv4, and the misses of ADMIT (what is not IPv4), of the
    two meter tables (not throttled) and of ROUTE (no route).
    detours(p) is the number of detours that pass p in between, at most twice the internal links of i.
    exceptions(p, j) is the number of PoPs of j that are left for by another link than most PoPs of j are;
    where a PoP of j is unreachable, j has no rule of its own and one for each PoP that is reachable. A
    throttle adds 1 rule (all traffic) or 4 (TCP and UDP by port). So rules grow with prefixes, and not with
    pairs of hosts.
    """
    ports = port_numbers(network)
    around = detours(network, failed)
    passing: dict[str, list[Detour]] = {pop.id: [] for pop in network.pops}
    for detour in around.values():
        for pop in detour.between:
            passing[pop].append(detour)
    hosts: dict[str, list[Rule]] = {pop.id: [] for pop in network.pops}
    for host in network.hosts:
        pop_ = network.pop_by_id[host.pop]
        hop = _hop(pop_, host.mac, ports[host.pop][host.link])
        hosts[host.pop].append(_towards(f"{host.ip}/32", (DecTtl(), *hop)))
    return {
        pop.id: _program(
            network,
            pop,
            hosts[pop.id],
            routes.next_links(pop.id),
            ports[pop.id],
            around,
            passing[pop.id],
            [throttle for throttle in throttles if throttle.pop == pop.id],
            largest_frame_bytes,
        )
        for pop in network.pops
    }


def pair_source(counts: str) -> str | None:
    """The ISP whose packets a rule that counts under this name counts; None for another name."""
    return counts.removeprefix(_PAIR) if counts.startswith(_PAIR) else None


def _program(
    network: Network,
    pop: Pop,
    hosts: Sequence[Rule],
    next_link: Mapping[str, str],
    ports: Mapping[str, int],
    around: Mapping[tuple[str, str], Detour],
    passing: Sequence[Detour],
    throttles: Sequence[Throttle],
    largest_frame_bytes: int,
) -> Program:
    # What a detour brings to its end may have to go back over the link that it came by.
    coming_back = {detour.links[-1] for detour in around.values() if detour.target == pop.id}
    ways = {
        link: _way(network, pop, link, ports, around, back=link in coming_back)
        for link in sorted(set(next_link.values()))
    }
    meters = [
        Meter(TTL_METER, _ANSWERS_PER_S, _ANSWERS_PER_S, in_packets=True),
        *(_meter(throttle, largest_frame_bytes) for throttle in throttles),
    ]
    rules = (
        _answer_arp(pop),
        _answer_ping(pop),
        Rule(
            ADMIT,
            _TTL_PRIORITY,
            # Both by their Nicira names: Ryu sorts fields by number, and OVS wants the type before the TTL.
            (("eth_type_nxm", ETH_IPV4), ("nw_ttl", 1)),
            (ToController(_QUOTED_BYTES),),
            meter=TTL_METER,
        ),
        *(_pass_on(pop, detour, ports) for detour in passing),
        *(_count(pop, isp.name, isp.prefix) for isp in network.isps),
        Rule(ADMIT, _IP_PRIORITY, (("eth_type", ETH_IPV4),), then=METER_OUT),
        Rule(ADMIT, _MISS_PRIORITY, (), counts=NOT_IP),
        *(rule for throttle in throttles for rule in _throttle_rules(pop, throttle)),
        Rule(METER_OUT, _MISS_PRIORITY, (), then=METER_IN),
        Rule(METER_IN, _MISS_PRIORITY, (), then=ROUTE),
        *hosts,
        *_prefix_rules(network, pop, next_link, {link: actions for link, (actions, _) in ways.items()}),
        Rule(ROUTE, _MISS_PRIORITY, (), counts=UNROUTED),
    )
    groups = tuple(group for _, group in ways.values() if group is not None)
    return Program(rules, groups, tuple(meters))


def _way(
    network: Network,
    pop: Pop,
    link: str,
    ports: Mapping[str, int],
    around: Mapping[tuple[str, str], Detour],
    *,
    back: bool,
) -> tuple[tuple[Action, ...], Group | None]:
    """What sends a packet over a link, and the group that this takes: one where there is a detour.

    `back` says that the packet may have come by that link.
    """
    next_pop = network.pop_by_id[network.link_by_id[link].other(pop.id)]
    hop = _hop(pop, next_pop.gateway_mac, ports[link])
    if back:
        hop = (ForgetPort(), *hop)
    detour = around.get((link, pop.id))
    if detour is None:
        return (DecTtl(), *hop), None
    other_port = ports[detour.links[0]]
    # The packet may have come by the very link that the detour begins with.
    aside = (ForgetPort(), *_hop(pop, detour.label, other_port))
    group = Group((Bucket(ports[link], hop), Bucket(other_port, aside)))
    return (DecTtl(), ToGroup(group.id)), group


def _prefix_rules(
    network: Network, pop: Pop, next_link: Mapping[str, str], ways: Mapping[str, tuple[Action, ...]]
) -> Iterable[Rule]:
    for isp in network.isps:
        pops = [other for other in network.pops if other.isp == isp.name and other.id != pop.id]
        links = {other.id: next_link[other.id] for other in pops if other.id in next_link}
        common = ""
        if isp.name != pop.isp and links and len(links) == len(pops):
            # Ties go to the link of the first PoP in the file: Counter keeps the order of insertion.
            common = Counter(links.values()).most_common(1)[0][0]
            yield _towards(isp.prefix, ways[common])
        for other in pops:
            if links.get(other.id, common) != common:
                yield _towards(other.prefix, ways[links[other.id]])


def _hop(pop: Pop, next_hop_mac: str, port: int) -> tuple[Action, ...]:
    return SetField("eth_src", pop.gateway_mac), SetField("eth_dst", next_hop_mac), Output(port)


def _towards(prefix: str, actions: tuple[Action, ...]) -> Rule:
    match = (("eth_type", ETH_IPV4), ("ipv4_dst", prefix))
    return Rule(ROUTE, _PREFIX_PRIORITY + _length(prefix), match, actions)


def _length(prefix: str) -> int:
    return int(prefix.rpartition("/")[2])


def _answer_arp(pop: Pop) -> Rule:
    """Turn a request for the gateway's address into its answer and send it back (RFC 826)."""
    return Rule(
        ADMIT,
        _OWN_PRIORITY,
        (("eth_type", ETH_ARP), ("arp_op", ARP_REQUEST), ("arp_tpa", pop.gateway_ip)),
        (
            Move("eth_src", "eth_dst", 48),
            SetField("eth_src", pop.gateway_mac),
            SetField("arp_op", ARP_REPLY),
            Move("arp_sha", "arp_tha", 48),
            SetField("arp_sha", pop.gateway_mac),
            Move("arp_spa", "arp_tpa", 32),
            SetField("arp_spa", pop.gateway_ip),
            Output(IN_PORT),
        ),
    )


def _answer_ping(pop: Pop) -> Rule:
    """Turn an echo request for the gateway into its answer (RFC 792), and route that."""
    return Rule(
        ADMIT,
        _OWN_PRIORITY,
        (
            ("eth_type", ETH_IPV4),
            ("ip_proto", IP_ICMP),
            ("icmpv4_type", ICMP_ECHO_REQUEST),
            ("ipv4_dst", pop.gateway_ip),
        ),
        (
            Move("ipv4_src", "ipv4_dst", 32),
            SetField("ipv4_src", pop.gateway_ip),
            SetField("icmpv4_type", ICMP_ECHO_REPLY),
            SetTtl(ANSWER_TTL + 1),  # ROUTE takes one off
            ForgetPort(),
        ),
        then=ROUTE,
    )


def _pass_on(pop: Pop, detour: Detour, ports: Mapping[str, int]) -> Rule:
    """Send a packet that carries a detour's label along it."""
    onward = detour.links[detour.between.index(pop.id) + 1]
    match = (("eth_type", ETH_IPV4), ("eth_dst", detour.label))
    return Rule(ADMIT, _LABEL_PRIORITY, match, (DecTtl(), Output(ports[onward])))


def _count(pop: Pop, isp: str, prefix: str) -> Rule:
    match = (("eth_type", ETH_IPV4), ("ipv4_src", prefix), ("ipv4_dst", pop.prefix))
    return Rule(ADMIT, _PAIR_PRIORITY, match, then=METER_OUT, counts=_PAIR + isp)


def _throttle_rules(pop: Pop, throttle: Throttle) -> Iterable[Rule]:
    table, address, then = (
        (METER_OUT, "ipv4_src", METER_IN) if throttle.direction == "out" else (METER_IN, "ipv4_dst", ROUTE)
    )
    for priority, more in throttle.traffic.matches():
        match = (("eth_type", ETH_IPV4), *more[:1], (address, pop.prefix), *more[1:])
        yield Rule(table, priority, match, then=then, meter=throttle.number)


def _meter(throttle: Throttle, largest_frame_bytes: int) -> Meter:
    """A meter whose bucket holds two of the largest frames: one that does not hold a frame lets none pass."""
    rate_kbps = max(1, round(throttle.rate_bps / 1000))
    least_kbit = -(-2 * largest_frame_bytes * 8 // 1000)
    return Meter(throttle.number, rate_kbps, max(least_kbit, round(rate_kbps * _BURST_S)))
