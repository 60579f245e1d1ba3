"""What an ISP's portal knows of a compiled network: its own inside, and the ways out to every other ISP.

In come the `Network` and its routes, out the PIDs, links and exits of a portal's configuration. An ISP sees
no neighbour's inside: another ISP is one external PID, as far away as the interdomain links on the way to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from testbed.errors import UserError
from testbed.portal.config import ExternalConfig, LinkConfig, PidConfig, PortalConfig
from testbed.spec.wording import problems_of
from testbed.topology.compile import great_circle_m
from testbed.topology.model import Direction, Link, Network, Pop
from testbed.topology.routes import Routes
from testbed.topology.routing import compute_routes

_CHOICES = 2
"""Neighbours through which another ISP is known: the best, and who takes over when that is cut off."""


def portal_config(
    network: Network, routes: Routes, isp: str, *, listen: str | Sequence[str], **more: Any
) -> PortalConfig:
    """The configuration of the portal of `isp`, which listens on `listen` ("ip:port", or several).

    `more` are further fields of PortalConfig. The whole ISP as one PID is published as a second network map,
    `coarse`, unless `more` has aggregations. Raises UserError where `more` does not fit the network.
    """
    pids = own_pids(network, isp)
    external = external_pids(network, routes, isp)
    coarse = {"coarse": {isp: tuple(entry.pid for entry in pids)}}
    fields = {
        "isp": isp,
        "asn": network.isp_by_name[isp].asn,
        "listen": listen,
        "pids": pids,
        "links": own_links(network, isp),
        "external": external,
        "aggregations": coarse,
        **more,
    }
    try:
        return PortalConfig.model_validate(fields)
    except ValidationError as error:
        told = f"the portal of {isp} of {network.name}"
        raise UserError(list(problems_of(error, fields, lambda _: told, PortalConfig))) from None


def own_pids(network: Network, isp: str) -> tuple[PidConfig, ...]:
    """The PIDs of the ISP's PoPs; PoPs that share a PID share an entry."""
    prefixes: dict[str, list[str]] = {}
    pops: dict[str, list[str]] = {}
    for pop in network.pops:
        if pop.isp == isp:
            prefixes.setdefault(pop.pid, []).append(pop.prefix)
            pops.setdefault(pop.pid, []).append(pop.id)
    return tuple(
        PidConfig(pid=pid, prefixes=tuple(found), pops=tuple(pops[pid])) for pid, found in prefixes.items()
    )


def own_links(network: Network, isp: str) -> tuple[LinkConfig, ...]:
    """The links inside the ISP."""
    return tuple(
        LinkConfig(
            id=link.id,
            a=link.a,
            b=link.b,
            weight=(link.forward.weight, link.backward.weight),
            length_km=_length_km(network, link),
            **_shape(link.forward, link.backward),
        )
        for link in network.core_links
        if link.kind == "internal" and network.isp_of_pop(link.a) == isp
    )


def external_pids(network: Network, routes: Routes, isp: str) -> tuple[ExternalConfig, ...]:
    """For each other ISP the links to the neighbour that leads to it, and to the next best neighbour.

    An ISP that cannot be reached is external as well, but without a way out it has no distance and no entry.
    """
    border = [
        (link, near, link.other(near))
        for link in network.core_links
        if link.kind == "interdomain"
        for near in (link.a, link.b)
        if network.isp_of_pop(near) == isp
    ]

    @cache
    def without(neighbours: frozenset[str]) -> Routes:
        cut = frozenset(link.id for link, _, far in border if network.isp_of_pop(far) in neighbours)
        return compute_routes(network, cut) if cut else routes

    ways: list[ExternalConfig] = []
    for other in network.isps:
        tried: frozenset[str] = frozenset()
        for preference in range(_CHOICES if other.name != isp else 0):
            seen = _Seen(network, without(tried))
            found = seen.neighbours(isp, other.name)
            ways += [
                seen.way(link, near, far, other.name, preference)
                for link, near, far in border
                if network.isp_of_pop(far) in found and seen.target(far, other.name)
            ]
            tried |= found
    return tuple(ways)


@dataclass(frozen=True)
class _Seen:
    """The network by the routes that hold when some neighbours are cut off."""

    network: Network
    routes: Routes

    def target(self, source: str, other: str) -> str | None:
        """The first PoP of ISP `other` that `source` reaches."""
        pops = (pop.id for pop in self.network.pops if pop.isp == other)
        return next((pop for pop in pops if self.routes.reaches(source, pop)), None)

    def neighbours(self, isp: str, other: str) -> frozenset[str]:
        """The ISPs through which PoPs of `isp` reach `other`."""
        return frozenset(self._neighbours(isp, other))

    def _neighbours(self, isp: str, other: str) -> Iterator[str]:
        for source in self.network.pops:
            target = self.target(source.id, other) if source.isp == isp else None
            if target is not None:
                passed = map(self.network.isp_of_pop, self.routes.pops_on_path(source.id, target))
                yield next(name for name in passed if name != isp)

    def way(self, link: Link, near: str, far: str, other: str, preference: int) -> ExternalConfig:
        """The exit over `link` from `near` to `far`, and on to ISP `other` over interdomain links."""
        target = self.target(far, other)
        assert target is not None
        pops = self.routes.pops_on_path(far, target)
        steps = [
            (self.network.link_by_id[name], start)
            for name, start in zip(self.routes.path(far, target), pops, strict=False)
        ]
        behind = [(crossed, start) for crossed, start in steps if crossed.kind == "interdomain"]
        there = [link.direction(near), *(crossed.direction(start) for crossed, start in behind)]
        back = [link.direction(far), *(crossed.direction(crossed.other(start)) for crossed, start in behind)]
        shape = _shape(there[0], back[0])
        shape["delay_s"] = (sum(way.delay_s for way in there), sum(way.delay_s for way in back))
        shape["loss"] = (_loss(there), _loss(back))
        pays = link.relationship == "customer-provider" and near == link.a
        billed = link.tariff if pays and link.tariff and link.tariff.kind == "percentile-95" else None
        return ExternalConfig(
            id=link.id,
            pid=other,
            prefixes=(self.network.isp_by_name[other].prefix,),
            exit=near,
            preference=preference,
            weight=link.forward.weight + sum(crossed.forward.weight for crossed, _ in behind),
            hops=1 + len(behind),
            length_km=_total(
                [_length_km(self.network, crossed) for crossed in (link, *(c for c, _ in behind))]
            ),
            price=billed.price if billed else 0.0,
            **shape,
        )


def _shape(there: Direction, back: Direction) -> dict[str, tuple[float, float]]:
    return {
        "capacity_bps": (there.capacity_bps, back.capacity_bps),
        "background_bps": (there.background_bps, back.background_bps),
        "delay_s": (there.delay_s, back.delay_s),
        "loss": (there.loss, back.loss),
    }


def _loss(ways: Sequence[Direction]) -> float:
    """The share of packets that one of the links on the way loses."""
    kept = 1.0
    for way in ways:
        kept *= 1 - way.loss
    return 1 - kept


def _length_km(network: Network, link: Link) -> float | None:
    """The great circle between the ends; None where one of them has no place."""
    a, b = _place(network.pop_by_id[link.a]), _place(network.pop_by_id[link.b])
    return None if a is None or b is None else great_circle_m(a, b) / 1000


def _total(lengths: Sequence[float | None]) -> float | None:
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else None


def _place(pop: Pop) -> tuple[float, float] | None:
    return None if pop.latitude is None or pop.longitude is None else (pop.latitude, pop.longitude)
