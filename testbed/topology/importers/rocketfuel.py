"""Rocketfuel's inferred weights and latencies in (Mahajan et al., IMW 2002): one ISP.

A line is `City,+ST<id> City,+ST<id> value`, one direction of a link between two routers; the value is the
routing weight in `ASN.weights.intra`, the one-way latency in ms in `ASN.latencies.intra`. Each router
becomes a PoP, or with `by_city` each city. The files say nothing of places and capacities.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from shlex import quote
from typing import Literal

from testbed.errors import Problem, UserError
from testbed.spec.loading import listed
from testbed.topology.importers.common import (
    DEFAULT_ASN,
    LONGEST_NAME,
    Choices,
    Imported,
    Source,
    name_of,
    names_of,
    number_of,
    stem_of,
    text_of,
    topology,
)
from testbed.topology.importers.isp import FoundLink, FoundPop, build_isp, join_directed
from testbed.topology.writing import counted

_LINE = re.compile(r"(\S*[^\s0-9][0-9]+)\s+(\S*[^\s0-9][0-9]+)\s+([0-9.]+(?:[eE][+-]?[0-9]+)?)")
_ASN = re.compile(r"(?:as)?([0-9]{1,10})", re.I)
_HIGHEST = 1_000_000
_NAME_OTHERS = "name the latencies of the same network, or leave --latencies out"
Kind = Literal["weights", "latencies"]


Values = dict[tuple[str, str], list[float]]
"""The values of each directed pair of routers, `City,+ST<id>`; more than one where links are parallel."""


def is_rocketfuel(line: str) -> bool:
    """Whether a line, the first that is no comment, is one of these files."""
    return _LINE.fullmatch(line.strip()) is not None


def other_name(name: str) -> str | None:
    """The name of the file that belongs to a file of this name, None where the name does not say."""
    for kind, other in (("weights", "latencies"), ("latencies", "weights")):
        if kind in name:
            return name.replace(kind, other)
    return None


def import_rocketfuel(source: Source, choices: Choices) -> Imported:
    """The network of a file of weights or latencies, with the other of the pair in `source.other`."""
    if source.other_chosen:
        _check_names(source)
    kind: Kind = "latencies" if "latencies" in source.name else "weights"
    values = {kind: _read(source, source.data, source.where)}
    named = kind in source.name or source.other_chosen
    notes = [] if named else ["the file's name says neither weights nor latencies: read as weights"]
    if source.other is not None:
        other: Kind = "weights" if kind == "latencies" else "latencies"
        values[other] = _read(source, source.other, source.other_where)
        notes.append(f"joined with {other} of {PurePath(source.other_where).name}")
        notes += _matching(source, values[kind], values[other])
    arcs, joining_notes = _arcs(values.get("weights"), values.get("latencies"))
    links, alone = join_directed(arcs)
    notes += joining_notes
    if alone:
        ends = [f"{link.a} - {link.b}" for link in alone]
        notes.append(f"{counted(len(alone), 'one-way link')} taken for both directions: {listed(ends, 10)}")
    routers = list(dict.fromkeys(end for arc in arcs for end in (arc.a, arc.b)))
    metros = _metros(routers)
    pops = [_pop(router, metros) for router in routers]
    if choices.by_city:
        pops, links, city_note = _by_city(pops, links)
        notes.append(city_note)
    asn, asn_note = _asn(source, choices)
    isp = build_isp(pops, links, asn, choices)
    notes += [*asn_note, *isp.notes]
    name = choices.isp or _default_name(source, asn)
    chosen = choices if choices.name else replace(choices, name=name)
    description = f"Rocketfuel's inferred network of AS {asn}, imported from {source.name}"
    return Imported(topology(source, chosen, description, isps={name: isp.body}), tuple(notes))


def _check_names(source: Source) -> None:
    """Raises UserError where the names of the two files say that they don't hold weights and latencies."""
    other = PurePath(source.other_where).name
    if "weights" in other and "latencies" not in other:
        what = f"{source.other_where} holds weights, by its name"
        raise UserError(Problem(what, "--latencies", "a file of latencies", _right_command(source)))
    if "latencies" in source.name:
        what = "the file holds latencies, by its name, as that of --latencies does"
        raise source.wrong(what, allowed="a file of weights", mend=_right_command(source))


def _right_command(source: Source) -> str:
    """The command that joins weights with latencies, as far as names tell which is which."""
    file, other = PurePath(source.where), PurePath(source.other_where)
    beside = file.with_name(other_name(file.name) or file.name)
    if "latencies" in file.name:
        weights, latencies = (other if "weights" in other.name else beside), file
    elif "weights" in file.name:
        weights, latencies = file, beside
    else:
        return _NAME_OTHERS
    return f"testbed import {quote(str(weights))} --latencies {quote(str(latencies))}"


def _matching(source: Source, one: Values, other: Values) -> list[str]:
    """A note where fewer than half of the links are in both files. Raises UserError where none is."""
    ends, other_ends = ({frozenset(pair) for pair in values} for values in (one, other))
    shared, links = len(ends & other_ends), len(ends | other_ends)
    if not shared:
        what = f"{source.other_where} has none of the links of {source.where}: they are of different networks"
        if source.other_chosen:
            raise UserError(Problem(what, "--latencies", mend=_NAME_OTHERS))
        raise UserError(Problem(what, mend="move it away, or name the right file with --latencies"))
    return [] if 2 * shared >= links else [f"only {shared} of {links} links are in both files"]


