"""What changes in mid-trial: the entries of an experiment's `events:`, and what is wrong with them.

An entry names one time and one subject. These models say what a user may write; docs/events.md explains it.
`problems_in_events` finds what needs the experiment and its topology, `testbed.trial.changes` what needs the
compiled network (does the link exist) and makes of the entries what is asked of whom.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from testbed.errors import Problem
from testbed.spec.fields import Name
from testbed.spec.loading import Document, Location, Spec, listed, unknown
from testbed.spec.portals import FaultsSpec
from testbed.spec.topology import TopologySpec
from testbed.spec.units import Delay, Duration, EachWay, Loss, Rate, Share
from testbed.spec.wording import shown


class Timed(Spec):
    """An entry: exactly one of `at` and `when`."""

    at: Duration | None = None
    """The time since the trial's start, such as 30 s."""
    when: Share | None = None
    """As soon as this share of the leechers is done, such as 50 %."""

    @model_validator(mode="after")
    def _one_time(self) -> Timed:
        given = (self.at is not None) + (self.when is not None)
        if given != 1:
            what = "names two times" if given else "names no time"
            raise PydanticCustomError("time", what, {"allowed": "either at: 30 s or when: 50 %"})
        return self


class LinkEvent(Timed):
    """A link between PoPs changes. `rate`, `delay` and `loss` are one value for both directions or a list of
    two: from the first end that `link` names to the second, and back.
    """

    link: str
    """Its name, isp.pop--isp.pop, the ends in either order."""
    state: Literal["up", "down"] | None = None
    """`down` cuts it, `up` heals it."""
    rate: EachWay[Rate] | None = None
    """What the hosts of the trial can use, such as 2 Mbit/s."""
    delay: EachWay[Delay] | None = None
    """One way, such as 20 ms. A link that was built without a delay can't get one."""
    loss: EachWay[Loss] | None = None
    """The share of packets that is lost at random, such as 1 %."""

    @model_validator(mode="after")
    def _something(self) -> LinkEvent:
        if (self.state, self.rate, self.delay, self.loss) == (None, None, None, None):
            context = {"allowed": "at least one of state, rate, delay, loss"}
            raise PydanticCustomError("nothing", "says not what becomes of the link", context)
        return self


class PortClass(Spec):
    """Traffic by transport protocol and port, at either end."""

    protocol: Literal["tcp", "udp"]
    """The transport protocol."""
    port: int = Field(ge=1, le=65535)
    """The port that one of the two ends has."""


def _kind_of_class(value: Any) -> str:
    return "by port" if isinstance(value, dict | PortClass) else "by name"


TrafficClass = Annotated[
    Annotated[Literal["bittorrent", "all"], Tag("by name")] | Annotated[PortClass, Tag("by port")],
    Discriminator(_kind_of_class),
]


class MeterEvent(Timed):
    """A class of an ISP's traffic gets a limit at its switches; a meter that is there gets a new one."""

    meter: Name
    """Names it, to change or remove it later."""
    isp: Name
    """The ISP whose hosts are limited."""
    pop: Name | None = None
    """Only the hosts of this PoP. Default: those of all."""
    traffic: TrafficClass = Field(alias="class")
    """`bittorrent`, `all`, or {protocol: tcp, port: 6881}."""
    direction: Literal["out", "in"] = "out"
    """What its hosts send, or what they receive. Default: out."""
    rate: Rate
    """At each PoP, all its hosts together."""


class MeterRemoval(Timed):
    """A meter that an earlier entry has set goes."""

    meter: Name
    """Its name."""
    state: Literal["removed"]
    """That it goes."""


class PortalEvent(Timed):
    """The portal of an ISP stops, starts again, or has something wrong with it from now on."""

    portal: Name
    """The ISP."""
    state: Literal["down", "up"] | None = None
    """`down` stops it, `up` starts it again."""
    faults: FaultsSpec | None = None
    """What is wrong with it from now on, {} for nothing; what `portals` says counts when it starts again."""

    @model_validator(mode="after")
    def _one_thing(self) -> PortalEvent:
        if (self.state is None) == (self.faults is None):
            what = "says not what becomes of the portal" if self.state is None else "changes two things"
            raise PydanticCustomError("portal", what, {"allowed": "exactly one of state and faults"})
        return self


class TrackerEvent(Timed):
    """The tracker ends and starts again, knowing no peer until it announces."""

    tracker: Literal["restart"]
    """That it restarts."""


class ControllerEvent(Timed):
    """The controller ends and starts again; switches keep forwarding meanwhile."""

    controller: Literal["restart"]
    """That it restarts."""


class AdoptionEvent(Timed):
    """An ISP adopts P4P: its portal starts now, and not before the trial."""

    adopts: Name
    """The ISP."""


_SUBJECTS = ("link", "meter", "portal", "tracker", "controller", "adopts")


def _one_subject(item: Any) -> Any:
    if not isinstance(item, dict):
        example = "such as {at: 30 s, link: isp.pop--isp.pop, state: down}"
        raise PydanticCustomError("event", "{given} is no event", {"given": shown(item), "allowed": example})
    named = [key for key in _SUBJECTS if key in item]
    if len(named) != 1:
        context = {
            "what": " and ".join(named) or "nothing",
            "allowed": f"exactly one of {', '.join(_SUBJECTS)}",
        }
        raise PydanticCustomError("event", "changes {what}", context)
    return item


