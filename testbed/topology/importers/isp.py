"""From a graph as a file has it to one ISP: its largest connected part, with names that fit and gaps filled.

PoPs and links with what is known of them come in, in the order of the file; the ISP as a topology file has it
goes out, with a note on each thing that was dropped, renamed or guessed. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import atan2, cos, degrees, hypot, radians, sin
from statistics import median_low
from typing import Any

import networkx as nx

from testbed.spec.fields import Place
from testbed.spec.loading import listed
from testbed.topology.compile import great_circle_delay_s
from testbed.topology.importers.common import (
    DEFAULT_CAPACITY_BPS,
    DEFAULT_DELAY_S,
    MOST_LISTED,
    Choices,
    name_of,
    names_of,
    one_or_two,
    rate_words,
)
from testbed.topology.writing import counted, duration_text, rate_text

_SAME_SPOT_S = 5e-6  # the delay of a kilometre

Key = str
Pair = tuple[float, float]


@dataclass(frozen=True)
class FoundPop:
    """A PoP of a file: the file's own key for it, its label, and its place and metro where known."""

    key: Key
    label: str
    place: Place | None = None
    metro: str = ""

    @property
    def title(self) -> str:
        """What notes call it."""
        return self.label or f"node {self.key}"


@dataclass(frozen=True)
class FoundLink:
    """A link of a file between two keys; a pair is there and back, None is what the file does not say."""

    a: Key
    b: Key
    capacity_bps: tuple[int, int] | None = None
    delay_s: Pair | None = None
    weight: Pair | None = None


@dataclass(frozen=True)
class BuiltIsp:
    """An ISP as a topology file has it, the names that its PoPs got, their places, the rate of a guess."""

    body: dict[str, Any]
    names: Mapping[Key, str]
    places: Mapping[Key, Place]
    guess_bps: int
    notes: tuple[str, ...]


def build_isp(pops: Sequence[FoundPop], links: Sequence[FoundLink], asn: int, choices: Choices) -> BuiltIsp:
    """The ISP of the largest connected part of `pops` (at least one) and `links`."""
    links, loop_notes = _without_loops(pops, links)
    pops, links, part_notes = _largest_part(pops, links)
    names, name_notes = _named(pops)
    places, place_notes = _placed(pops, links)
    guess_bps, capacity_notes = guessed_capacity(links, choices)
    links, delay_notes = _delayed(pops, links, places, choices)
    links, weight_notes = _weighted(links)
    body: dict[str, Any] = {
        "asn": asn,
        "pops": {names[p.key]: pop_body(places.get(p.key), p.metro) for p in pops},
    }
    if links:
        body["links"] = [_link(link, names, guess_bps) for link in links]
    if any(pop.metro for pop in pops):
        body["pids"] = "metro"
    notes = (
        *loop_notes,
        *part_notes,
        *name_notes,
        *place_notes,
        *capacity_notes,
        *delay_notes,
        *weight_notes,
    )
    return BuiltIsp(body, names, places, guess_bps, notes)


def join_directed(links: Sequence[FoundLink]) -> tuple[list[FoundLink], list[FoundLink]]:
    """Links that each say one direction, joined in pairs, and those of them that have no other direction.

    A link from a to b joins the first unjoined one from b to a; the joined link stands where the first stood.
    """
    joined: list[FoundLink] = []
    waiting: dict[tuple[Key, Key], list[int]] = defaultdict(list)
    alone: set[int] = set()
    for link in links:
        others = waiting[link.b, link.a]
        if others and link.a != link.b:
            index = others.pop(0)
            joined[index] = _both_ways(joined[index], link)
            alone.discard(index)
        else:
            waiting[link.a, link.b].append(len(joined))
            alone.add(len(joined))
            joined.append(link)
    return joined, [joined[index] for index in sorted(alone)]


def _both_ways(there: FoundLink, back: FoundLink) -> FoundLink:
    def pair(first: Any, second: Any) -> Any:
        first, second = first or second, second or first
        return (first[0], second[0]) if first else None

    return replace(
        there,
        capacity_bps=pair(there.capacity_bps, back.capacity_bps),
        delay_s=pair(there.delay_s, back.delay_s),
        weight=pair(there.weight, back.weight),
    )


