"""SNDlib's native format in (sndlib.put.poznan.pl, "SNDlib native format 1.0"): one ISP.

Nodes with coordinates and links with capacities and routing costs are read; demands, setup costs and paths
are not, since a trial's load comes from its peers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.topology.importers.common import (
    DEFAULT_ASN,
    Choices,
    Imported,
    Source,
    name_of,
    number_of,
    stem_of,
    text_of,
    topology,
)
from testbed.topology.importers.isp import FoundLink, FoundPop, build_isp, join_directed
from testbed.topology.importers.rates import plausible
from testbed.topology.writing import counted

_TOKEN = re.compile(r"[()]|[^\s()]+")
_SECTION = re.compile(r"(?m)^[ \t]*\??[ \t]*(NODES|LINKS)\s*\(")
_META = re.compile(r"\s*META\s*\(")
_UNITS_BPS = {"KBITPERSEC": 10**3, "MBITPERSEC": 10**6, "GBITPERSEC": 10**9}


@dataclass(frozen=True)
class _Token:
    text: str
    line: int


Entry = tuple[_Token, list[list[str]], list[str]]
"""An entry of a section: its name, the words of each of its parentheses, the words outside them."""


def is_sndlib(text: str) -> bool:
    """Whether a text is in SNDlib's native format: by its first line, or by its sections."""
    return text.lstrip().lower().startswith("?sndlib") or _SECTION.search(text) is not None


def import_sndlib(source: Source, choices: Choices) -> Imported:
    """The network of an SNDlib file. Raises UserError, with the line, where it is broken."""
    sections = _sections(source)
    if not sections.get("NODES"):
        raise source.wrong("the file has no nodes", allowed="a section NODES ( ... ) with one node a line")
    pops, notes = _pops(source, sections["NODES"])
    unit_bps, unit_note = _unit(source, choices.scale)
    links = [_link(source, entry, {pop.key for pop in pops}, unit_bps) for entry in sections.get("LINKS", ())]
    links, direction_notes = _undirected(links)
    isp = build_isp(pops, links, choices.asn or DEFAULT_ASN, choices)
    notes += [*unit_note, *direction_notes, *_weight_note(links), *isp.notes]
    if sections.get("DEMANDS"):
        notes.append(f"{counted(len(sections['DEMANDS']), 'demand')} of the file not used")
    name = choices.isp or name_of(stem_of(source.name), "imported")
    return Imported(
        topology(source, choices, f"Imported from {source.name}", isps={name: isp.body}), tuple(notes)
    )


def _sections(source: Source) -> dict[str, list[Entry]]:
    """The entries of each section."""
    tokens = list(_tokens(text_of(source.data)))
    sections: dict[str, list[Entry]] = {}
    at = 0
    while at < len(tokens):
        name = tokens[at]
        if at + 1 >= len(tokens) or tokens[at + 1].text != "(":
            raise source.wrong(
                f"'{name.text}' where a section should begin", line=name.line, allowed="NODES (, LINKS ("
            )
        end = _closing(source, tokens, at + 1)
        sections[name.text] = list(_entries(source, tokens[at + 2 : end]))
        at = end + 1
    return sections


def _tokens(text: str) -> Iterator[_Token]:
    """Words and parentheses with their lines, without comments, the format's name, and META.

    META is free text, with parentheses that need not close; it ends where one stands alone on its line.
    """
    in_meta = False
    for number, line in enumerate(text.splitlines(), start=1):
        in_meta = in_meta or _META.match(line) is not None
        if in_meta or line.lstrip().startswith("?"):
            in_meta = in_meta and line.strip() != ")"
            continue
        for match in _TOKEN.finditer(line.partition("#")[0]):
            yield _Token(match.group(), number)


