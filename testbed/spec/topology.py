"""The topology file: ISPs with their PoPs and links, the links between ISPs, and access profiles.

These models say what a user may write, and `check` finds what is wrong across keys: an ISP that does not
exist, a link to itself, addresses that overlap. Compiling into a network is `testbed.topology.compile`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from testbed.errors import Problem, UserError
from testbed.spec.loading import Document, Spec, load
from testbed.spec.units import Duration, Rate

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,23}$")]
"""Lower case letters, digits and dashes: it becomes part of addresses, file names and PIDs."""

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Weight = Annotated[float, Field(gt=0, le=1e6)]


class PopSpec(Spec):
    """A point of presence. `at` is latitude and longitude in degrees; it places the PoP on maps."""

    at: tuple[Latitude, Longitude] | None = None


class InternalLinkSpec(Spec):
    """A link between two PoPs of one ISP, alike in both directions.

    Without `delay` it is the great-circle distance at two thirds of the speed of light.
    """

    between: tuple[Name, Name]
    capacity: Rate
    delay: Duration | None = None
    weight: Weight = 1.0


class IspSpec(Spec):
    """An autonomous system. With `portal: false` it publishes no map."""

    asn: int = Field(ge=1, le=4294967295)
    prefix: IPv4Network | None = None
    pops: dict[Name, PopSpec] = Field(min_length=1)
    links: list[InternalLinkSpec] = Field(default_factory=list)
    portal: bool = True


class TariffSpec(Spec):
    """What the customer pays: `price` per Mbit/s and month of the 95th percentile, or per month if flat."""

    kind: Literal["percentile-95", "flat", "none"] = "percentile-95"
    price: float = Field(ge=0, allow_inf_nan=False)
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")


class InterdomainLinkSpec(Spec):
    """A link between PoPs (`isp.pop`) of two ISPs. Of customer-provider, the customer comes first.

    `weight` is what the portals of both ISPs add to a path that uses it (their p-distance of the link).
    """

    between: tuple[str, str]
    relationship: Literal["customer-provider", "peer-peer"]
    capacity: Rate
    delay: Duration | None = None
    weight: Weight = 100.0
    tariff: TariffSpec | None = None


class AccessSpec(Spec):
    """An access line: rates seen from the host, delay each way."""

    down: Rate
    up: Rate
    delay: Duration = 0.0


class TopologySpec(Spec):
    """A whole topology file."""

    name: Name
    isps: dict[Name, IspSpec] = Field(min_length=1)
    interdomain: list[InterdomainLinkSpec] = Field(default_factory=list)
    access: dict[Name, AccessSpec] = Field(min_length=1)


def load_topology(path: Path) -> tuple[TopologySpec, Document]:
    """Read and check a topology file. Raises UserError with every problem found."""
    spec, document = load(path, TopologySpec)
    problems = list(check(spec, document))
    if problems:
        raise UserError(problems)
    return spec, document


def check(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    """What is wrong across keys, each problem with its line."""
    for name, isp in spec.isps.items():
        yield from _check_internal_links(name, isp, document)
    yield from _check_interdomain(spec, document)
    yield from _check_numbers(spec, document)


def unknown(kind: str, name: str, known: Iterable[str], where: str) -> Problem:
    """The problem of a name that does not exist, with the nearest one that does."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    mend = f"did you mean '{close[0]}'?" if close else ""
    return Problem(f"there is no {kind} '{name}'", where, allowed=", ".join(names), mend=mend)


def _check_internal_links(name: str, isp: IspSpec, document: Document) -> Iterator[Problem]:
    for index, link in enumerate(isp.links):
        where = document.where(("isps", name, "links", index, "between"))
        for pop in link.between:
            if pop not in isp.pops:
                yield unknown(f"PoP of ISP {name}", pop, isp.pops, where)
        if link.between[0] == link.between[1]:
            yield Problem(f"a link from {link.between[0]} to itself", where, allowed="two different PoPs")
    parts = _parts(isp)
    if len(parts) > 1:
        yield Problem(
            f"ISP {name} falls apart: no internal links between {' and '.join(', '.join(p) for p in parts)}",
            document.where(("isps", name)),
            mend="add links between these PoPs under 'links'",
        )


