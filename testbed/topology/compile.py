"""From a topology as written to a `Network`: addresses given, names resolved, delays filled in. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import combinations, count
from math import asin, cos, radians, sin, sqrt

from testbed.spec.fields import Place, isp_of
from testbed.spec.topology import (
    InterdomainLinkSpec,
    InternalLinkSpec,
    IspSpec,
    IxpSpec,
    TopologySpec,
)
from testbed.spec.topology_checks import customer_provider_pairs
from testbed.spec.units import QueueLength
from testbed.topology.addressing import host_addresses, isp_prefixes, mac_of, pop_prefixes
from testbed.topology.model import Direction, Host, Isp, Ixp, Link, Network, Pop, Role, Tariff

EARTH_RADIUS_M = 6_371_000.0
SIGNAL_SPEED_M_PER_S = 2 / 3 * 299_792_458.0


@dataclass(frozen=True)
class HostRequest:
    """A host that is wanted at a PoP (`isp.pop`) with an access profile of the topology."""

    pop: str
    role: Role
    access: str


def compile_network(spec: TopologySpec, requests: Sequence[HostRequest] = ()) -> Network:
    """The network that `spec` describes, with the requested hosts.

    Raises UserError where addresses run out, KeyError where a request names an unknown PoP or profile.
    """
    prefixes = isp_prefixes({name: isp.prefix for name, isp in spec.isps.items()})
    hosts_at = Counter(request.pop for request in requests)
    network = Network(
        name=spec.name,
        isps=tuple(Isp(name, isp.asn, str(prefixes[name]), isp.portal) for name, isp in spec.isps.items()),
        pops=tuple(_pops(spec, prefixes, hosts_at)),
        links=tuple(_core_links(spec)),
        ixps=tuple(Ixp(name, *(ixp.at or (None, None))) for name, ixp in spec.ixps.items()),
    )
    return _with_hosts(network, spec, requests)


def _pops(
    spec: TopologySpec, prefixes: Mapping[str, IPv4Network], hosts_at: Mapping[str, int]
) -> Iterator[Pop]:
    numbers = count(1)
    for name, isp in spec.isps.items():
        most = max(hosts_at[f"{name}.{pop}"] for pop in isp.pops)
        given = {pop: of_pop.prefix for pop, of_pop in isp.pops.items()}
        pids = pids_of(name, isp)
        for pop, prefix in pop_prefixes(prefixes[name], given, most).items():
            gateway = prefix.network_address + 1
            latitude, longitude = isp.pops[pop].at or (None, None)
            yield Pop(
                id=f"{name}.{pop}",
                isp=name,
                name=pop,
                prefix=str(prefix),
                gateway_ip=str(gateway),
                gateway_mac=mac_of(gateway),
                datapath_id=next(numbers),
                latitude=latitude,
                longitude=longitude,
                pid=pids[pop],
            )


def pids_of(name: str, isp: IspSpec) -> dict[str, str]:
    """The PID of each PoP of an ISP: `isp:pop`, `isp:metro` or `isp:group`, or `isp` where all share one.

    A PoP without a metro is of the metro that has its own name. The colon is in no name, so that PIDs of
    two ISPs differ.
    """
    if isp.pids == "isp":
        return dict.fromkeys(isp.pops, name)
    if isp.pids == "pop":
        return {pop: f"{name}:{pop}" for pop in isp.pops}
    if isp.pids == "metro":
        return {pop: f"{name}:{of_pop.metro or pop}" for pop, of_pop in isp.pops.items()}
    return {pop: f"{name}:{group}" for group, pops in isp.pids.items() for pop in pops}


def great_circle_delay_s(a: Place | None, b: Place | None) -> float:
    """One-way delay over the great circle at 2/3 c; 0 where a place is unknown."""
    return great_circle_m(a, b) / SIGNAL_SPEED_M_PER_S


def great_circle_m(a: Place | None, b: Place | None) -> float:
    """The shortest way over the globe; 0 where a place is unknown."""
    if a is None or b is None:
        return 0.0
    (lat_a, lon_a), (lat_b, lon_b) = (tuple(map(radians, place)) for place in (a, b))
    chord = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(chord)))


def _core_links(spec: TopologySpec) -> Iterator[Link]:
    """Internal links, then interdomain ones, then those of exchange points, each in the order of the file."""
    place = {f"{isp}.{pop}": at.at for isp, of_isp in spec.isps.items() for pop, at in of_isp.pops.items()}
    seen: Counter[str] = Counter()

    def link_id(a: str, b: str) -> str:
        name = f"{a}--{b}"
        seen[name] += 1
        return name if seen[name] == 1 else f"{name}~{seen[name]}"

    def directions(
        link: InternalLinkSpec | InterdomainLinkSpec, a: str, b: str, weight: tuple[float, float]
    ) -> tuple[Direction, Direction]:
        delay = link.delay or (great_circle_delay_s(place[a], place[b]),) * 2
        background, loss, queue = link.background or (0, 0), link.loss or (0, 0), link.queue or (None, None)
        forward, backward = (
            _direction(
                link.capacity[way] - background[way],
                delay[way],
                loss[way],
                queue[way],
                weight=weight[way],
                background_bps=background[way],
            )
            for way in (0, 1)
        )
        return forward, backward

    for isp_name, isp in spec.isps.items():
        for inner in isp.links:
            a, b = (f"{isp_name}.{pop}" for pop in inner.between)
            yield Link(link_id(a, b), "internal", a, b, *directions(inner, a, b, inner.weight))
    for outer in spec.interdomain:
        a, b = outer.between
        ways = directions(outer, a, b, (outer.weight, outer.weight))
        tariff = Tariff(**outer.tariff.model_dump()) if outer.tariff else None
        yield Link(link_id(a, b), "interdomain", a, b, *ways, outer.relationship, tariff)
    for name, ixp, a, b in peerings(spec):
        delay = great_circle_delay_s(place[a], place[b])
        if ixp.at and place[a] and place[b]:
            delay = great_circle_delay_s(place[a], ixp.at) + great_circle_delay_s(ixp.at, place[b])
        both = Direction(min(ixp.members[a], ixp.members[b]), delay, ixp.weight)
        yield Link(link_id(a, b), "interdomain", a, b, both, both, "peer-peer", ixp=name)


def _direction(
    rate_bps: int,
    delay_s: float,
    loss: float,
    queue: QueueLength | None,
    *,
    weight: float = 1.0,
    background_bps: int = 0,
) -> Direction:
    """A direction with its queue in packets or in bytes, a time being one at the rate that hosts can use."""
    return Direction(
        rate_bps=rate_bps,
        delay_s=delay_s,
        weight=weight,
        background_bps=background_bps,
        loss=loss,
        queue_bytes=queue.bytes_at(rate_bps) if queue else None,
        queue_packets=queue.packets if queue else None,
    )


def peerings(spec: TopologySpec) -> Iterator[tuple[str, IxpSpec, str, str]]:
    """(exchange point, its specification, PoP, PoP) of every peering over one.

    Members of one ISP do not peer, nor does a customer with its provider.
    """
    paid = customer_provider_pairs(spec)
    for name, ixp in spec.ixps.items():
        for a, b in combinations(ixp.members, 2):
            isps = frozenset((isp_of(a), isp_of(b)))
            if len(isps) == 2 and isps not in paid:
                yield name, ixp, a, b


def _with_hosts(network: Network, spec: TopologySpec, requests: Sequence[HostRequest]) -> Network:
    at_pop: dict[str, list[HostRequest]] = defaultdict(list)
    for request in requests:
        at_pop[request.pop].append(request)
    hosts: list[Host] = []
    access_links: list[Link] = []
    for pop_id, wanted in at_pop.items():
        pop = network.pop_by_id[pop_id]
        numbers: Counter[str] = Counter()
        subnet = IPv4Network(pop.prefix)
        for request, address in zip(wanted, host_addresses(subnet, len(wanted), pop_id), strict=True):
            numbers[request.role] += 1
            number = "" if request.role in ("tracker", "portal") else str(numbers[request.role])
            host_id = f"{pop_id}.{request.role}{number}"
            profile = spec.access[request.access]
            loss, queue = profile.loss or (0.0, 0.0), profile.queue or (None, None)
            link = Link(
                f"{host_id}--{pop_id}",
                "access",
                host_id,
                pop_id,
                forward=_direction(profile.up, profile.delay, loss[1], queue[1]),
                backward=_direction(profile.down, profile.delay, loss[0], queue[0]),
            )
            access_links.append(link)
            hosts.append(
                Host(
                    id=host_id,
                    pop=pop_id,
                    isp=pop.isp,
                    role=request.role,
                    ip=str(address),
                    mac=mac_of(address),
                    access=request.access,
                    link=link.id,
                )
            )
    return replace(network, links=network.links + tuple(access_links), hosts=tuple(hosts))
