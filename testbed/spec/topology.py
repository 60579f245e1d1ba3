"""The topology file: ISPs with their PoPs and links, the links between ISPs, and access profiles.

These models say what a user may write; docs/topologies.md explains it. What is wrong across keys is found by
`testbed.spec.topology_checks`, compiling into a network is `testbed.topology.compile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, GetJsonSchemaHandler, Tag, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from testbed.errors import Problem, UserError
from testbed.spec.access_profiles import ALLOWED, PROFILES, profile
from testbed.spec.fields import Currency, Name, Place, PopId, Prefix, Weight
from testbed.spec.includes import JOINED, with_includes
from testbed.spec.loading import Document, Spec, load_document, readable, validate
from testbed.spec.topology_checks import problems_in
from testbed.spec.units import Delay, EachWay, Load, Loss, Queue, Rate
from testbed.spec.wording import shown


class PopSpec(Spec):
    """A point of presence: one switch, with the hosts that live there."""

    at: Place | None = None
    """[latitude, longitude] in degrees; places the PoP on maps and gives links their default delay."""
    metro: Name | None = None
    """The city or region: PoPs of one metro share a PID where the ISP has `pids: metro`."""
    prefix: Prefix | None = None
    """The subnet of its hosts, inside its ISP's prefix. Default: the next free subnet."""


class InternalLinkSpec(Spec):
    """A link between two PoPs of one ISP.

    `capacity`, `delay`, `weight`, `background`, `loss` and `queue` are one value for both directions or a
    list of two: from the first PoP of `between` to the second, and back.
    """

    between: Annotated[tuple[Name, Name], Field(strict=False)]
    """The two PoPs that it joins."""
    capacity: EachWay[Rate]
    """Of each direction, such as 10 Gbit/s."""
    delay: EachWay[Delay] | None = None
    """One way, such as 5 ms. Default: the great-circle distance at two thirds of the speed of light."""
    weight: EachWay[Weight] = (1.0, 1.0)
    """The routing weight: packets take the path with the least sum."""
    background: EachWay[Load] | None = None
    """The load of others, which the hosts of a trial can't use. Default: none."""
    loss: EachWay[Loss] | None = None
    """The share of packets that is lost at random, such as 0.5 %. Default: none."""
    queue: EachWay[Queue] | None = None
    """What waits where packets come faster than they leave: 50 packets, 64 KiB, or 20 ms at the link's rate.
    Default: 100 ms, at least 10 full frames."""


def _kind_of_pids(value: Any) -> str:
    return "groups" if isinstance(value, dict) else "rule"


Pids = Annotated[
    Annotated[Literal["pop", "metro", "isp"], Tag("rule")] | Annotated[dict[Name, list[Name]], Tag("groups")],
    Discriminator(_kind_of_pids),
]


class IspSpec(Spec):
    """An autonomous system."""

    asn: int = Field(ge=1, le=4294967295)
    """The number of the autonomous system; each ISP has its own."""
    prefix: Prefix | None = None
    """The addresses of the ISP, such as 10.1.0.0/16. Default: the next free part of 10.0.0.0/8."""
    pops: dict[Name, PopSpec] = Field(min_length=1)
    """Its points of presence, by name."""
    links: list[InternalLinkSpec] = Field(default_factory=list)
    """Links between its PoPs. They must join them all."""
    pids: Pids = "pop"
    """How its portal groups PoPs into PIDs: `pop`, `metro`, `isp`, or {name: [pop, ...]}, every PoP once."""
    portal: bool = True
    """With `false` the ISP publishes no map."""


class TariffSpec(Spec):
    """What the customer pays for an interdomain link; of peer-peer, the first of `between` pays."""

    kind: Literal["percentile-95", "flat", "none"] = "percentile-95"
    """`percentile-95` of the load, `flat` a month, or `none`."""
    price: float = Field(ge=0, allow_inf_nan=False)
    """Per Mbit/s and month of the 95th percentile, or per month if flat."""
    currency: Currency = "EUR"
    """Three capital letters."""


class InterdomainLinkSpec(Spec):
    """A link between PoPs of two ISPs. Of customer-provider, the customer comes first.

    `capacity`, `delay`, `background`, `loss` and `queue` are one value for both directions or a list of two,
    as for internal links.
    """

    between: Annotated[tuple[PopId, PopId], Field(strict=False)]
    """The two PoPs that it joins, each as isp.pop; the customer first."""
    relationship: Literal["customer-provider", "peer-peer"]
    """Who carries whose traffic: a provider all of its customer's, peers that of their customers only."""
    capacity: EachWay[Rate]
    """Of each direction, such as 10 Gbit/s."""
    delay: EachWay[Delay] | None = None
    """One way, such as 5 ms. Default: the great-circle distance at two thirds of the speed of light."""
    weight: Weight = 100.0
    """What the portals of both ISPs add to a path that uses it (its p-distance). It decides no route."""
    background: EachWay[Load] | None = None
    """The load of others, which the hosts of a trial can't use. Default: none."""
    loss: EachWay[Loss] | None = None
    """The share of packets that is lost at random, such as 0.5 %. Default: none."""
    queue: EachWay[Queue] | None = None
    """What waits where packets come faster than they leave: 50 packets, 64 KiB, or 20 ms at the link's rate.
    Default: 100 ms, at least 10 full frames."""
    tariff: TariffSpec | None = None
    """What it costs. Default: nothing."""


