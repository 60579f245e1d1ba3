"""What is wrong with a topology across its keys: names that no one has, links that go nowhere, overlaps.

A `TopologySpec` and the document that it was read from come in; `Problem`s with file and line go out, in the
order of the file for each kind. The cost is near linear in the size of the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from testbed.errors import Problem
from testbed.spec.fields import isp_of
from testbed.spec.loading import Document, Location, listed, unknown
from testbed.spec.units import FRAME_BYTES, LONGEST_QUEUE, QueueLength, format_rate

if TYPE_CHECKING:
    from testbed.spec.topology import (
        InterdomainLinkSpec,
        InternalLinkSpec,
        IspSpec,
        IxpSpec,
        TopologySpec,
    )

LEAST_RATE_BPS = 1000
"""What background load must leave of a link: what the slowest link has."""

_SMALLEST_OF_ISP, _SMALLEST_OF_POP = 22, 30


def problems_in(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    """Everything that is wrong across keys, each problem with its line."""
    for name, isp in spec.isps.items():
        yield from _links_of_isp(name, isp, document)
        yield from _pids_of_isp(name, isp, document)
        yield from _prefixes_of_pops(name, isp, document)
    yield from _interdomain(spec, document)
    yield from _ixps(spec, document)
    for name, line in spec.access.items():
        rates = (line.down, line.up)
        yield from _queues(f"access profile {name}", line.queue, rates, ("access", name), document)
    yield from _numbers(spec, document)


def customer_provider_pairs(spec: TopologySpec) -> set[frozenset[str]]:
    """Pairs of ISPs of which one buys transit from the other."""
    return {
        frozenset(isp_of(end) for end in link.between)
        for link in spec.interdomain
        if link.relationship == "customer-provider"
    }


def _links_of_isp(name: str, isp: IspSpec, document: Document) -> Iterator[Problem]:
    for index, link in enumerate(isp.links):
        location = ("isps", name, "links", index)
        for end, pop in enumerate(link.between):
            if pop not in isp.pops:
                where = document.where((*location, "between", end))
                yield unknown("PoP", pop, isp.pops, where, owner=f"ISP {name}")
        if link.between[0] == link.between[1]:
            where = document.where((*location, "between"))
            yield Problem(f"a link from {link.between[0]} to itself", where, allowed="two different PoPs")
        yield from _rates(link, location, document)
    parts = _parts(isp)
    if len(parts) > 1 and all(pop in isp.pops for link in isp.links for pop in link.between):
        shown = " and ".join(listed(part, 4) for part in parts[:3])
        more = f" and {len(parts) - 3} more parts" if len(parts) > 3 else ""
        yield Problem(
            f"ISP {name} falls apart: no internal links between {shown}{more}",
            document.where(("isps", name)),
            mend="add links between these PoPs under 'links', or make ISPs of the parts",
        )


def _rates(
    link: InternalLinkSpec | InterdomainLinkSpec, location: Location, document: Document
) -> Iterator[Problem]:
    """What the background load leaves of a link, and what its queues are at that rate."""
    name = f"the link between {' and '.join(link.between)}"
    background = link.background or (0, 0)
    rates = (link.capacity[0] - background[0], link.capacity[1] - background[1])
    if min(rates) < LEAST_RATE_BPS:
        yield Problem(
            f"the background load leaves nothing of {name}",
            document.where((*location, "background")),
            allowed="at least 1 kbit/s less than 'capacity', in each direction",
        )
        return
    yield from _queues(name, link.queue, rates, location, document)


def _queues(
    name: str,
    queues: tuple[QueueLength, QueueLength] | None,
    rates_bps: tuple[int, int],
    location: Location,
    document: Document,
) -> Iterator[Problem]:
    """A queue that holds no full frame lets none through. One value for both directions is said once."""
    problems: dict[str, Problem] = {}
    for way, (queue, rate_bps) in enumerate(zip(queues or (), rates_bps, strict=False)):
        size_bytes = queue.bytes_at(rate_bps)
        if size_bytes is None or FRAME_BYTES <= size_bytes <= LONGEST_QUEUE:
            continue
        at_rate = "" if queue.drain_s is None else f" at {format_rate(rate_bps)}"
        where = document.where((*location, "queue", way))
        problems.setdefault(
            where,
            Problem(
                f"the queue of {name} is {size_bytes} bytes{at_rate}",
                where,
                allowed=f"from {FRAME_BYTES}, a full frame, to {LONGEST_QUEUE} bytes, in each direction",
            ),
        )
    yield from problems.values()


def _parts(isp: IspSpec) -> list[list[str]]:
    """The connected components of an ISP's PoPs, in the order of the file."""
    part = {pop: [pop] for pop in isp.pops}
    for link in isp.links:
        a, b = (part.get(pop) for pop in link.between)
        if a is None or b is None or a is b:
            continue
        small, large = sorted((a, b), key=len)
        large += small
        for pop in small:
            part[pop] = large
    return [sorted(group) for group in {id(group): group for group in part.values()}.values()]


