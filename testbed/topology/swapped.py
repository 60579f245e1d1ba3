"""PoPs whose latitude and longitude were probably swapped: with them the other way round they are near.

Places and links come in, the PoPs that stand out go out. Nothing is said of a PoP near its neighbours, nor of
one that is far from them either way, so that long links are not taken for mistakes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from testbed.spec.fields import Place
from testbed.topology.compile import great_circle_m

FAR_M = 1_000_000.0
"""A PoP nearer to its neighbours than this may well be where it is said to be."""
TIMES_NEARER = 5.0


@dataclass(frozen=True)
class Swapped:
    """A PoP and its mean distance to those it is linked to: as written, and with its place swapped."""

    pop: str
    written_m: float
    swapped_m: float


def swapped_places(places: Mapping[str, Place], links: Iterable[tuple[str, str]]) -> list[Swapped]:
    """PoPs that stand out, those with the most links first. Time is near linear in the number of links.

    A PoP that was found counts as mended from then on: what is linked to it alone was far from it as well.
    """
    neighbours: dict[str, set[str]] = defaultdict(set)
    for a, b in links:
        if a in places and b in places and a != b:
            neighbours[a].add(b)
            neighbours[b].add(a)
    mended = dict(places)
    found: list[Swapped] = []
    for pop in sorted(neighbours, key=lambda pop: -len(neighbours[pop])):
        near = [mended[other] for other in neighbours[pop]]
        latitude, longitude = mended[pop]
        written = _mean_distance_m((latitude, longitude), near)
        if written <= FAR_M or abs(longitude) > 90:
            continue
        swapped = _mean_distance_m((longitude, latitude), near)
        if written > TIMES_NEARER * swapped:
            mended[pop] = (longitude, latitude)
            found.append(Swapped(pop, written, swapped))
    return found


def _mean_distance_m(place: Place, others: Iterable[Place]) -> float:
    return fmean(great_circle_m(place, other) for other in others)
