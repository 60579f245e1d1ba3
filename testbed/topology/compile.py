"""From a topology as written to a `Network`: addresses given, names resolved, delays filled in. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from math import asin, cos, radians, sin, sqrt

from testbed.spec.topology import PopSpec, TopologySpec
from testbed.topology.addressing import host_addresses, isp_prefixes, mac_of, pop_prefixes
from testbed.topology.model import Direction, Host, Isp, Link, Network, Pop, Role, Tariff

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
    hosts_at = Counter(request.pop for request in requests)
    prefixes = isp_prefixes({name: isp.prefix for name, isp in spec.isps.items()})
    pops: list[Pop] = []
    for name, isp in spec.isps.items():
        most = max(hosts_at[f"{name}.{pop}"] for pop in isp.pops)
        for pop, prefix in pop_prefixes(prefixes[name], list(isp.pops), most).items():
            gateway = prefix.network_address + 1
            at = isp.pops[pop].at or (None, None)
            pops.append(
                Pop(
                    id=f"{name}.{pop}",
                    isp=name,
                    name=pop,
                    prefix=str(prefix),
                    gateway_ip=str(gateway),
                    gateway_mac=mac_of(gateway),
                    datapath_id=len(pops) + 1,
                    latitude=at[0],
                    longitude=at[1],
                    pid=f"{name}-{pop}",
                )
            )
    network = Network(
        name=spec.name,
        isps=tuple(Isp(name, isp.asn, str(prefixes[name]), isp.portal) for name, isp in spec.isps.items()),
        pops=tuple(pops),
        links=tuple(_core_links(spec)),
    )
    return _with_hosts(network, spec, requests)


def great_circle_delay_s(a: PopSpec, b: PopSpec) -> float:
    """One-way delay over the great circle at 2/3 c; 0 where a PoP has no place."""
    if a.at is None or b.at is None:
        return 0.0
    (lat_a, lon_a), (lat_b, lon_b) = (tuple(map(radians, pop.at)) for pop in (a, b) if pop.at)
    chord = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(sqrt(chord)) / SIGNAL_SPEED_M_PER_S


def _core_links(spec: TopologySpec) -> Iterable[Link]:
    seen: Counter[str] = Counter()

    def link_id(a: str, b: str) -> str:
        name = f"{a}--{b}"
        seen[name] += 1
        return name if seen[name] == 1 else f"{name}~{seen[name]}"

    for isp_name, isp in spec.isps.items():
        for inner in isp.links:
            a, b = (f"{isp_name}.{pop}" for pop in inner.between)
            delay = inner.delay
            if delay is None:
                delay = great_circle_delay_s(*(isp.pops[pop] for pop in inner.between))
            both = Direction(inner.capacity, delay)
            yield Link(link_id(a, b), "internal", a, b, both, both, inner.weight)
    for outer in spec.interdomain:
        a, b = outer.between
        delay = outer.delay
        if delay is None:
            delay = great_circle_delay_s(*(_pop_spec(spec, end) for end in outer.between))
        both = Direction(outer.capacity, delay)
        tariff = (
            Tariff(outer.tariff.kind, outer.tariff.price, outer.tariff.currency) if outer.tariff else None
        )
        yield Link(link_id(a, b), "interdomain", a, b, both, both, outer.weight, outer.relationship, tariff)


def _pop_spec(spec: TopologySpec, pop_id: str) -> PopSpec:
    isp, _, pop = pop_id.partition(".")
    return spec.isps[isp].pops[pop]


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
            link = Link(
                f"{host_id}--{pop_id}",
                "access",
                host_id,
                pop_id,
                forward=Direction(profile.up, profile.delay),
                backward=Direction(profile.down, profile.delay),
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