class IxpSpec(Spec):
    """An Internet exchange point: its members peer with each other over one place.

    Every two members of different ISPs get a peer-peer link of the smaller port's capacity, unless a
    customer-provider link joins their ISPs; a port is not shared between these links. The delay of a link is
    that of the way over `at`.
    """

    at: Place | None = None
    """[latitude, longitude] in degrees."""
    members: dict[PopId, Rate] = Field(min_length=2)
    """PoPs (isp.pop), each with the capacity of its port."""
    weight: Weight = 50.0
    """What the portals of both ISPs add to a path over one of its links. It decides no route."""


class AccessSpec(Spec):
    """An access line, between a host and its PoP: these keys, or the name of a profile that ships.

    `loss` and `queue` are one value for both directions or a list of two: towards the host, and from it.
    """

    down: Rate
    """Towards the host."""
    up: Rate
    """From the host."""
    delay: Delay = 0.0
    """One way, in each direction."""
    loss: EachWay[Loss] | None = None
    """The share of packets that is lost at random, such as 0.5 %. Default: none."""
    queue: EachWay[Queue] | None = None
    """What waits where packets come faster than they leave: 50 packets, 64 KiB, or 20 ms at the link's rate.
    Default: 100 ms, at least 10 full frames."""
    source: str = ""
    """Where the figures come from."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        if isinstance(given, dict | AccessSpec):
            return given
        if isinstance(given, str):
            return profile(given)
        what = "has no value" if given is None else "{given} is no access line"
        raise PydanticCustomError("access", what, {"given": shown(given), "allowed": ALLOWED})

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": list(PROFILES)}, handler(schema)]}


class TopologySpec(Spec):
    """A topology: ISPs, the links between them, and the access lines that hosts may have."""

    name: Name
    """Names the network."""
    description: str = ""
    """What it shows, and where it comes from."""
    include: list[str] = Field(default_factory=list)
    """Other files with ISPs, links, exchange points or access profiles, relative to this one."""
    isps: dict[Name, IspSpec] = Field(min_length=1)
    """The ISPs, by name."""
    interdomain: list[InterdomainLinkSpec] = Field(default_factory=list)
    """Links between ISPs."""
    ixps: dict[Name, IxpSpec] = Field(default_factory=dict)
    """Internet exchange points, by name."""
    access: dict[Name, AccessSpec] = Field(default_factory=dict)
    """Access profiles, by name."""


def load_topology(path: Path) -> tuple[TopologySpec, Document]:
    """Read and check a topology file and what it includes. Raises UserError with every problem found.

    The specification is the same whether the parts stand in one file or several; `include` is empty in it.
    """
    return topology_of(load_document(path))


def topology_of(document: Document) -> tuple[TopologySpec, Document]:
    """As `load_topology`, of a file that was read already."""
    document, conflicts = with_includes(document)
    refuse_experiment(document, document.where(("swarm",)))
    try:
        spec = validate(document, TopologySpec)
    except UserError as error:
        raise UserError(readable([*conflicts, *_of_a_part(error.problems, document)])) from None
    problems = readable([*conflicts, *problems_in(spec, document)])
    if problems:
        raise UserError(problems)
    return spec, document


def refuse_experiment(document: Document, where: str) -> None:
    """Raise UserError, at `where`, if the document is an experiment and so can't be the topology."""
    if "swarm" not in document.data:
        return
    topology = document.data.get("topology")
    named = f", {topology}" if isinstance(topology, str) else ""
    what = f"{document.path} is an experiment file, and a topology file is needed"
    raise UserError(Problem(what, where, mend=f"give the topology that it names{named}"))


def _of_a_part(problems: Iterable[Problem], document: Document) -> Iterator[Problem]:
    """The problems; a name that is missing where there is something to include may be none."""
    may_be_part = "name" not in document.data and not document.data.keys().isdisjoint(JOINED)
    for problem in problems:
        if may_be_part and problem.what == "'name' is missing":
            mend = "give it a name; if it is a part of another file, validate the file that includes it"
            yield replace(problem, mend=mend)
        else:
            yield problem