def _closing(source: Source, tokens: Sequence[_Token], opening: int) -> int:
    """The index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0)
        if depth == 0:
            return index
    section = tokens[opening - 1]
    raise source.wrong(
        f"section {section.text}, which begins here, has no closing parenthesis: is the file cut off?",
        line=section.line,
    )


def _entries(source: Source, tokens: Sequence[_Token]) -> Iterator[Entry]:
    """The entries of a section: a name, then groups in parentheses and words, up to the end of its line.

    An entry may go on over lines inside its parentheses.
    """
    at = 0
    while at < len(tokens):
        name, groups, words = tokens[at], list[list[str]](), list[str]()
        if name.text in "()":
            raise source.wrong(f"'{name.text}' where a name should be", line=name.line)
        line, at = name.line, at + 1
        while at < len(tokens) and tokens[at].line == line:
            if tokens[at].text == "(":
                end = _closing(source, tokens, at)
                groups.append([token.text for token in tokens[at + 1 : end] if token.text not in "()"])
                line, at = tokens[end].line, end + 1
            else:
                words.append(tokens[at].text)
                at += 1
        yield name, groups, words


def _pops(source: Source, entries: Sequence[Entry]) -> tuple[list[FoundPop], list[str]]:
    """The nodes. Coordinates are longitude and latitude; where any is out of their range none is a place."""
    seen: set[str] = set()
    for name, _, _ in entries:
        if name.text in seen:
            raise source.wrong(f"node {name.text} is there twice", line=name.line)
        seen.add(name.text)
    found = [[number_of(word) for word in (groups[0] if groups else [])[:2]] for _, groups, _ in entries]
    pairs = [(item[0], item[1]) if len(item) == 2 else (None, None) for item in found]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    on_earth = all(abs(x) <= 180 and abs(y) <= 90 for x, y in known) and any(x or y for x, y in known)
    pops = [
        FoundPop(
            name.text,
            name.text,
            (y, x) if on_earth and x is not None and y is not None and (x or y) else None,
        )
        for (name, _, _), (x, y) in zip(entries, pairs, strict=True)
    ]
    if known and not on_earth:
        return pops, ["the coordinates are no degrees (out of range, or all zero) and are left out"]
    return pops, []


def _unit(source: Source, scale: float) -> tuple[int, list[str]]:
    """The unit of capacities in bit/s: as META says, else Mbit/s, as most SNDlib networks have it."""
    match = re.search(r"(?m)^\s*unit\s*=?\s*(\S+)", text_of(source.data))
    unit = match.group(1).upper() if match else ""
    if unit in _UNITS_BPS:
        return _UNITS_BPS[unit], []
    said = f"the unit {unit} is not known" if unit else "the file names no unit of capacity"
    return 10**6, [f"{said}: Mbit/s taken (--scale {1000 * scale:g} for Gbit/s)"]


def _link(source: Source, entry: Entry, nodes: set[str], unit_bps: int) -> FoundLink:
    """A link: `id ( source target ) pre-installed-capacity its-cost routing-cost setup-cost ( modules )`."""
    name, groups, words = entry
    if not groups or len(groups[0]) != 2:
        raise source.wrong(
            f"link {name.text} does not name two nodes",
            line=name.line,
            allowed="such as L1 ( Berlin Hamburg ) 0.00 0.00 0.00 0.00 ( 40.00 3290.00 )",
        )
    for node in groups[0]:
        if node not in nodes:
            what = f"link {name.text} ends at '{node}', and there is no such node"
            raise source.wrong(what, line=name.line)
    numbers = [number_of(word) for word in words]
    installed = numbers[0] if numbers else None
    modules = [number_of(word) for word in groups[1][::2]] if len(groups) > 1 else []
    capacity = next((rate for rate in (installed, *modules) if rate and rate > 0), None)
    rate = plausible(capacity * unit_bps) if capacity else None
    cost = numbers[2] if len(numbers) > 2 else None
    return FoundLink(
        groups[0][0],
        groups[0][1],
        None if rate is None else (rate, rate),
        weight=(cost, cost) if cost and cost > 0 else None,
    )


def _undirected(links: list[FoundLink]) -> tuple[list[FoundLink], list[str]]:
    """Links for both directions. Where each link has one back, the file says each direction by itself."""
    joined, alone = join_directed(links)
    if links and not alone:
        return joined, [f"{len(links)} directed links joined in pairs"]
    return links, []


def _weight_note(links: Sequence[FoundLink]) -> list[str]:
    without = sum(link.weight is None for link in links)
    if not 0 < without < len(links):
        return []
    return [f"{counted(without, 'link')} without a routing cost got the weight 1"]