def _parts(isp: IspSpec) -> list[list[str]]:
    """The connected components of an ISP's PoPs."""
    part = {pop: {pop} for pop in isp.pops}
    for link in isp.links:
        a, b = link.between
        if a in part and b in part and part[a] is not part[b]:
            part[a] |= part[b]
            for pop in part[b]:
                part[pop] = part[a]
    return [sorted(group) for group in {id(group): group for group in part.values()}.values()]


def _check_interdomain(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    relationships: dict[frozenset[str], tuple[str, str]] = {}
    for index, link in enumerate(spec.interdomain):
        where = document.where(("interdomain", index, "between"))
        isps = []
        for end in link.between:
            isp, _, pop = end.partition(".")
            if isp not in spec.isps:
                yield unknown("ISP", isp, spec.isps, where)
            elif pop not in spec.isps[isp].pops:
                yield unknown(f"PoP of ISP {isp}", pop, [f"{isp}.{p}" for p in spec.isps[isp].pops], where)
            isps.append(isp)
        if isps[0] == isps[1]:
            what = (
                f"a link from {link.between[0]} to itself"
                if link.between[0] == link.between[1]
                else (f"a link inside ISP {isps[0]}")
            )
            yield Problem(what, where, allowed="PoPs of two different ISPs, as in [isp.pop, other-isp.pop]")
            continue
        kind = (link.relationship, isps[0] if link.relationship == "customer-provider" else "")
        if relationships.setdefault(frozenset(isps), kind) != kind:
            yield Problem(
                f"links between {isps[0]} and {isps[1]} disagree on their relationship",
                where,
                allowed="one relationship for each pair of ISPs",
            )
    yield from _check_provider_cycles(spec, document)


def _check_provider_cycles(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    """An ISP that is its own provider, through others, has no stable routes (Gao and Rexford 2001)."""
    providers: dict[str, set[str]] = {}
    for link in spec.interdomain:
        if link.relationship == "customer-provider":
            customer, provider = (end.partition(".")[0] for end in link.between)
            if customer != provider:
                providers.setdefault(customer, set()).add(provider)
    for index, link in enumerate(spec.interdomain):
        customer, provider = (end.partition(".")[0] for end in link.between)
        if link.relationship != "customer-provider" or customer == provider:
            continue
        seen, todo = {provider}, [provider]
        while todo:
            for above in providers.get(todo.pop(), set()) - seen:
                seen.add(above)
                todo.append(above)
        if customer in seen:
            yield Problem(
                f"ISP {customer} pays {provider}, which directly or through others pays {customer}",
                document.where(("interdomain", index)),
                allowed="customer-provider links without a cycle",
            )
            return


def _check_numbers(spec: TopologySpec, document: Document) -> Iterator[Problem]:
    owners: dict[int, str] = {}
    taken: list[tuple[IPv4Network, str]] = []
    for name, isp in spec.isps.items():
        if owners.setdefault(isp.asn, name) != name:
            where = document.where(("isps", name, "asn"))
            yield Problem(f"asn {isp.asn} is that of {owners[isp.asn]} too", where)
        if isp.prefix is None:
            continue
        where = document.where(("isps", name, "prefix"))
        for prefix, other in taken:
            if prefix.overlaps(isp.prefix):
                yield Problem(f"prefix {isp.prefix} overlaps {prefix} of {other}", where)
        taken.append((isp.prefix, name))
        if isp.prefix.prefixlen > 22:
            yield Problem(f"prefix {isp.prefix} is too small for an ISP", where, allowed="/22 or larger")