def _kind(item: Any) -> str:
    """The tag of an entry. It must be no key of one, or errors would point at that key."""
    if not isinstance(item, dict):
        return _TAGS[type(item)]
    subject = next(key for key in _SUBJECTS if key in item)
    return f"{subject} removal" if subject == "meter" and "state" in item else f"{subject} event"


_TAGS: Mapping[type, str] = {
    LinkEvent: "link event",
    MeterEvent: "meter event",
    MeterRemoval: "meter removal",
    PortalEvent: "portal event",
    TrackerEvent: "tracker event",
    ControllerEvent: "controller event",
    AdoptionEvent: "adopts event",
}

Event = Annotated[
    Annotated[LinkEvent, Tag("link event")]
    | Annotated[MeterEvent, Tag("meter event")]
    | Annotated[MeterRemoval, Tag("meter removal")]
    | Annotated[PortalEvent, Tag("portal event")]
    | Annotated[TrackerEvent, Tag("tracker event")]
    | Annotated[ControllerEvent, Tag("controller event")]
    | Annotated[AdoptionEvent, Tag("adopts event")],
    Discriminator(_kind),
    BeforeValidator(_one_subject),
]
"""One entry: what changes, and when."""


def problems_in_events(
    events: Sequence[Timed], timeout_s: float, document: Document, topology: TopologySpec
) -> Iterator[Problem]:
    """What is wrong with the entries of a file beyond each value, each problem with its line."""
    for index, event in enumerate(events):
        if event.at is not None and event.at >= timeout_s:
            yield Problem(
                f"events.{index}: {event.at:g} s is not before the trial's timeout",
                document.where(("events", index, "at")),
                allowed=f"less than {timeout_s:g} s",
            )
        yield from _unknown_names(event, ("events", index), document, topology)
    yield from _portals(events, document)
    yield from _meters(events, document)


def _unknown_names(
    event: Timed, location: Location, document: Document, topology: TopologySpec
) -> Iterator[Problem]:
    if isinstance(event, MeterEvent):
        isp = topology.isps.get(event.isp)
        if isp is None:
            yield unknown("ISP", event.isp, topology.isps, document.where((*location, "isp")))
        elif event.pop is not None and event.pop not in isp.pops:
            where = document.where((*location, "pop"))
            yield unknown("PoP", event.pop, isp.pops, where, owner=f"ISP {event.isp}")
    key, name = _portal_named(event)
    if not key:
        return
    where = document.where((*location, key))
    if name not in topology.isps:
        yield unknown("ISP", name, topology.isps, where)
    elif not topology.isps[name].portal:
        have = listed([other for other, isp in topology.isps.items() if isp.portal])
        what = f"ISP {name} has no portal: the topology says 'portal: false'"
        yield Problem(what, where, allowed=have or "an ISP with a portal")


def _portal_named(event: Timed) -> tuple[str, str]:
    """The key that names the ISP of a portal, and that ISP; empty where an entry is about no portal."""
    if isinstance(event, PortalEvent):
        return "portal", event.portal
    return ("adopts", event.adopts) if isinstance(event, AdoptionEvent) else ("", "")


def _portals(events: Sequence[Timed], document: Document) -> Iterator[Problem]:
    """Portals that stop, start or come where they can't."""
    about: dict[str, list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        key, isp = _portal_named(event)
        if key:
            about[isp].append(index)
    for isp, indices in about.items():
        adopted: int | None = None
        is_up = not any(isinstance(events[index], AdoptionEvent) for index in indices)
        will_adopt = not is_up
        for index in _in_order(events, indices):
            event, where = events[index], document.where(("events", index))
            if isinstance(event, AdoptionEvent) and adopted is not None:
                first = document.where(("events", adopted))
                yield Problem(f"ISP {isp} adopts P4P twice, first at {first}", where)
            elif isinstance(event, AdoptionEvent):
                adopted, is_up = index, True
            elif isinstance(event, PortalEvent) and will_adopt and adopted is None:
                yield Problem(f"ISP {isp} has no portal before it adopts P4P", where)
            elif isinstance(event, PortalEvent) and event.faults is not None:
                if not is_up:
                    yield Problem(f"the portal of ISP {isp} is down: its faults can't be set", where)
            elif isinstance(event, PortalEvent) and (event.state == "up") == is_up:
                what = "is not down" if is_up else "is down already"
                yield Problem(f"the portal of ISP {isp} {what}", where)
            elif isinstance(event, PortalEvent):
                is_up = event.state == "up"


def _meters(events: Sequence[Timed], document: Document) -> Iterator[Problem]:
    """Meters that are removed before they are set."""
    about: dict[str, list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        if isinstance(event, MeterEvent | MeterRemoval):
            about[event.meter].append(index)
    for indices in about.values():
        is_set = False
        for index in _in_order(events, indices):
            event = events[index]
            if isinstance(event, MeterRemoval) and not is_set:
                what = f"meter '{event.meter}' is not set when it is to be removed"
                where = document.where(("events", index, "meter"))
                yield Problem(what, where, allowed="a meter that an entry before has set")
            is_set = isinstance(event, MeterEvent)


def _in_order(events: Sequence[Timed], indices: Sequence[int]) -> list[int]:
    """Entries about one thing in the order in which they come: that of the file where a share decides."""
    at = {index: time for index in indices if (time := events[index].at) is not None}
    return sorted(indices, key=lambda index: at[index]) if len(at) == len(indices) else list(indices)
