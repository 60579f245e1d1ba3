"""CAIDA's AS relationships in (serial-1 and serial-2, and the older tables): the ASes around one of them.

A line is `provider|customer|-1`, `peer|peer|0`, or `sibling|sibling|2` (3 in 2011); what follows a third bar
says how it was inferred. The part that is cut out is one where every AS has a valley-free route to every
other; each AS becomes an ISP of one PoP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from testbed.spec.loading import listed
from testbed.topology.importers.common import (
    DEFAULT_CAPACITY_BPS,
    DEFAULT_DELAY_S,
    MOST_LISTED,
    Choices,
    Imported,
    Source,
    rate_words,
    text_of,
    topology,
)
from testbed.topology.writing import counted, duration_text, rate_text

DEFAULT_LIMIT = 200
HIGHEST_ASN = 4294967295

_LINE = re.compile(r"([0-9]{1,10})\|([0-9]{1,10})\|(-1|0|1|2|3)(?:\|.*)?")
_OLD_LINE = re.compile(r"([0-9]{1,10})[ \t]+([0-9]{1,10})[ \t]+(-1|0|1|2)")


@dataclass
class Relations:
    """Who is whose provider, customer and peer, by ASN, and what in the file was odd."""

    providers: dict[int, set[int]] = field(default_factory=dict)
    customers: dict[int, set[int]] = field(default_factory=dict)
    peers: dict[int, set[int]] = field(default_factory=dict)
    siblings: set[frozenset[int]] = field(default_factory=set)
    disagreeing: list[str] = field(default_factory=list)
    old_table: bool = False

    def __contains__(self, asn: int) -> bool:
        return asn in self.providers

    def neighbours(self, asn: int) -> set[int]:
        return self.providers[asn] | self.customers[asn] | self.peers[asn]

    def rank(self, asn: int) -> tuple[int, int, int]:
        """Sorts ASes: most customers first, then most neighbours, then the lowest ASN."""
        return -len(self.customers[asn]), -len(self.neighbours(asn)), asn


@dataclass(frozen=True)
class Part:
    """ASes that all reach each other, in the order of their choice, and what was left out for it."""

    members: tuple[int, ...]
    customer_provider: tuple[tuple[int, int], ...]
    peer_peer: tuple[tuple[int, int], ...]
    cut_off: tuple[int, ...]
    cyclic: tuple[tuple[int, int], ...]


def is_caida(line: str) -> bool:
    """Whether a line, the first that is no comment, is one of these files."""
    return bool(_LINE.fullmatch(line.strip()) or _OLD_LINE.fullmatch(line.strip()))


def import_caida(source: Source, choices: Choices) -> Imported:
    """The ISPs around `choices.around`. Raises UserError where no AS, or none of the file, is chosen."""
    relations = read_relations(source)
    around = _centre(source, relations, choices)
    limit = choices.limit or DEFAULT_LIMIT
    radius, candidates, part = _part_around(relations, around, choices.radius, limit)
    capacity_bps = choices.capacity_bps or DEFAULT_CAPACITY_BPS
    delay_s = DEFAULT_DELAY_S if choices.delay_s is None else choices.delay_s
    data = topology(
        source,
        choices,
        f"{len(part.members)} ASes around AS {around}, imported from {source.name}",
        isps={f"as{asn}": {"asn": asn, "pops": {"pop": {}}} for asn in part.members},
        interdomain=list(_interdomain(part, rate_text(capacity_bps), duration_text(delay_s))),
    )
    if choices.name is None:
        data["name"] = f"around-as{around}"
    if not data["interdomain"]:
        del data["interdomain"]
    notes = [
        f"AS {around} and {counted(len(part.members) - 1, 'AS', 'ASes')} of {len(candidates) - 1} at most "
        f"{counted(radius, 'link')} away: the nearest, then those with the most customers (--limit {limit})",
        *_part_notes(relations, part),
        f"the file says neither places, capacities nor delays: every link has "
        f"{rate_words(capacity_bps, choices.scale)} (--capacity) and {duration_text(delay_s)} (--delay)",
    ]
    return Imported(data, tuple(notes))


def read_relations(source: Source) -> Relations:
    """The relationships of a file. Of a pair that is there twice and differently, the first line counts."""
    relations = Relations()
    kinds: dict[tuple[int, int], int] = {}
    for number, line in enumerate(text_of(source.data).splitlines(), start=1):
        if line.startswith("#") or not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        old = None if match else _OLD_LINE.fullmatch(line.strip())
        found = match or old
        if found is None:
            raise source.wrong(
                f"'{line.strip()[:60]}' is no relationship",
                line=number,
                allowed="provider|customer|-1, peer|peer|0 or sibling|sibling|2",
            )
        a, b, kind = int(found.group(1)), int(found.group(2)), min(2, int(found.group(3)))
        relations.old_table = relations.old_table or old is not None
        if not (0 < a <= HIGHEST_ASN and 0 < b <= HIGHEST_ASN):
            raise source.wrong(f"'{line.strip()[:60]}': no such ASN", line=number, allowed="1 to 4294967295")
        # The older tables say it of the first AS: -1 is a customer of the second, 1 its provider.
        if (kind == -1 and old) or (kind == 1 and not old):
            a, b, kind = b, a, -1
        elif kind == 1:
            kind = -1
        if a != b:
            _note_pair(relations, kinds, a, b, kind)
    for (a, b), kind in kinds.items():
        for asn in (a, b):
            for table in (relations.providers, relations.customers, relations.peers):
                table.setdefault(asn, set())
        if kind == -1:
            relations.customers[a].add(b)
            relations.providers[b].add(a)
        else:
            relations.peers[a].add(b)
            relations.peers[b].add(a)
            if kind == 2:
                relations.siblings.add(frozenset((a, b)))
    if not kinds:
        raise source.wrong("the file holds no relationships")
    return relations


def _note_pair(relations: Relations, kinds: dict[tuple[int, int], int], a: int, b: int, kind: int) -> None:
    """Keep the first relationship of a pair; remember that a later line disagreed."""
    pair = (b, a) if (b, a) in kinds else (a, b)
    same_way = pair == (a, b) or kind != -1
    if kinds.setdefault(pair, kind) != kind or not same_way:
        relations.disagreeing.append(f"{a}|{b}")


def _centre(source: Source, relations: Relations, choices: Choices) -> int:
    largest = sorted(relations.providers, key=relations.rank)[:10]
    example = f"testbed import {quote(source.where)} --around {largest[0]} --radius 1 --limit 200"
    most = "those with the most customers are " + ", ".join(map(str, largest))
    if choices.around is None:
        count = len(relations.providers)
        too_many = ", too many for one topology" if count > DEFAULT_LIMIT else ""
        raise source.wrong(
            f"the file holds {counted(count, 'AS', 'ASes')}{too_many}: say around which AS to cut",
            allowed=f"--around ASN; {most}",
            mend=example,
        )
    if choices.around not in relations:
        raise source.wrong(f"AS {choices.around} is not in the file", allowed=most, mend=example)
    return choices.around


def _part_around(
    relations: Relations, around: int, radius: int | None, limit: int
) -> tuple[int, list[int], Part]:
    """The radius, the ASes within it, and the part cut from these.

    Without a radius it is the least that gives `limit` ASes, or all that there are.
    """
    if radius is not None:
        candidates = within(relations, around, radius)
        return radius, candidates, cut(relations, candidates, limit)
    radius, candidates, part = 0, [around], cut(relations, [around], limit)
    while len(part.members) < limit:
        wider = within(relations, around, radius + 1)
        if len(wider) == len(candidates):
            break
        radius, candidates, part = radius + 1, wider, cut(relations, wider, limit)
    return radius, candidates, part


def within(relations: Relations, around: int, radius: int) -> list[int]:
    """The ASes at most `radius` links from `around`, nearest first, then by rank."""
    found = [around]
    seen, ring = {around}, [around]
    for _ in range(radius):
        ring = sorted({near for asn in ring for near in relations.neighbours(asn)} - seen, key=relations.rank)
        if not ring:
            break
        seen.update(ring)
        found += ring
    return found


class _Grown:
    """A part as it grows: what each member can reach upwards, as bits of integers, by order of joining.

    A valley-free route climbs to providers, crosses at most one peering, and descends (Gao and Rexford
    2001). So x reaches y if and only if what y climbs to meets what x climbs to, or the peers of that.
    """

    def __init__(self, relations: Relations) -> None:
        self.relations = relations
        self.members: list[int] = []
        self.index: dict[int, int] = {}
        self.climbs: list[int] = []
        self.meets: list[int] = []
        self.links: list[tuple[int, int]] = []
        self.cyclic: list[tuple[int, int]] = []
        self._last_miss = 0

    def add(self, asn: int) -> bool:
        """Add an AS if it then reaches all members and they it. A provider cycle is cut at the newcomer."""
        bit = 1 << len(self.members)
        providers = self.relations.providers[asn] & self.index.keys()
        customers = self.relations.customers[asn] & self.index.keys()
        climb = bit
        for provider in providers:
            climb |= self.climbs[self.index[provider]]
        cyclic = {customer for customer in customers if climb >> self.index[customer] & 1}
        below = sum(1 << self.index[customer] for customer in customers - cyclic)
        peers = sum(1 << self.index[peer] for peer in self.relations.peers[asn] & self.index.keys())
        # Who climbs to a provider also meets that provider's peers; the newcomer brings its own.
        meet = climb | peers
        for provider in providers:
            meet |= self.meets[self.index[provider]]
        if not self._reaches_all(meet, below):
            return False
        for position, old in enumerate(self.climbs):
            if old & below:
                self.climbs[position] |= climb
                self.meets[position] |= meet
            if old & peers:
                self.meets[position] |= bit
        # A newcomer's climb can hold a peer of itself, and then it meets itself; that is harmless.
        self.index[asn] = len(self.members)
        self.members.append(asn)
        self.climbs.append(climb)
        self.meets.append(meet)
        self.links += [(asn, provider) for provider in sorted(providers)]
        self.links += [(customer, asn) for customer in sorted(customers - cyclic)]
        self.cyclic += [(customer, asn) for customer in sorted(cyclic)]
        return True

    def _reaches_all(self, meet: int, below: int) -> bool:
        """Whether every member climbs to what the newcomer meets, or to a customer of the newcomer."""
        count = len(self.climbs)
        for turn in range(count):
            position = (self._last_miss + turn) % count
            if not (self.climbs[position] & meet or self.climbs[position] & below):
                self._last_miss = position
                return False
        return True


def cut(relations: Relations, candidates: Sequence[int], limit: int) -> Part:
    """Up to `limit` of the candidates, taken in order, so that each reaches each by a valley-free route.

    One that does not reach all yet is tried again after others joined, since these may be its providers.
    """
    grown = _Grown(relations)
    waiting = list(candidates)
    while waiting and len(grown.members) < limit:
        before = len(grown.members)
        passed_over = []
        for position, asn in enumerate(waiting):
            if len(grown.members) >= limit:
                passed_over += waiting[position:]
                break
            if not grown.add(asn):
                passed_over.append(asn)
        waiting = passed_over
        if len(grown.members) == before:
            break
    chosen = set(grown.members)
    full = len(chosen) >= limit
    last = max(position for position, asn in enumerate(candidates) if asn in chosen)
    peer_peer = sorted(
        (asn, peer) for asn in grown.members for peer in relations.peers[asn] & chosen if asn < peer
    )
    return Part(
        members=tuple(grown.members),
        customer_provider=tuple(grown.links),
        peer_peer=tuple(peer_peer),
        cut_off=tuple(asn for asn in candidates[: last if full else None] if asn not in chosen),
        cyclic=tuple(grown.cyclic),
    )


def _interdomain(part: Part, capacity: str, delay: str) -> Iterable[dict[str, Any]]:
    for relationship, pairs in (
        ("customer-provider", part.customer_provider),
        ("peer-peer", part.peer_peer),
    ):
        for a, b in pairs:
            yield {
                "between": [f"as{a}.pop", f"as{b}.pop"],
                "relationship": relationship,
                "capacity": capacity,
                "delay": delay,
            }


def _part_notes(relations: Relations, part: Part) -> list[str]:
    notes = []
    if relations.old_table:
        notes.append("a table of the older kind: 'a b -1' read as a pays b, 'a b 1' as b pays a")
    if part.cut_off:
        notes.append(
            f"left out {counted(len(part.cut_off), 'AS', 'ASes')} without a valley-free route to all others "
            f"of this part: {listed(list(map(str, part.cut_off)), MOST_LISTED)}"
        )
    if part.cyclic:
        pairs = [f"{provider}|{customer}" for customer, provider in part.cyclic]
        notes.append(f"left out links that make an AS its own provider: {listed(pairs, MOST_LISTED)}")
    siblings = [f"{a}|{b}" for a, b in part.peer_peer if frozenset((a, b)) in relations.siblings]
    if siblings:
        notes.append(f"siblings taken as peers: {listed(siblings, MOST_LISTED)}")
    if relations.disagreeing:
        pairs = list(dict.fromkeys(relations.disagreeing))
        notes.append(f"pairs with two different relationships, the first taken: {listed(pairs, 10)}")
    return notes