def _pids_of_isp(name: str, isp: IspSpec, document: Document) -> Iterator[Problem]:
    if isinstance(isp.pids, str):
        return
    location = ("isps", name, "pids")
    group_of: dict[str, str] = {}
    for group, pops in isp.pids.items():
        if not pops:
            where = document.where((*location, group))
            yield Problem(f"PID {group} of ISP {name} has no PoPs", where, mend="name some, or leave it out")
        for index, pop in enumerate(pops):
            where_pop = (*location, group, index)
            if pop not in isp.pops:
                yield unknown("PoP", pop, isp.pops, document.where(where_pop), owner=f"ISP {name}")
            elif pop in group_of:
                yield Problem(
                    f"PoP {pop} is in PID {group_of[pop]} already",
                    document.where(where_pop),
                    allowed="every PoP in one PID",
                )
            group_of.setdefault(pop, group)
    missing = [pop for pop in isp.pops if pop not in group_of]
    if missing and isp.pops.keys() >= group_of.keys():
        yield Problem(
            f"no PID of ISP {name} has {listed(missing)}",
            document.where(location),
            allowed="every PoP in one PID",
        )


def _prefixes_of_pops(name: str, isp: IspSpec, document: Document) -> Iterator[Problem]:
    given = {pop: of_pop.prefix for pop, of_pop in isp.pops.items() if of_pop.prefix is not None}

    def where(pop: str) -> str:
        return document.where(("isps", name, "pops", pop, "prefix"))

    for pop, prefix in given.items():
        if isp.prefix is None:
            yield Problem(
                f"PoP {pop} has a prefix and its ISP {name} has none",
                where(pop),
                mend=f"give ISP {name} a 'prefix' that holds {prefix}",
            )
        elif not prefix.subnet_of(isp.prefix):
            what = f"prefix {prefix} of PoP {pop} is not inside that of ISP {name}"
            yield Problem(what, where(pop), allowed=f"a part of {isp.prefix}")
        if prefix.prefixlen > _SMALLEST_OF_POP:
            what = f"prefix {prefix} has no room for a gateway and a host"
            yield Problem(what, where(pop), allowed=f"/{_SMALLEST_OF_POP} or larger")
    if isp.prefix is not None and len(isp.pops) - len(given) > _room(isp.prefix, list(given.values())):
        yield Problem(
            f"{len(isp.pops)} PoPs do not fit into prefix {isp.prefix} of ISP {name}",
            document.where(("isps", name, "prefix")),
            mend="give a larger prefix, or none",
        )
    for pop, other in overlapping(given):
        yield Problem(f"prefix {given[pop]} overlaps {given[other]} of PoP {other}", where(pop))


def _room(pool: IPv4Network, taken: Sequence[IPv4Network]) -> int:
    """The smallest subnets of a PoP that are left in a pool: without the first, as the pool's own address."""
    size = 1 << (32 - _SMALLEST_OF_POP)
    first_is_taken = any(pool.network_address in prefix for prefix in taken)
    free = pool.num_addresses - sum(prefix.num_addresses for prefix in taken)
    return free // size - (0 if first_is_taken else 1)


