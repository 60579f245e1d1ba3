"""What an ISP's portal knows of a compiled network: its own inside, and the way out to every other ISP.

In come the `Network` and its routes, out the PIDs, links and exits of a portal's configuration. An ISP sees
no neighbour's inside: another ISP is one external PID, as far away as the interdomain links on the way to it.
"""

from __future__ import annotations

from testbed.portal.config import ExternalConfig, LinkConfig, PidConfig, PortalConfig
from testbed.topology.model import Network
from testbed.topology.routes import Routes


def portal_config(
    network: Network, routes: Routes, isp: str, *, listen: str, intra_pid_distance: float = 0.0
) -> PortalConfig:
    """The configuration of the portal of `isp`, which listens on `listen` ("ip:port").

    `model_dump(mode="json")` of it has the variables of the template portal.yaml.j2.
    """
    return PortalConfig(
        isp=isp,
        asn=network.isp_by_name[isp].asn,
        listen=listen,
        pids=own_pids(network, isp),
        links=own_links(network, isp),
        external=external_pids(network, routes, isp),
        intra_pid_distance=intra_pid_distance,
    )


def own_pids(network: Network, isp: str) -> tuple[PidConfig, ...]:
    """The PIDs of the ISP's PoPs; PoPs that share a PID share an entry."""
    prefixes: dict[str, list[str]] = {}
    for pop in network.pops:
        if pop.isp == isp:
            prefixes.setdefault(pop.pid, []).append(pop.prefix)
    return tuple(PidConfig(pid=pid, prefixes=tuple(found)) for pid, found in prefixes.items())


def own_links(network: Network, isp: str) -> tuple[LinkConfig, ...]:
    """The links inside the ISP; one between PoPs of one PID is inside that PID and not seen."""
    ends = [
        (
            network.pop_by_id[link.a],
            network.pop_by_id[link.b],
            (link.forward.weight, link.backward.weight),
        )
        for link in network.core_links
        if link.kind == "internal"
    ]
    return tuple(
        LinkConfig(a=a.pid, b=b.pid, weight=weight)
        for a, b, weight in ends
        if a.isp == isp and a.pid != b.pid
    )


def external_pids(network: Network, routes: Routes, isp: str) -> tuple[ExternalConfig, ...]:
    """For each other ISP the exits that the routes to it take, with the interdomain weights from there on.

    An ISP that cannot be reached is external as well, but without a way out it has no distance and no entry.
    """
    found: dict[tuple[str, str], ExternalConfig] = {}
    for other in network.isps:
        for source in network.pops:
            if source.isp != isp or other.name == isp:
                continue
            way = _way_out(network, routes, source.id, other.name)
            if way is None:
                continue
            exit_pid, weight = way
            known = found.get((other.name, exit_pid))
            if known is None or weight < known.weight:
                found[other.name, exit_pid] = ExternalConfig(
                    pid=other.name, prefixes=(other.prefix,), exit=exit_pid, weight=weight
                )
    return tuple(found.values())


def _way_out(network: Network, routes: Routes, source: str, other: str) -> tuple[str, float] | None:
    """The PID where traffic from `source` to ISP `other` leaves, and the interdomain weights on the way."""
    target = next(
        (pop.id for pop in network.pops if pop.isp == other and routes.reaches(source, pop.id)), None
    )
    if target is None:
        return None
    crossed = [network.link_by_id[link] for link in routes.path(source, target)]
    interdomain = [link for link in crossed if link.kind == "interdomain"]
    isp = network.isp_of_pop(source)
    border = next(end for end in (interdomain[0].a, interdomain[0].b) if network.isp_of_pop(end) == isp)
    return network.pop_by_id[border].pid, sum(link.forward.weight for link in interdomain)
