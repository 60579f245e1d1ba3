"""Where PoPs stand: named regions of the Earth, points spread over them, distances between points. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, radians
from random import Random

from testbed.errors import Problem, UserError
from testbed.topology.compile import great_circle_m

Point = tuple[float, float]
"""Latitude and longitude in degrees, with two decimals: a step is about a kilometre."""

Box = tuple[float, float, float, float]
"""South, north, west, east in degrees."""

# Rough boxes, mostly over land: a made-up PoP may still stand in a lake.
_CONTINENTS: dict[str, Box] = {
    "africa": (-30, 12, 14, 38),
    "asia": (12, 38, 76, 118),
    "europe": (41, 56, -4, 26),
    "north-america": (31, 48, -121, -76),
    "oceania": (-36, -20, 118, 150),
    "south-america": (-34, -3, -66, -44),
}
REGIONS: dict[str, tuple[Box, ...]] = {
    **{name: (box,) for name, box in _CONTINENTS.items()},
    "world": tuple(_CONTINENTS.values()),
}

_CANDIDATES = 5


def boxes_of(region: str) -> tuple[Box, ...]:
    """The boxes of a region. Raises UserError where there is no such region."""
    if region not in REGIONS:
        raise UserError(Problem(f"there is no region '{region}'", "--region", allowed=", ".join(REGIONS)))
    return REGIONS[region]


def scatter(boxes: Sequence[Box], count: int, rng: Random) -> list[Point]:
    """`count` points in the boxes, kept apart: of five random points each time the loneliest is taken."""
    points: list[Point] = []
    for _ in range(count):
        candidates = [_random_point(rng.choice(boxes), rng) for _ in range(_CANDIDATES)]
        points.append(max(candidates, key=lambda point: min(_gaps(point, points), default=0.0)))
    return points


def around(centre: Point, degrees: float) -> Box:
    """The box of `degrees` to each side of a point."""
    latitude, longitude = centre
    return (latitude - degrees, latitude + degrees, longitude - degrees, longitude + degrees)


def distance_km(a: Point, b: Point) -> float:
    """The great-circle distance, to the metre."""
    return round(great_circle_m(a, b) / 1000, 3)


def _random_point(box: Box, rng: Random) -> Point:
    south, north, west, east = box
    return round(rng.uniform(south, north), 2), round(rng.uniform(west, east), 2)


def _gaps(point: Point, others: Sequence[Point]) -> Iterator[float]:
    """Squared distances on the flat map, which are good enough to keep points apart and quick to compute."""
    latitude, longitude = point
    narrowing = cos(radians(latitude)) ** 2
    for other in others:
        gap = (latitude - other[0]) ** 2 + (longitude - other[1]) ** 2 * narrowing
        yield round(gap, 6)
