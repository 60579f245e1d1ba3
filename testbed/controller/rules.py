"""The OpenFlow 1.3 program of every switch, from the compiled network and its routes. Pure.

A packet is routed as routers do it: each switch forwards on the longest matching destination prefix,
decrements the TTL and writes the MAC addresses of the next hop. Writing them at every hop also keeps the
datapath's cache small: what arrives over a link has the same addresses, whichever host sent it. There is no
flooding and no learning; what nothing matches is dropped and counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.topology.model import Network, Pop
from testbed.topology.routes import Routes

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ARP_REQUEST, ARP_REPLY = 1, 2
IN_PORT = 0xFFFFFFF8  # OFPP_IN_PORT: back through the port that the packet came by
# A longer prefix has a higher priority: longest prefix match in one table. ARP shares no packet with it.
PREFIX_PRIORITY = 100
ARP_PRIORITY = 200
TABLE_MISS_PRIORITY = 0


@dataclass(frozen=True)
class SetField:
    """Write a header field, named as in OpenFlow's extensible match (specification 1.3.5, 7.2.3.7)."""

    field: str
    value: int | str


@dataclass(frozen=True)
class Move:
    """Copy one header field of `bits` into another: the Nicira extension NXAST_REG_MOVE, which OVS has."""

    source: str
    target: str
    bits: int


@dataclass(frozen=True)
class DecTtl:
    """Decrement the IP TTL; a packet whose TTL ends goes no further."""


@dataclass(frozen=True)
class Output:
    """Send through a port."""

    port: int


Action = SetField | Move | DecTtl | Output


@dataclass(frozen=True)
class Rule:
    """One flow entry. No actions means drop. `match` is OXM fields, prefixes as `address/length`."""

    table: int
    priority: int
    match: tuple[tuple[str, int | str], ...]
    actions: tuple[Action, ...]

    @property
    def cookie(self) -> int:
        """64 bits that say what the rule says: two rules of a switch differ in it, equal rules do not."""
        return int.from_bytes(hashlib.blake2b(repr(self).encode(), digest_size=8).digest(), "big")

    def to_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "priority": self.priority,
            "cookie": f"{self.cookie:#018x}",
            "match": dict(self.match),
            "actions": [{"do": type(action).__name__, **vars(action)} for action in self.actions],
        }


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


def switch_rules(network: Network, routes: Routes) -> Mapping[str, tuple[Rule, ...]]:
    """`result[pop id]` is the whole program of the PoP's switch.

    The rules of a switch at PoP p of ISP i are

        2 + hosts(p) + (reachable PoPs of i but p) + sum over other reachable ISPs j of (1 + exceptions(p, j))

    2 being ARP and the table miss. exceptions(p, j) is the number of PoPs of j that are left for by another
    link than most PoPs of j are; where a PoP of j is unreachable, j has no rule of its own and one for each
    PoP that is reachable. So rules grow with prefixes, and not with pairs of hosts.
    """
    ports = port_numbers(network)
    return {
        pop.id: (
            _answer_arp(pop),
            *_host_rules(network, pop, ports[pop.id]),
            *_prefix_rules(network, pop, routes.next_links(pop.id), ports[pop.id]),
            Rule(0, TABLE_MISS_PRIORITY, (), ()),
        )
        for pop in network.pops
    }


def _host_rules(network: Network, pop: Pop, ports: Mapping[str, int]) -> Iterable[Rule]:
    for host in network.hosts:
        if host.pop == pop.id:
            yield _towards(f"{host.ip}/32", pop, host.mac, ports[host.link])


def _prefix_rules(
    network: Network, pop: Pop, next_link: Mapping[str, str], ports: Mapping[str, int]
) -> Iterable[Rule]:
    def onward(prefix: str, link: str) -> Rule:
        next_pop = network.pop_by_id[network.link_by_id[link].other(pop.id)]
        return _towards(prefix, pop, next_pop.gateway_mac, ports[link])

    for isp in network.isps:
        pops = [other for other in network.pops if other.isp == isp.name and other.id != pop.id]
        links = {other.id: next_link[other.id] for other in pops if other.id in next_link}
        common = ""
        if isp.name != pop.isp and links and len(links) == len(pops):
            # Ties go to the link of the first PoP in the file: Counter keeps the order of insertion.
            common = Counter(links.values()).most_common(1)[0][0]
            yield onward(isp.prefix, common)
        for other in pops:
            if links.get(other.id, common) != common:
                yield onward(other.prefix, links[other.id])


def _towards(prefix: str, pop: Pop, next_hop_mac: str, port: int) -> Rule:
    length = int(prefix.rpartition("/")[2])
    actions = (
        DecTtl(),
        SetField("eth_src", pop.gateway_mac),
        SetField("eth_dst", next_hop_mac),
        Output(port),
    )
    return Rule(0, PREFIX_PRIORITY + length, (("eth_type", ETH_IPV4), ("ipv4_dst", prefix)), actions)


def _answer_arp(pop: Pop) -> Rule:
    """Turn a request for the gateway's address into its answer and send it back (RFC 826)."""
    return Rule(
        0,
        ARP_PRIORITY,
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


@dataclass(frozen=True)
class Change:
    """What turns the rules that a switch has into those that it should have."""

    add: tuple[Rule, ...]
    delete_cookies: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.delete_cookies)


def reconcile(installed_cookies: Iterable[int], wanted: Iterable[Rule]) -> Change:
    """The least change: rules that are there stay untouched, with their counters; strays go."""
    installed = set(installed_cookies)
    by_cookie = {rule.cookie: rule for rule in wanted}
    return Change(
        add=tuple(rule for cookie, rule in by_cookie.items() if cookie not in installed),
        delete_cookies=tuple(sorted(installed - by_cookie.keys())),
    )
