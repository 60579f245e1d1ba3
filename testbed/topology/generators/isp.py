"""One made-up ISP: PoPs at places of a region, links by a shape, capacities and routing weights by a rule.

Options come in, the plain data of a topology file with this one ISP goes out. The parts are used for the
ISPs of a made-up Internet too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic_core import PydanticCustomError

from testbed.errors import Problem, UserError
from testbed.spec.units import parse_rate
from testbed.topology.generators.places import Point, boxes_of, distance_km, scatter
from testbed.topology.generators.shapes import Pair
from testbed.topology.writing import rate_text

MOST_POPS = 1000
HUB_DEGREE = 1.5
"""A PoP with more than this many times the mean number of links is a hub."""

WEIGHT_RULES = ("distance", "capacity")

ACCESS: dict[str, Any] = {
    "cable": "cable-2008",
    "dsl": "dsl-2008",
    "fibre": "fibre-2008",
    "server": {"down": "20 Mbit/s", "up": "20 Mbit/s", "delay": "1 ms"},
}
"""The access lines of a made-up topology: slow enough for a machine to emulate a hundred of them."""

Shape = Callable[[Sequence[Point], Random], list[Pair]]


@dataclass(frozen=True)
class IspOptions:
    """What is alike for all shapes. `weights` is one of WEIGHT_RULES; with `hubs` capacities grow at hubs."""

    name: str
    pops: int
    region: str = "europe"
    asn: int = 64512
    capacity_bps: int = 100_000_000
    weights: str = "distance"
    hubs: bool = False
    seed: int = 1


def generate_isp(options: IspOptions, shape: Shape) -> dict[str, Any]:
    """A topology of one ISP: `isps` and `access` of a topology file.

    Raises UserError where the options don't fit together.
    """
    check_range("--pops", options.pops, 1, MOST_POPS)
    if options.weights not in WEIGHT_RULES:
        problem = Problem(f"there is no rule '{options.weights}'", "--weights", ", ".join(WEIGHT_RULES))
        raise UserError(problem)
    rng = Random(options.seed)
    points = scatter(boxes_of(options.region), options.pops, rng)
    pairs = shape(points, rng)
    capacities = hub_capacities(pairs, options.capacity_bps) if options.hubs else None
    check_widest(options.capacity_bps, max(capacities or [options.capacity_bps]))
    body = isp_body(options.asn, points, pairs, options.capacity_bps, capacities, options.weights)
    return {"isps": {options.name: body}, "access": ACCESS}


def check_range(option: str, value: float, low: float, high: float) -> None:
    """Raises UserError where an option is not within its limits."""
    if not low <= value <= high:
        raise UserError(Problem(f"{value} is out of range", option, allowed=f"{low} to {high}"))


def check_widest(capacity_bps: int, widest_bps: int) -> None:
    """Raises UserError where the widest link has more than a topology file may say."""
    try:
        parse_rate(rate_text(widest_bps))
    except PydanticCustomError as error:
        times = widest_bps // capacity_bps
        what = f"some links would have {times} times this, {rate_text(widest_bps)}: too much"
        allowed = f"{(error.context or {})['allowed']} for each link"
        raise UserError(Problem(what, "--capacity", allowed)) from None


def hub_capacities(pairs: Sequence[Pair], capacity_bps: int) -> list[int]:
    """The capacity of each link: twice `capacity_bps` with a hub at one end, four times with two."""
    degree = Counter(end for pair in pairs for end in pair)
    least = HUB_DEGREE * 2 * len(pairs) / max(1, len(degree))
    return [capacity_bps * 2 ** sum(degree[end] > least for end in pair) for pair in pairs]


def isp_body(
    asn: int,
    points: Sequence[Point],
    pairs: Sequence[Pair],
    capacity_bps: int,
    capacities: Sequence[int] | None = None,
    weights: str = "distance",
) -> dict[str, Any]:
    """What a topology file says of an ISP. Its links are alike unless `capacities` gives each its own.

    `weights` is one of WEIGHT_RULES.
    """
    rates = list(capacities or [capacity_bps] * len(pairs))
    highest = max(rates, default=0)
    links = [
        {
            "between": [pop_name(a, len(points)), pop_name(b, len(points))],
            "capacity": rate_text(rate),
            "weight": _weight(weights, distance_km(points[a], points[b]), rate, highest),
        }
        for (a, b), rate in zip(pairs, rates, strict=True)
    ]
    pops = {pop_name(index, len(points)): {"at": list(point)} for index, point in enumerate(points)}
    return {"asn": asn, "pops": pops, **({"links": links} if links else {})}


def pop_name(index: int, count: int) -> str:
    """`p1`, or `p01` where there are ten and more."""
    return f"p{index + 1:0{len(str(count))}d}"


def _weight(rule: str, length_km: float, rate_bps: int, highest_bps: int) -> float:
    """By distance a point a kilometre; by capacity the highest capacity of the ISP over the link's."""
    if rule == "distance":
        return max(1, round(length_km))
    return round(highest_bps / rate_bps, 3)