def _interdomain(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    agreed: dict[frozenset[str], tuple[tuple[str, str], int]] = {}
    for index, link in enumerate(spec.interdomain):
        location = ("interdomain", index)
        for end, pop_id in enumerate(link.between):
            yield from _unknown_pop(spec, pop_id, (*location, "between", end), document)
        a, b = (isp_of(end) for end in link.between)
        if a == b:
            yield _inside_one_isp(link.between, a, document.where((*location, "between")))
            continue
        yield from _rates(link, location, document)
        kind = (link.relationship, a if link.relationship == "customer-provider" else "")
        first, first_index = agreed.setdefault(frozenset((a, b)), (kind, index))
        if first != kind:
            first_place = document.where(("interdomain", first_index, "relationship"))
            yield Problem(
                f"links between {a} and {b} disagree on who pays: {first_place} says "
                + (f"that {first[1]} pays" if first[1] else "that they are peers"),
                document.where((*location, "relationship")),
                allowed="one relationship for each pair of ISPs, the customer first in 'between'",
            )
    yield from _payment_circle(spec, document)


def _inside_one_isp(between: tuple[str, str], isp: str, where: str) -> Problem:
    same = between[0] == between[1]
    return Problem(
        f"a link from {between[0]} to itself" if same else f"a link inside ISP {isp}",
        where,
        allowed="PoPs of two different ISPs, as in [isp.pop, other-isp.pop]",
    )


def _unknown_pop(
    spec: TopologySpec, pop_id: str, location: Location, document: Document
) -> Iterator[Problem]:
    isp, _, pop = pop_id.partition(".")
    if isp not in spec.isps:
        yield unknown("ISP", isp, spec.isps, document.where(location))
    elif pop not in spec.isps[isp].pops:
        yield unknown("PoP", pop, spec.isps[isp].pops, document.where(location), owner=f"ISP {isp}")


def _payment_circle(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    """An ISP that is its own provider, through others, has no stable routes (Gao and Rexford 2001)."""
    link_to: dict[str, dict[str, int]] = defaultdict(dict)  # customer -> provider -> its first link
    for index, link in enumerate(spec.interdomain):
        customer, provider = (isp_of(end) for end in link.between)
        if link.relationship != "customer-provider" or customer == provider:
            continue
        # Two that pay each other disagree on their relationship, which is said elsewhere.
        if customer not in link_to.get(provider, ()):
            link_to[customer].setdefault(provider, index)
    circle = _circle(link_to)
    if circle:
        steps = [f"{a} pays {b}" for a, b in zip(circle, [*circle[1:], circle[0]], strict=True)]
        first_link = link_to[circle[0]][circle[1]]
        yield Problem(
            f"ISPs pay each other in a circle: {listed(steps)}",
            document.where(("interdomain", first_link)),
            allowed="customer-provider links that lead upwards, without a circle",
        )


def _circle(edges: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The nodes of one directed cycle in order; empty where there is none."""
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        path, on_path = [start], {start}
        branches = [iter(edges[start])]
        while branches:
            following = next(branches[-1], None)
            if following is None:
                branches.pop()
                finished = path.pop()
                on_path.discard(finished)
                done.add(finished)
            elif following in on_path:
                return path[path.index(following) :]
            elif following not in done:
                path.append(following)
                on_path.add(following)
                branches.append(iter(edges.get(following, ())))
    return []


def _ixps(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    paid = customer_provider_pairs(spec)
    for name, ixp in spec.ixps.items():
        for member in ixp.members:
            yield from _unknown_pop(spec, member, ("ixps", name, "members", member), document)
        if not _peers_somewhere(ixp, paid):
            yield Problem(
                f"no two members of exchange point {name} peer there",
                document.where(("ixps", name, "members")),
                allowed="PoPs of two ISPs or more of which none is the customer of another",
            )


def _peers_somewhere(ixp: IxpSpec, paid: set[frozenset[str]]) -> bool:
    isps = list(dict.fromkeys(isp_of(member) for member in ixp.members))
    return any(frozenset((a, b)) not in paid for index, a in enumerate(isps) for b in isps[:index])


def _numbers(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    owners: dict[int, str] = {}
    for name, isp in spec.isps.items():
        owner = owners.setdefault(isp.asn, name)
        if owner != name:
            where = document.where(("isps", name, "asn"))
            mend = "give one of them another asn (`testbed import --asn`)"
            yield Problem(f"asn {isp.asn} is that of {owner} too", where, "a number for each ISP", mend)
    given = {name: isp.prefix for name, isp in spec.isps.items() if isp.prefix is not None}
    for name, other in overlapping(given):
        where = document.where(("isps", name, "prefix"))
        yield Problem(f"prefix {given[name]} overlaps {given[other]} of {other}", where)
    for name, prefix in given.items():
        if prefix.prefixlen > _SMALLEST_OF_ISP:
            where = document.where(("isps", name, "prefix"))
            what = f"prefix {prefix} is too small for an ISP"
            yield Problem(what, where, allowed=f"/{_SMALLEST_OF_ISP} or larger")


def overlapping(prefixes: Mapping[str, IPv4Network]) -> Sequence[tuple[str, str]]:
    """Pairs (later of the two in the mapping, earlier one) that overlap, in the mapping's order.

    Two prefixes are apart or one holds the other, so in the order of addresses each need be compared with
    the last that is not inside another.
    """
    order = {name: index for index, name in enumerate(prefixes)}
    pairs: list[tuple[str, str]] = []
    outer: str | None = None
    for name in sorted(prefixes, key=lambda name: (prefixes[name], order[name])):
        if outer is not None and prefixes[name].subnet_of(prefixes[outer]):
            earlier, later = sorted((outer, name), key=order.__getitem__)
            pairs.append((later, earlier))
        else:
            outer = name
    return sorted(pairs, key=lambda pair: order[pair[0]])
