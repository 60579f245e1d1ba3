"""What looks like a mistake in a topology that is right by the rules: a wrong unit, an ISP left alone.

A specification, the document that it was read from and its compiled network come in; warnings go out, as
`Problem`s with file and line, many of one kind as one. A warning means: look at this before you trust what a
trial shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from statistics import median

import numpy as np

from testbed.errors import Problem
from testbed.spec.fields import Place, isp_of
from testbed.spec.loading import Document, Location
from testbed.spec.topology import (
    AccessSpec,
    InterdomainLinkSpec,
    InternalLinkSpec,
    IspSpec,
    TopologySpec,
)
from testbed.spec.units import format_rate
from testbed.topology import likely_mistakes as mistakes
from testbed.topology.compile import great_circle_delay_s
from testbed.topology.likely_mistakes import (
    DETOUR_S,
    DETOUR_TIMES,
    FASTEST_LINK_BPS,
    FEW_LINKS,
    FEWEST_LINKS,
    LIGHT_TOLERANCE,
    LONGEST_DELAY_S,
    LONGEST_QUEUE_S,
    MUCH_LOSS,
    NEAR_S,
    OUTLIER_TIMES,
    SLOWEST_ACCESS_BPS,
    SLOWEST_LINK_BPS,
)
from testbed.topology.model import Network
from testbed.topology.routes import Routes
from testbed.topology.swapped import swapped_places

MOST_PAIRS = 100
_SHOWN_PAIRS = 5


@dataclass(frozen=True)
class _Finding:
    kind: mistakes.Kind
    location: Location
    words: Mapping[str, str]


def warnings_in(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    """What looks wrong in what the user wrote; unreachable pairs are in `warning_of_routes`.

    Findings of one kind in one section of a file, which mostly have one cause, are one warning.
    """
    groups: dict[tuple[mistakes.Kind, str, str | int], list[_Finding]] = defaultdict(list)
    for finding in _findings(spec):
        file = document.where(finding.location).rpartition(":")[0]
        groups[finding.kind, file, finding.location[0]].append(finding)
    for (kind, _, _), findings in groups.items():
        first, count = findings[0], len(findings)
        text = kind.one if count == 1 else kind.many
        what = text.format(count=count, **first.words)
        yield Problem(what, document.where(first.location), mend=kind.mend)


def _findings(spec: TopologySpec) -> Iterator[_Finding]:
    places = {
        f"{isp}.{pop}": of_pop.at
        for isp, of_isp in spec.isps.items()
        for pop, of_pop in of_isp.pops.items()
        if of_pop.at is not None
    }
    # A place in doubt is said once and not with every delay of its links, too.
    for finding in [*_at_zero(places), *_swapped(spec, places)]:
        yield finding
        places.pop(finding.words["pop"])
    for name, isp in spec.isps.items():
        yield from _of_isp(name, isp, places)
    for index, link in enumerate(spec.interdomain):
        yield from _of_link(link, link.between, places, ("interdomain", index))
    for name, ixp in spec.ixps.items():
        if ixp.at == (0.0, 0.0):
            yield _Finding(mistakes.NOWHERE, ("ixps", name, "at"), {"name": f"exchange point {name}"})
        for member, rate in ixp.members.items():
            if not SLOWEST_LINK_BPS <= rate <= FASTEST_LINK_BPS:
                kind = mistakes.SLOW_PORT if rate < SLOWEST_LINK_BPS else mistakes.FAST_PORT
                words = {"name": member, "given": format_rate(rate)}
                yield _Finding(kind, ("ixps", name, "members", member), words)
    yield from _of_access(spec)
    yield from _alone(spec)


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


def _of_isp(name: str, isp: IspSpec, places: Mapping[str, Place]) -> Iterator[_Finding]:
    for index, link in enumerate(isp.links):
        yield from _of_link(link, _ends_inside(name, link), places, ("isps", name, "links", index))
    yield from _outliers(name, isp)
    if isp.pids == "metro" and not any(pop.metro for pop in isp.pops.values()):
        yield _Finding(mistakes.NO_METRO, ("isps", name, "pids"), {"name": name})


def _outliers(name: str, isp: IspSpec) -> Iterator[_Finding]:
    """Links far from the median capacity of their ISP, where they are few and not odd by themselves."""
    if len(isp.links) < FEWEST_LINKS:
        return
    usual = median(rate for link in isp.links for rate in link.capacity)
    found: list[_Finding] = []
    for index, link in enumerate(isp.links):
        far = [
            rate
            for rate in link.capacity
            if max(rate / usual, usual / rate) > OUTLIER_TIMES
            and SLOWEST_LINK_BPS <= rate <= FASTEST_LINK_BPS
        ]
        if far:
            words = {"given": format_rate(far[0]), "isp": name, "usual": format_rate(usual)}
            location = ("isps", name, "links", index, "capacity")
            found.append(_Finding(mistakes.OUTLIER, location, {"name": _ends(link), **words}))
    if len(found) <= max(1, FEW_LINKS * len(isp.links)):
        yield from found


def _ends_inside(isp: str, link: InternalLinkSpec) -> tuple[str, str]:
    a, b = link.between
    return f"{isp}.{a}", f"{isp}.{b}"


def _ends(link: InternalLinkSpec | InterdomainLinkSpec) -> str:
    return " and ".join(link.between)


def _of_link(
    link: InternalLinkSpec | InterdomainLinkSpec,
    ends: tuple[str, str],
    places: Mapping[str, Place],
    location: Location,
) -> Iterator[_Finding]:
    """At most one finding of each kind, so that those of a kind are as many as the links."""
    slowest, fastest = min(link.capacity), max(link.capacity)
    for kind, rate, is_odd in (
        (mistakes.SLOW_LINK, slowest, slowest < SLOWEST_LINK_BPS),
        (mistakes.FAST_LINK, fastest, fastest > FASTEST_LINK_BPS),
    ):
        if is_odd:
            words = {"name": _ends(link), "given": format_rate(rate)}
            yield _Finding(kind, (*location, "capacity"), words)
    background = link.background or (0, 0)
    rates = (link.capacity[0] - background[0], link.capacity[1] - background[1])
    kinds = mistakes.MUCH_LOSS_OF_LINK, mistakes.LONG_QUEUE
    yield from _losses_and_queues(link, rates, kinds, _ends(link), location)
    if link.delay is None:
        return
    least = great_circle_delay_s(places.get(ends[0]), places.get(ends[1]))
    shortest, longest = min(link.delay), max(link.delay)
    detour = max(DETOUR_S, DETOUR_TIMES * least)
    for kind, delay, is_odd in (
        (mistakes.LONG_DELAY, longest, longest > LONGEST_DELAY_S),
        (mistakes.DETOUR, longest, least > 0 and detour < longest <= LONGEST_DELAY_S),
        (mistakes.ABOVE_LIGHT, shortest, least > NEAR_S and shortest < LIGHT_TOLERANCE * least),
    ):
        if is_odd:
            words = {"name": _ends(link), "given": _shown(delay), "light": _shown(least)}
            yield _Finding(kind, (*location, "delay"), words)


def _losses_and_queues(
    line: InternalLinkSpec | InterdomainLinkSpec | AccessSpec,
    rates_bps: tuple[int, int],
    kinds: tuple[mistakes.Kind, mistakes.Kind],
    name: str,
    location: Location,
) -> Iterator[_Finding]:
    """Of both directions the worse one; `rates_bps` are those that hosts can use."""
    loss = max(line.loss or (0.0,))
    queues = line.queue or ()
    drain_s = max((q.drain_s_at(rate) for q, rate in zip(queues, rates_bps, strict=False)), default=0.0)
    if loss >= MUCH_LOSS:
        yield _Finding(kinds[0], (*location, "loss"), {"name": name, "given": f"{100 * loss:.6g} %"})
    if drain_s > LONGEST_QUEUE_S:
        yield _Finding(kinds[1], (*location, "queue"), {"name": name, "given": f"{drain_s:.3g} s"})


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds <= LONGEST_DELAY_S else f"{seconds:g} s"


def _at_zero(places: Mapping[str, Place]) -> Iterator[_Finding]:
    for pop_id, place in places.items():
        if place == (0.0, 0.0):
            words = {"name": f"PoP {pop_id}", "pop": pop_id}
            yield _Finding(mistakes.NOWHERE, _location_of_place(pop_id), words)


def _swapped(spec: TopologySpec, places: Mapping[str, Place]) -> Iterator[_Finding]:
    somewhere = {pop_id: place for pop_id, place in places.items() if place != (0.0, 0.0)}
    inside = [_ends_inside(name, link) for name, isp in spec.isps.items() for link in isp.links]
    for found in swapped_places(somewhere, [*inside, *(link.between for link in spec.interdomain)]):
        distances = {"written": _km(found.written_m), "swapped": _km(found.swapped_m)}
        words = {"name": found.pop, "pop": found.pop, **distances}
        yield _Finding(mistakes.SWAPPED, _location_of_place(found.pop), words)


def _location_of_place(pop_id: str) -> Location:
    isp, _, pop = pop_id.partition(".")
    return ("isps", isp, "pops", pop, "at")


def _km(metres: float) -> str:
    return f"{metres / 1000:,.0f} km"


def _of_access(spec: TopologySpec) -> Iterator[_Finding]:
    for name, access in spec.access.items():
        for way, rate in (("down", access.down), ("up", access.up)):
            if not SLOWEST_ACCESS_BPS <= rate <= FASTEST_LINK_BPS:
                kind = mistakes.ACCESS_SLOW if rate < SLOWEST_ACCESS_BPS else mistakes.ACCESS_FAST
                words = {"name": name, "way": way, "given": format_rate(rate)}
                yield _Finding(kind, ("access", name, way), words)
        if access.delay > LONGEST_DELAY_S:
            words = {"name": name, "given": _shown(access.delay)}
            yield _Finding(mistakes.ACCESS_DELAY, ("access", name, "delay"), words)
        kinds = mistakes.ACCESS_LOSS, mistakes.ACCESS_QUEUE
        yield from _losses_and_queues(access, (access.down, access.up), kinds, name, ("access", name))


def _alone(spec: TopologySpec) -> Iterator[_Finding]:
    """ISPs of several that are joined to no other."""
    if len(spec.isps) == 1:
        return
    joined = {isp_of(end) for link in spec.interdomain for end in link.between}
    joined |= {isp_of(member) for ixp in spec.ixps.values() for member in ixp.members}
    for name in spec.isps:
        if name not in joined:
            yield _Finding(mistakes.ALONE, ("isps", name), {"name": name})
