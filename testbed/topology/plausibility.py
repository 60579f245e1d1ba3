"""What looks like a mistake in a topology that is right by the rules: a wrong unit, an ISP left alone.

A specification, the document that it was read from and its compiled network come in; warnings go out, as
`Problem`s with file and line. A warning means: look at this before you trust what a trial shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from testbed.errors import Problem
from testbed.spec.loading import Document, Location
from testbed.spec.topology import (
    InterdomainLinkSpec,
    InternalLinkSpec,
    IspSpec,
    Place,
    TopologySpec,
)
from testbed.spec.topology_checks import isp_of
from testbed.spec.units import format_rate
from testbed.topology.compile import great_circle_delay_s
from testbed.topology.model import Network
from testbed.topology.routing import Routes

LONGEST_DELAY_S = 1.0
SLOWEST_LINK_BPS, FASTEST_LINK_BPS = 64_000, 10**13
SLOWEST_ACCESS_BPS = 16_000
LIGHT_TOLERANCE = 0.9
"""A given delay may be this part of what light needs over the great circle, as places are rounded."""
NEAR_S = 0.0005
"""Delays below this are not compared with light: within a city, places are rounded too much."""

MOST_PAIRS = 100
_SHOWN_PAIRS = 5


def warnings_in(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    """What looks wrong in what the user wrote; unreachable pairs are in `warning_of_routes`."""
    for name, isp in spec.isps.items():
        yield from _of_isp(name, isp, document)
    yield from _of_interdomain(spec, document)
    yield from _of_access(spec, document)
    yield from _alone(spec, document)


@dataclass(frozen=True)
class PairsWithoutRoute:
    """Pairs of ISPs of which a PoP can't reach one of the other: how many, and the file's first."""

    count: int
    first: tuple[tuple[str, str], ...]


def pairs_without_route(network: Network, routes: Routes, most: int = MOST_PAIRS) -> PairsWithoutRoute:
    """What `routes` leave apart; at most `most` pairs are named. Time grows with the pairs of PoPs."""
    names = [isp.name for isp in network.isps]
    number = {name: index for index, name in enumerate(names)}
    isp_of_pop = np.array([number[pop.isp] for pop in network.pops])
    cut = np.zeros((len(names), len(names)), bool)
    for destination, steps in zip(isp_of_pop, routes.next_step, strict=True):
        cut[destination, isp_of_pop[steps < 0]] = True
    # An ISP in parts is an error of its own, and a PoP has no step towards itself.
    np.fill_diagonal(cut, False)
    apart = np.triu(cut | cut.T)
    first = islice(((names[a], names[b]) for a, row in enumerate(apart) for b in np.flatnonzero(row)), most)
    return PairsWithoutRoute(int(np.count_nonzero(apart)), tuple(first))


def warning_of_routes(pairs: PairsWithoutRoute, document: Document) -> Iterator[Problem]:
    """ISPs that can't reach each other, by name; of many pairs the first."""
    if pairs.count:
        shown = ", ".join(f"{a} and {b}" for a, b in pairs.first[:_SHOWN_PAIRS])
        more = f" and {pairs.count - _SHOWN_PAIRS} more pairs" if pairs.count > _SHOWN_PAIRS else ""
        yield Problem(
            f"no route between {shown}{more}",
            document.where(("interdomain",)),
            mend="routes go up to providers, over one peering at most, then down to customers: add links",
        )


def _of_isp(name: str, isp: IspSpec, document: Document) -> Iterator[Problem]:
    for index, link in enumerate(isp.links):
        a, b = (isp.pops[pop].at for pop in link.between)
        yield from _of_link(link, a, b, ("isps", name, "links", index), document)
    if isp.pids == "metro" and not any(pop.metro for pop in isp.pops.values()):
        yield Problem(
            f"ISP {name} groups PoPs by metro, and none of its PoPs has a metro: each is a PID of its own",
            document.where(("isps", name, "pids")),
        )


def _of_interdomain(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    for index, link in enumerate(spec.interdomain):
        (isp_a, _, pop_a), (isp_b, _, pop_b) = (end.partition(".") for end in link.between)
        a, b = spec.isps[isp_a].pops[pop_a].at, spec.isps[isp_b].pops[pop_b].at
        yield from _of_link(link, a, b, ("interdomain", index), document)


def _of_link(
    link: InternalLinkSpec | InterdomainLinkSpec,
    a: Place | None,
    b: Place | None,
    location: Location,
    document: Document,
) -> Iterator[Problem]:
    ends = f"the link between {' and '.join(link.between)}"
    for rate in dict.fromkeys(link.capacity):
        if not SLOWEST_LINK_BPS <= rate <= FASTEST_LINK_BPS:
            kind = "slow" if rate < SLOWEST_LINK_BPS else "fast"
            what = f"{ends} is very {kind}: {format_rate(rate)}"
            yield Problem(what, document.where((*location, "capacity")), mend="check the unit")
    if link.delay is None:
        return
    least = great_circle_delay_s(a, b)
    for delay in dict.fromkeys(link.delay):
        if delay > LONGEST_DELAY_S:
            what = f"{ends} has a very long delay: {delay:g} s"
            yield Problem(what, document.where((*location, "delay")), mend="check the unit")
        elif least > NEAR_S and delay < LIGHT_TOLERANCE * least:
            yield Problem(
                f"{ends} is faster than light in fibre: {_ms(delay)}, where light takes {_ms(least)}",
                document.where((*location, "delay")),
                mend="check the delay's unit and the places of both PoPs",
            )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _of_access(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    for name, access in spec.access.items():
        for key, rate in (("down", access.down), ("up", access.up)):
            if not SLOWEST_ACCESS_BPS <= rate <= FASTEST_LINK_BPS:
                kind = "slow" if rate < SLOWEST_ACCESS_BPS else "fast"
                what = f"access profile {name} is very {kind} ({key}): {format_rate(rate)}"
                yield Problem(what, document.where(("access", name, key)), mend="check the unit")
        if access.delay > LONGEST_DELAY_S:
            what = f"access profile {name} has a very long delay: {access.delay:g} s"
            yield Problem(what, document.where(("access", name, "delay")), mend="check the unit")


def _alone(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    """ISPs of several that are joined to no other."""
    if len(spec.isps) == 1:
        return
    joined = {isp_of(end) for link in spec.interdomain for end in link.between}
    joined |= {isp_of(member) for ixp in spec.ixps.values() for member in ixp.members}
    for name in spec.isps:
        if name not in joined:
            what = f"ISP {name} has no link to another ISP"
            mend = "add a link of it under 'interdomain', or make it a member of an exchange point"
            yield Problem(what, document.where(("isps", name)), mend=mend)