def _read(source: Source, data: bytes, where: str) -> Values:
    """The values of each directed pair of routers, in the order of the file."""
    values: Values = defaultdict(list)
    for number, line in enumerate(text_of(data).splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        match = _LINE.fullmatch(content)
        value = number_of(match.group(3)) if match else None
        if match is None or value is None:
            raise replace(source, where=where).wrong(
                f"'{content[:60]}' is no link", line=number, allowed="City,+ST<id> City,+ST<id> value"
            )
        if value > _HIGHEST:
            what = f"{match.group(3)} is no weight or latency"
            raise replace(source, where=where).wrong(what, line=number, allowed=f"0 to {_HIGHEST}")
        values[match.group(1), match.group(2)].append(value)
    if not values:
        raise replace(source, where=where).wrong("the file holds no links")
    return values


def _arcs(weights: Values | None, latencies: Values | None) -> tuple[list[FoundLink], list[str]]:
    """One directed link for each line, with its weight and latency; without weights, latency decides."""
    notes = []
    if weights is None:
        notes.append("no weights given: the least latency decides routes")
    if weights and latencies:
        pairs = weights.keys() | latencies.keys()
        for kind, one in (("weight", weights), ("latency", latencies)):
            missing = len(pairs - one.keys())
            if missing:
                notes.append(
                    f"{missing} of {counted(len(pairs), 'directed link')} without a {kind} in the files"
                )
    arcs = []
    for pair in dict.fromkeys([*(weights or ()), *(latencies or ())]):
        of_weight = (weights or {}).get(pair, [])
        of_latency = (latencies or {}).get(pair, [])
        for index in range(max(len(of_weight), len(of_latency))):
            latency = of_latency[min(index, len(of_latency) - 1)] if of_latency else None
            weight = of_weight[min(index, len(of_weight) - 1)] if of_weight else None
            if weights is None:
                weight = latency
            arcs.append(
                FoundLink(
                    a=pair[0],
                    b=pair[1],
                    delay_s=None if latency is None else (latency / 1000, latency / 1000),
                    weight=None if weight is None else (weight, weight),
                )
            )
    return arcs, notes


def _parts(router: str) -> tuple[str, str]:
    """`New+York,+NY239` -> (`New+York,+NY`, `239`)."""
    city = router.rstrip("0123456789")
    return city, router[len(city) :]


def _metros(routers: Sequence[str]) -> dict[str, str]:
    """A metro for each city: its name, with its state or country where two cities share a name."""
    cities = list(dict.fromkeys(_parts(router)[0] for router in routers))
    short = Counter(name_of(_town(city), "city") for city in cities)
    labels = [
        _town(city) if short[name_of(_town(city), "city")] == 1 else city.replace("+", " ") for city in cities
    ]
    return dict(zip(cities, names_of(labels), strict=True))


def _town(city: str) -> str:
    return city.partition(",")[0].replace("+", " ")


def _pop(router: str, metros: Mapping[str, str]) -> FoundPop:
    """A PoP `city-id`; a long city is cut so that the id stays whole."""
    city, number = _parts(router)
    metro = metros[city]
    room = max(1, LONGEST_NAME - len(number) - 1)
    return FoundPop(router, f"{metro[:room].rstrip('-')}-{number}", metro=metro)


def _by_city(
    pops: Sequence[FoundPop], links: Sequence[FoundLink]
) -> tuple[list[FoundPop], list[FoundLink], str]:
    """The routers of a city as one PoP, and of the links between two cities the one with the least weight."""
    metro = {pop.key: pop.metro for pop in pops}
    best: dict[frozenset[str], FoundLink] = {}
    for link in links:
        a, b = metro[link.a], metro[link.b]
        if a != b:
            known = best.setdefault(frozenset((a, b)), replace(link, a=a, b=b))
            if sum(link.weight or (1, 1)) < sum(known.weight or (1, 1)):
                best[frozenset((a, b))] = replace(link, a=a, b=b)
    cities = [FoundPop(city, city) for city in dict.fromkeys(metro.values())]
    note = (
        f"{counted(len(pops), 'router')} merged into {counted(len(cities), 'city', 'cities')}; between two "
        f"cities the link with the least weight kept ({len(best)} of {len(links)})"
    )
    return cities, list(best.values()), note


def _asn(source: Source, choices: Choices) -> tuple[int, list[str]]:
    """The ASN: as chosen, else that of the file's name, else of its folder's, as Rocketfuel ships them."""
    for text in (stem_of(source.name), source.folder):
        match = _ASN.fullmatch(text)
        if choices.asn is None and match and 1 <= int(match.group(1)) <= 4294967295:
            return int(match.group(1)), []
    if choices.asn is not None:
        return choices.asn, []
    return DEFAULT_ASN, [f"the file's name says no ASN: {DEFAULT_ASN} taken (--asn)"]


def _default_name(source: Source, asn: int) -> str:
    stem = stem_of(source.name)
    return (
        f"as{asn}" if _ASN.fullmatch(stem) or stem in ("weights", "latencies") else name_of(stem, f"as{asn}")
    )
