"""GraphML in, as the Internet Topology Zoo and yEd write it: one ISP, and if wanted its neighbours as ISPs.

Nodes are PoPs but for those that the Zoo marks as external; edges are links with the rate that their
attributes or labels name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from testbed.spec.fields import Place
from testbed.spec.loading import listed
from testbed.topology.importers.common import (
    DEFAULT_ASN,
    DEFAULT_DELAY_S,
    MOST_LISTED,
    Choices,
    Imported,
    Source,
    name_of,
    names_of,
    number_of,
    stem_of,
    topology,
)
from testbed.topology.importers.graphml_reader import read_graph
from testbed.topology.importers.isp import (
    BuiltIsp,
    FoundLink,
    FoundPop,
    build_isp,
    join_directed,
    pop_body,
)
from testbed.topology.importers.rates import plausible, read_rate
from testbed.topology.writing import counted, duration_text, rate_text

_UNITS_BPS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_RAW = ("linkspeedraw", "bandwidth_bps")
Attributes = Mapping[str, str]


def import_graphml(source: Source, choices: Choices) -> Imported:
    """The network of a GraphML file. Raises UserError where it is no GraphML or holds no nodes."""
    read = read_graph(source)
    graph = read.graph
    pops = [_pop(key, attributes) for key, attributes in graph.nodes(data=True)]
    if not pops:
        raise source.wrong("the graph has no nodes")
    edges = sorted(graph.edges(data=True), key=lambda edge: int(edge[2]["edge"]))
    links = [FoundLink(a, b, _capacity(attributes)) for a, b, attributes in edges]
    notes = [*read.notes, *_reading_notes(pops, links, edges)]
    if read.directed:
        links, alone = join_directed(links)
        if alone:
            notes.append(f"{counted(len(alone), 'link')} in one direction only taken for both")
    outside = {key for key, attributes in graph.nodes(data=True) if _is_external(attributes)}
    if len(outside) == len(pops):
        notes.append("every node is marked as external: all kept as PoPs")
        outside = set()
    if choices.external == "keep":
        outside = set()
    asn = choices.asn or DEFAULT_ASN
    inner_pops = [pop for pop in pops if pop.key not in outside]
    inner_links = [link for link in links if not {link.a, link.b} & outside]
    isp = build_isp(inner_pops, inner_links, asn, choices)
    isp_name = choices.isp or name_of(stem_of(source.name), "imported")
    isps, interdomain, outside_notes = _external_isps(
        isp_name, asn, isp, [pop for pop in pops if pop.key in outside], links, choices
    )
    sections: dict[str, Any] = {"isps": {isp_name: isp.body, **isps}}
    if interdomain:
        sections["interdomain"] = interdomain
    data = topology(source, choices, _description(graph.graph, source), **sections)
    return Imported(data, (*notes, *isp.notes, *outside_notes))


def _pop(key: str, attributes: Attributes) -> FoundPop:
    label = _first(attributes, ("label", "name")).strip()
    return FoundPop(key, "" if label == "?" else label, _place(attributes))


def _first(attributes: Attributes, names: Iterable[str]) -> str:
    """The first attribute of these names that says something, whatever the case of its name."""
    lower = {name.lower(): value for name, value in attributes.items()}
    values = (str(lower.get(name) or "") for name in names)
    return next((value for value in values if value.strip() not in ("", "None")), "")


def _place(attributes: Attributes) -> Place | None:
    """Latitude and longitude; None where missing, no numbers, out of range, or both zero (unset)."""
    latitude = number_of(_first(attributes, ("latitude", "lat")))
    longitude = number_of(_first(attributes, ("longitude", "lon", "lng", "long")))
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def _is_external(attributes: Attributes) -> bool:
    """Whether the Zoo's `Internal` is there and says no; it is 0, 0.0 or False, by the age of the file."""
    internal = _first(attributes, ("internal",)).strip().lower()
    return internal == "false" or number_of(internal) == 0


def _capacity(attributes: Attributes) -> tuple[int, int] | None:
    """What an edge says of its rate: as bit/s, as a number with a unit, or in the words of a label."""
    raw = plausible(number_of(_first(attributes, _RAW)))
    rate = raw or _speed_with_unit(attributes) or _labelled(attributes)
    return None if rate is None else (rate, rate)