def _without_loops(
    pops: Sequence[FoundPop], links: Sequence[FoundLink]
) -> tuple[list[FoundLink], tuple[str, ...]]:
    title = {pop.key: pop.title for pop in pops}
    loops = [title[link.a] for link in links if link.a == link.b]
    kept = [link for link in links if link.a != link.b]
    if not loops:
        return kept, ()
    named = listed(loops, MOST_LISTED)
    return kept, (f"dropped {counted(len(loops), 'link')} from a PoP to itself: {named}",)


def _largest_part(
    pops: Sequence[FoundPop], links: Sequence[FoundLink]
) -> tuple[list[FoundPop], list[FoundLink], tuple[str, ...]]:
    """The connected part with the most PoPs, the first of the file where two are as large."""
    graph = nx.Graph()
    graph.add_nodes_from(pop.key for pop in pops)
    graph.add_edges_from((link.a, link.b) for link in links)
    parts = list(nx.connected_components(graph))
    kept: set[Key] = max(parts, key=len)
    inside = [pop for pop in pops if pop.key in kept]
    within = [link for link in links if link.a in kept]
    if len(parts) == 1:
        return inside, within, ()
    rest = [pop.title for pop in pops if pop.key not in kept]
    note = (
        f"the network falls into {len(parts)} parts; kept the largest, of {counted(len(kept), 'PoP')}, "
        f"and dropped {counted(len(rest), 'PoP')} that no link joins to it: {listed(rest, MOST_LISTED)}"
    )
    return inside, within, (note,)


def _named(pops: Sequence[FoundPop]) -> tuple[dict[Key, str], tuple[str, ...]]:
    """A name for each PoP; a note on those whose label is missing, repeated or too long."""
    names = dict(zip((pop.key for pop in pops), names_of([pop.label for pop in pops]), strict=True))
    in_full = {pop.key: name_of(pop.label, "?", room=len(pop.label) + 100) for pop in pops}
    changed = [
        f"{pop.label or '(none)'} -> {names[pop.key]}" for pop in pops if names[pop.key] != in_full[pop.key]
    ]
    if not changed:
        return names, ()
    renamed = listed(changed, MOST_LISTED)
    return names, (f"labels that are missing, repeated or too long were renamed: {renamed}",)


def _placed(pops: Sequence[FoundPop], links: Sequence[FoundLink]) -> tuple[dict[Key, Place], tuple[str, ...]]:
    """The place of each PoP; one without gets the middle of its placed neighbours', round after round."""
    places = {pop.key: pop.place for pop in pops if pop.place is not None}
    missing = [pop for pop in pops if pop.place is None]
    if not places or not missing:
        return places, () if places else ("the file gives no coordinates: the PoPs are on no map",)
    neighbours: dict[Key, list[Key]] = defaultdict(list)
    for link in links:
        neighbours[link.a].append(link.b)
        neighbours[link.b].append(link.a)
    todo = missing
    while todo:
        found = {}
        for pop in todo:
            around = [places[key] for key in neighbours[pop.key] if key in places]
            if around:
                found[pop.key] = middle(around)
        places |= found
        todo = [pop for pop in todo if pop.key not in places]
    note = (
        f"{counted(len(missing), 'PoP')} without coordinates placed amid the neighbours (a guess): "
        + listed([pop.title for pop in missing], MOST_LISTED)
    )
    return places, (note,)


def middle(places: Sequence[Place]) -> Place:
    """The middle of places on the globe, to four decimals (11 m); right across the date line too."""
    x = y = z = 0.0
    for latitude, longitude in places:
        north, east = radians(latitude), radians(longitude)
        x, y, z = x + cos(north) * cos(east), y + cos(north) * sin(east), z + sin(north)
    if hypot(x, y, z) < 1e-9:
        return places[0]
    return round(degrees(atan2(z, hypot(x, y))), 4), round(degrees(atan2(y, x)), 4)


