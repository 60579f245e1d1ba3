"""A made-up Internet of tiers: a clique of tier-1 ISPs, transit ISPs, stubs, and exchange points.

Options come in, the plain data of a topology file goes out. Every ISP but a tier-1 has a provider that was
made before it, so nobody pays itself through others, and the clique of the top joins everyone to everyone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import Any

from testbed.errors import Problem, UserError
from testbed.topology.generators.isp import ACCESS, check_range, check_widest, isp_body, pop_name
from testbed.topology.generators.places import Box, Point, around, boxes_of, distance_km, scatter
from testbed.topology.generators.shapes import waxman
from testbed.topology.writing import rate_text

MOST_POPS_OF_AN_ISP = 50
_FEWEST_MEMBERS, MOST_MEMBERS = 2, 100

# Capacities as multiples of what a stub buys from a provider.
_TIER1_PEERING, _TIER1_INSIDE = 16, 16
_TRANSIT_UPLINK, _TRANSIT_PEERING, _TRANSIT_INSIDE = 4, 2, 8
_STUB_INSIDE, _IXP_PORT = 4, 2
_WIDEST = max(_TIER1_PEERING, _TIER1_INSIDE)

# How many providers an ISP has: one number for each of these, all as likely.
_TRANSIT_PROVIDERS = (1, 2, 2, 3)
_STUB_PROVIDERS = (1, 1, 2, 3)

# How far the PoPs of an ISP are from its middle, in degrees.
_TRANSIT_REACH, _STUB_REACH = 5.0, 1.5


@dataclass(frozen=True)
class InternetOptions:
    """How many ISPs and exchange points of each kind, how many PoPs an ISP of each kind.

    `peering` is the chance that a transit ISP peers with the one made before it in its part of the world.
    `members` is how many ISPs meet at an exchange point, `capacity_bps` what a stub buys from a provider.
    """

    tier1: int = 3
    transit: int = 8
    stubs: int = 20
    ixps: int = 2
    tier1_pops: int = 4
    transit_pops: int = 3
    stub_pops: int = 1
    members: int = 6
    peering: float = 0.4
    region: str = "world"
    capacity_bps: int = 10_000_000
    seed: int = 1


@dataclass(frozen=True)
class _Isp:
    """An ISP in the making. `box` is the part of the region where it lives; a tier-1 is in all of them."""

    name: str
    box: int
    points: Sequence[Point]
    body: dict[str, Any]


_Member = tuple[float, str, int]
"""An ISP that may meet others at an exchange point: how far it is from there, its name, its nearest PoP."""


@dataclass
class _Market:
    """Who sells transit where: each provider once for itself and once for each customer that it has."""

    tickets: dict[int, list[_Isp]] = field(default_factory=lambda: defaultdict(list))

    def providers(self, box: int, count: int, rng: Random) -> list[_Isp]:
        """Different providers in a box, rather those with many customers; fewer where it has fewer."""
        tickets = self.tickets[box]
        count = min(count, len({isp.name for isp in tickets}))
        chosen: dict[str, _Isp] = {}
        while len(chosen) < count:
            isp = rng.choice(tickets)
            chosen[isp.name] = isp
        tickets.extend(chosen.values())
        return list(chosen.values())


def generate_internet(options: InternetOptions) -> dict[str, Any]:
    """A topology of tier-1, transit and stub ISPs: `isps`, `interdomain`, `ixps` and `access`.

    Raises UserError where the options don't fit together.
    """
    _check(options)
    check_widest(options.capacity_bps, _WIDEST * options.capacity_bps)
    rng = Random(options.seed)
    boxes = boxes_of(options.region)
    tier1 = list(_tier1(options, boxes, rng))
    transit = list(_regional(options, "transit", boxes, rng))
    stubs = list(_regional(options, "stub", boxes, rng))
    links = [
        *_clique(options, tier1),
        *_transit_links(options, tier1, transit, len(boxes), rng),
        *_stub_links(options, tier1, transit, stubs, rng),
    ]
    ixps = dict(_ixps(options, boxes, [*transit, *stubs], _paying(links), rng))
    return {
        "isps": {isp.name: isp.body for isp in (*tier1, *transit, *stubs)},
        **({"interdomain": links} if links else {}),
        **({"ixps": ixps} if ixps else {}),
        "access": ACCESS,
    }


def _check(options: InternetOptions) -> None:
    for option, value, low, high in (
        ("--tier1", options.tier1, 1, 50),
        ("--transit", options.transit, 0, 5000),
        ("--stubs", options.stubs, 0, 20_000),
        ("--ixps", options.ixps, 0, 100),
        ("--tier1-pops", options.tier1_pops, 1, MOST_POPS_OF_AN_ISP),
        ("--transit-pops", options.transit_pops, 1, MOST_POPS_OF_AN_ISP),
        ("--stub-pops", options.stub_pops, 1, MOST_POPS_OF_AN_ISP),
        ("--members", options.members, _FEWEST_MEMBERS, MOST_MEMBERS),
        ("--peering", options.peering, 0, 1),
    ):
        check_range(option, value, low, high)
    isps = options.transit + options.stubs
    if options.ixps and isps < options.members:
        what = f"too few transit ISPs and stubs ({isps}) for exchange points of {options.members} members"
        if isps < _FEWEST_MEMBERS:
            raise UserError(Problem(what, "--ixps", allowed="0", mend="--ixps 0, or more --stubs"))
        mend = f"--members {isps}, or --ixps 0"
        raise UserError(Problem(what, "--members", allowed=f"{_FEWEST_MEMBERS} to {isps}", mend=mend))


def _tier1(options: InternetOptions, boxes: Sequence[Box], rng: Random) -> Iterator[_Isp]:
    for number in range(1, options.tier1 + 1):
        points = scatter(boxes, options.tier1_pops, rng)
        yield _isp("tier1", number, options.tier1, 0, points, _TIER1_INSIDE * options.capacity_bps, rng)


def _regional(options: InternetOptions, kind: str, boxes: Sequence[Box], rng: Random) -> Iterator[_Isp]:
    """The transit ISPs or the stubs, each around a place of its own."""
    count, pops, reach, inside = {
        "transit": (options.transit, options.transit_pops, _TRANSIT_REACH, _TRANSIT_INSIDE),
        "stub": (options.stubs, options.stub_pops, _STUB_REACH, _STUB_INSIDE),
    }[kind]
    for number in range(1, count + 1):
        box = rng.randrange(len(boxes))
        middle = scatter([boxes[box]], 1, rng)
        points = middle if pops == 1 else scatter([around(middle[0], reach)], pops, rng)
        yield _isp(kind, number, count, box, points, inside * options.capacity_bps, rng)


def _isp(
    kind: str, number: int, count: int, box: int, points: list[Point], inside_bps: int, rng: Random
) -> _Isp:
    """An ISP whose near PoPs are linked: as many links as PoPs, so that there is a way around."""
    pops = len(points)
    pairs = waxman(points, rng, alpha=0.2, links=min(pops, pops * (pops - 1) // 2))
    first_asn = {"tier1": 100, "transit": 1000, "stub": 10_000}[kind]
    name = f"{kind}-{number:0{len(str(count))}d}"
    return _Isp(name, box, points, isp_body(first_asn + number, points, pairs, inside_bps))


def _clique(options: InternetOptions, tier1: Sequence[_Isp]) -> Iterator[dict[str, Any]]:
    for index, isp in enumerate(tier1):
        for other in tier1[:index]:
            yield _link(other, isp, "peer-peer", _TIER1_PEERING * options.capacity_bps)


def _transit_links(
    options: InternetOptions, tier1: Sequence[_Isp], transit: Sequence[_Isp], boxes: int, rng: Random
) -> Iterator[dict[str, Any]]:
    """Each transit ISP buys from tier-1s and from transit ISPs made before it, and peers with some."""
    market = _Market()
    for box in range(boxes):
        market.tickets[box].extend(tier1)
    before: dict[int, _Isp] = {}
    for isp in transit:
        providers = market.providers(isp.box, rng.choice(_TRANSIT_PROVIDERS), rng)
        for provider in providers:
            price = _price(rng, 0.5, 1.5)
            yield _link(isp, provider, "customer-provider", _TRANSIT_UPLINK * options.capacity_bps, price)
        neighbour = before.get(isp.box)
        if rng.random() < options.peering and neighbour is not None and neighbour not in providers:
            yield _link(neighbour, isp, "peer-peer", _TRANSIT_PEERING * options.capacity_bps)
        market.tickets[isp.box].append(isp)
        before[isp.box] = isp


def _stub_links(
    options: InternetOptions,
    tier1: Sequence[_Isp],
    transit: Sequence[_Isp],
    stubs: Sequence[_Isp],
    rng: Random,
) -> Iterator[dict[str, Any]]:
    """Each stub buys from transit ISPs of its part of the world, or from tier-1s where it has none."""
    market = _Market()
    for isp in transit:
        market.tickets[isp.box].append(isp)
    for stub in stubs:
        if not market.tickets[stub.box]:
            market.tickets[stub.box].extend(tier1)
        for provider in market.providers(stub.box, rng.choice(_STUB_PROVIDERS), rng):
            yield _link(stub, provider, "customer-provider", options.capacity_bps, _price(rng, 1.5, 4.0))


def _ixps(
    options: InternetOptions,
    boxes: Sequence[Box],
    isps: Sequence[_Isp],
    paying: set[frozenset[str]],
    rng: Random,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Exchange points, each with members out of the nearest ISPs: of twice as many, the wanted number."""
    places = scatter(boxes, options.ixps, rng)
    for number, place in enumerate(places, 1):
        nearest = sorted(
            (distance_km(place, point), isp.name, pop)
            for isp in isps
            for pop, point in [min(enumerate(isp.points), key=lambda at: distance_km(place, at[1]))]
        )
        drawn = rng.sample(nearest[: 2 * options.members], options.members)
        pair = _first_peering(drawn, paying) or _first_peering(nearest, paying)
        if pair is None:
            what = "of the transit ISPs and stubs, each pays the other: none can peer at an exchange point"
            raise UserError(Problem(what, "--ixps", allowed="0", mend="--ixps 0, or more --stubs"))
        others = [member for member in drawn if member not in pair]
        members = sorted([*pair, *others][: options.members], key=lambda member: member[1])
        pops = {isp.name: len(isp.points) for isp in isps}
        port = rate_text(_IXP_PORT * options.capacity_bps)
        yield (
            f"ix-{number}",
            {
                "at": list(place),
                "members": {f"{isp}.{pop_name(pop, pops[isp])}": port for _, isp, pop in members},
            },
        )