def _speed_with_unit(attributes: Attributes) -> int | None:
    speed = number_of(_first(attributes, ("linkspeed",)))
    unit = _first(attributes, ("linkspeedunits",)).strip().lower()[:1]
    if speed is None or unit not in _UNITS_BPS:
        return None
    return plausible(speed * _UNITS_BPS[unit])


def _labelled(attributes: Attributes) -> int | None:
    labels = (_first(attributes, (name,)) for name in ("linklabel", "label", "linktype", "linknote"))
    return next((rate for rate in map(read_rate, labels) if rate is not None), None)


def _reading_notes(
    pops: Sequence[FoundPop],
    links: Sequence[FoundLink],
    edges: Sequence[tuple[str, str, Attributes]],
) -> list[str]:
    title = {pop.key: pop.title for pop in pops}
    raw = {
        f"{title[a]} - {title[b]}: {text}"
        for a, b, attributes in edges
        if (text := _first(attributes, _RAW)) and plausible(number_of(text)) is None
    }
    said = {
        f"{title[a]} - {title[b]}: {text}"
        for (a, b, attributes), link in zip(edges, links, strict=True)
        if link.capacity_bps is None and (text := _first(attributes, ("linklabel", "label", "linkspeed")))
    }
    notes = []
    if raw:
        notes.append(f"these LinkSpeedRaw are no rate of 1 kbit/s to 1 Pbit/s: {listed(sorted(raw), 10)}")
    if said:
        notes.append(f"no rate could be read from these labels: {listed(sorted(said), 10)}")
    return notes


def _description(attributes: Attributes, source: Source) -> str:
    parts = [_first(attributes, (name,)) for name in ("network", "geolocation", "networkdate")]
    known = ", ".join(" ".join(part.split()) for part in parts if part)
    return f"{known}. Imported from {source.name}" if known else f"Imported from {source.name}"


def _external_isps(
    isp_name: str,
    asn: int,
    isp: BuiltIsp,
    outside: Sequence[FoundPop],
    links: Sequence[FoundLink],
    choices: Choices,
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """External nodes as ISPs of one PoP, if that is chosen; their links; and what became of them."""
    if not outside:
        return {}, [], []
    label = {pop.key: pop.title for pop in outside}
    if choices.external not in ("peers", "customers"):
        nodes = counted(len(outside), "external node")
        named = listed([*label.values()], MOST_LISTED)
        return {}, [], [f"dropped {nodes} (--external keep keeps them): {named}"]
    borders = [link if link.a in label else replace(link, a=link.b, b=link.a) for link in links]
    borders = [link for link in borders if link.a in label and link.b in isp.names]
    at_border = {link.a for link in borders}
    joined = [pop for pop in outside if pop.key in at_border]
    names = dict(
        zip((pop.key for pop in joined), names_of([pop.label for pop in joined], {isp_name}), strict=True)
    )
    isps = {
        names[pop.key]: {"asn": _following(asn, number), "pops": {"border": pop_body(pop.place)}}
        for number, pop in enumerate(joined, start=1)
    }
    placed = {pop.key for pop in joined if pop.place is not None}
    delay_s = DEFAULT_DELAY_S if choices.delay_s is None else choices.delay_s
    relationship = "peer-peer" if choices.external == "peers" else "customer-provider"
    interdomain = [
        {
            "between": [f"{names[link.a]}.border", f"{isp_name}.{isp.names[link.b]}"],
            "relationship": relationship,
            "capacity": rate_text((link.capacity_bps or (isp.guess_bps,))[0]),
            **({} if link.a in placed and link.b in isp.places else {"delay": duration_text(delay_s)}),
        }
        for link in borders
    ]
    notes = [f"{counted(len(joined), 'external node')} became ISPs: {listed([*names.values()], MOST_LISTED)}"]
    unplaced = sum("delay" in link for link in interdomain)
    if unplaced:
        what = f"the delay of {counted(unplaced, 'link')} between ISPs follows from no coordinates"
        notes.append(f"{what}: {duration_text(delay_s)} (--delay)")
    if choices.external == "peers" and len(joined) > 1:
        notes.append("these ISPs peer with one network only, so they have no routes to each other")
    dropped = [name for key, name in label.items() if key not in names]
    if dropped:
        notes.append(f"dropped external nodes without a link to a kept PoP: {listed(dropped, MOST_LISTED)}")
    return isps, interdomain, notes


def _following(asn: int, number: int) -> int:
    """The ASN `number` after another, counted from 1 again after the highest."""
    return (asn + number - 1) % 4294967295 + 1