def guessed_capacity(links: Sequence[FoundLink], choices: Choices) -> tuple[int, tuple[str, ...]]:
    """The capacity (bit/s) of links that the file gives none: as chosen, else the median of the others."""
    known = [rate for link in links for rate in link.capacity_bps or ()]
    unknown = sum(link.capacity_bps is None for link in links)
    guess = choices.capacity_bps or (median_low(known) if known else DEFAULT_CAPACITY_BPS)
    if not unknown:
        unused = (
            ("--capacity changed nothing: the file gives every capacity",) if choices.capacity_bps else ()
        )
        return guess, unused
    why = "as --capacity says" if choices.capacity_bps else "the median of the others" if known else "a guess"
    what = f"{counted(unknown, 'link')} of {len(links)}" if known else counted(unknown, "link")
    return guess, (
        f"the capacity of {what} is unknown: {rate_words(guess, choices.scale)}, {why} (--capacity)",
    )


def _delayed(
    pops: Sequence[FoundPop], links: Sequence[FoundLink], places: Mapping[Key, Place], choices: Choices
) -> tuple[list[FoundLink], tuple[str, ...]]:
    """Links with a delay where neither file nor places give one: as chosen, else the median of the others.

    A place that was guessed right at a neighbour's says nothing of the way between the two.
    """
    placed = {pop.key for pop in pops if pop.place is not None}
    distance = {link: great_circle_delay_s(places.get(link.a), places.get(link.b)) for link in links}

    def is_unknown(link: FoundLink) -> bool:
        guessed = not {link.a, link.b} <= placed
        return link.delay_s is None and guessed and distance[link] < _SAME_SPOT_S

    unknown = sum(map(is_unknown, links))
    if not unknown:
        unused = choices.delay_s is not None
        return list(links), ("--delay changed nothing: every delay is known or follows from places",) * unused
    known = [delay for link in links if not is_unknown(link) for delay in link.delay_s or (distance[link],)]
    guess = choices.delay_s
    if guess is None:
        guess = round(median_low(known), 5) if known else DEFAULT_DELAY_S
    chosen = choices.delay_s is not None
    why = "as --delay says" if chosen else "the median of the others" if known else "a guess"
    what = f"the delay of {counted(unknown, 'link')}"
    what += " between PoPs guessed onto one spot is unknown" if places else " is not in the file"
    note = f"{what}: {duration_text(guess)}, {why} (--delay)"
    return [replace(link, delay_s=(guess, guess)) if is_unknown(link) else link for link in links], (note,)


def _weighted(links: Sequence[FoundLink]) -> tuple[list[FoundLink], tuple[str, ...]]:
    """Links with weights that a topology file may have: thousandths, from 0.001 to a million."""
    fitting = [
        replace(link, weight=(_fitting(link.weight[0]), _fitting(link.weight[1]))) if link.weight else link
        for link in links
    ]
    changed = sum(before.weight != after.weight for before, after in zip(links, fitting, strict=True))
    if not changed:
        return fitting, ()
    note = f"the weights of {counted(changed, 'link')} were brought to thousandths, from 0.001 to 1000000"
    return fitting, (note,)


def _fitting(weight: float) -> float:
    return min(1e6, max(0.001, round(weight, 3)))


def pop_body(place: Place | None, metro: str = "") -> dict[str, Any]:
    """A PoP as a topology file has it."""
    item: dict[str, Any] = {}
    if place is not None:
        item["at"] = [round(place[0], 6), round(place[1], 6)]
    if metro:
        item["metro"] = metro
    return item


def _link(link: FoundLink, names: Mapping[Key, str], guess_bps: int) -> dict[str, Any]:
    there, back = link.capacity_bps or (guess_bps, guess_bps)
    item: dict[str, Any] = {
        "between": [names[link.a], names[link.b]],
        "capacity": one_or_two(rate_text(there), rate_text(back)),
    }
    if link.delay_s is not None:
        item["delay"] = one_or_two(*map(duration_text, link.delay_s))
    if link.weight is not None and link.weight != (1.0, 1.0):
        item["weight"] = one_or_two(*(int(way) if way.is_integer() else way for way in link.weight))
    return item