def _paying(links: Sequence[dict[str, Any]]) -> set[frozenset[str]]:
    """The pairs of ISPs of which one is the other's customer."""
    return {
        frozenset(end.partition(".")[0] for end in link["between"])
        for link in links
        if link["relationship"] == "customer-provider"
    }


def _first_peering(members: Sequence[_Member], paying: set[frozenset[str]]) -> tuple[_Member, _Member] | None:
    """The first two that peer where they meet, since neither is the other's customer."""
    return next(
        (pair for pair in combinations(members, 2) if frozenset((pair[0][1], pair[1][1])) not in paying), None
    )


def _link(
    first: _Isp, second: _Isp, relationship: str, capacity_bps: int, price: float | None = None
) -> dict[str, Any]:
    """A link between the nearest PoPs of two ISPs; with a price it is billed by the 95th percentile."""
    _, a, b = min(
        (distance_km(at, to), a, b) for a, at in enumerate(first.points) for b, to in enumerate(second.points)
    )
    ends = [
        f"{first.name}.{pop_name(a, len(first.points))}",
        f"{second.name}.{pop_name(b, len(second.points))}",
    ]
    link = {"between": ends, "relationship": relationship, "capacity": rate_text(capacity_bps)}
    return link if price is None else {**link, "tariff": {"kind": "percentile-95", "price": price}}


def _price(rng: Random, low: float, high: float) -> float:
    """A price for a Mbit/s and month, of no currency in particular."""
    return round(rng.uniform(low, high), 1)
