"""What an experiment's `events:` ask of whom: requests to the controller, programs that stop and start. Pure.

The checked entries and the compiled network come in; a tuple of `Change`s goes out, in the order of the file.
`due` says which of them it is time for, `testbed.trial.timeline` performs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from testbed.errors import Problem, UserError
from testbed.spec.events import (
    AdoptionEvent,
    ControllerEvent,
    Event,
    LinkEvent,
    MeterEvent,
    MeterRemoval,
    PortalEvent,
    PortClass,
    TrackerEvent,
)
from testbed.spec.loading import Document
from testbed.spec.units import format_rate
from testbed.topology.link_names import find_link
from testbed.topology.model import Network
from testbed.topology.scaling import SLOWEST_BPS

CONTROLLER = "controller"
"""The name of the controller's process; a portal's and the tracker's are those of their hosts."""


@dataclass(frozen=True)
class Request:
    """To be asked of the controller's northbound API."""

    method: Literal["patch", "put", "delete"]
    resource: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Program:
    """What is to become of a program of the trial, by the name of its process."""

    verb: Literal["start", "stop", "restart"]
    name: str


@dataclass(frozen=True)
class PortalFaults:
    """What is to be wrong with a portal from now on, by the name of its process."""

    name: str
    faults: Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One entry: `number` counts from 0, `spec` is the entry as it was written, `text` says it to people.

    Exactly one of `at_s` (since the trial's start) and `when` (the share of leechers that are done) is given.
    """

    number: int
    text: str
    spec: Mapping[str, Any]
    at_s: float | None
    when: float | None
    action: Request | Program | PortalFaults

    @property
    def lane(self) -> str:
        """Changes of one lane follow each other: what the controller is asked, what becomes of a program."""
        return CONTROLLER if isinstance(self.action, Request) else self.action.name


def due(waiting: Sequence[Change], elapsed_s: float, share_done: float) -> list[Change]:
    """Those of the waiting changes whose time has come, by time, those of equal times in the file's order."""
    reached = [
        (elapsed_s if change.at_s is None else change.at_s, change.number, change)
        for change in waiting
        if (change.at_s is not None and change.at_s <= elapsed_s)
        or (change.when is not None and change.when <= share_done)
    ]
    return [change for _, _, change in sorted(reached, key=lambda item: item[:2])]


def adopters(events: Sequence[Event]) -> frozenset[str]:
    """The ISPs that adopt P4P in mid-trial, whose portals are not there before."""
    return frozenset(event.adopts for event in events if isinstance(event, AdoptionEvent))


def changes_of(
    events: Sequence[Event], document: Document, network: Network, scale: float = 1.0
) -> tuple[Change, ...]:
    """The entries as changes of the network; rates are multiplied by `scale`.

    Raises UserError for links that are not there, and for delays that a link can't get.
    """
    written = document.data.get("events") or []
    host: dict[tuple[str, str], str] = {(item.role, item.isp): item.id for item in network.hosts}
    changes: list[Change] = []
    problems: list[Problem] = []
    for number, event in enumerate(events):
        found: tuple[str, Request | Program | PortalFaults] | Problem = (
            _link_change(event, ("events", number), document, network, scale)
            if isinstance(event, LinkEvent)
            else _other_change(event, host, scale)
        )
        if isinstance(found, Problem):
            problems.append(found)
        else:
            changes.append(Change(number, found[0], written[number], event.at, event.when, found[1]))
    if problems:
        raise UserError(problems)
    return tuple(changes)


def _link_change(
    event: LinkEvent, location: tuple[str, int], document: Document, network: Network, scale: float
) -> tuple[str, Request] | Problem:
    found = find_link(network, event.link, document.where((*location, "link")))
    if isinstance(found, Problem):
        return found
    link = network.link_by_id[found]
    # A pair is written in the order of the ends that the entry names.
    ends = (link.a, link.b) if found == event.link else (link.b, link.a)
    if event.delay is not None and any(event.delay) and not (link.forward.delay_s or link.backward.delay_s):
        return Problem(
            f"link {found} has no delay, and can't get one while it runs",
            document.where((*location, "delay")),
            mend="give it a delay in the topology's file, be it 0.1 ms",
        )
    pairs: dict[str, tuple[float, float]] = {}
    if event.rate is not None:
        pairs["rate_bps"] = (_scaled(event.rate[0], scale), _scaled(event.rate[1], scale))
    if event.delay is not None:
        pairs["delay_s"] = event.delay
    if event.loss is not None:
        pairs["loss"] = event.loss
    body: dict[str, Any] = {} if event.state is None else {"state": event.state}
    for side, end in enumerate(ends):
        values = {key: pair[side] for key, pair in pairs.items()}
        if values:
            body["forward" if end == link.a else "backward"] = values
    text = ", ".join(_of_link(event.state, pairs, ends))
    return f"link {found}: {text}", Request("patch", f"/links/{found}", body)


def _of_link(
    state: str | None, pairs: Mapping[str, tuple[float, float]], ends: tuple[str, str]
) -> Iterator[str]:
    if state is not None:
        yield {"down": "cut", "up": "healed"}[state]
    for key, (one, other) in pairs.items():
        name = key.partition("_")[0]
        if one == other:
            yield f"{name} {_quantity(key, one)}"
        else:
            yield f"{name} {_quantity(key, one)} from {ends[0]} and {_quantity(key, other)} from {ends[1]}"


def _quantity(key: str, value: float) -> str:
    if key == "rate_bps":
        return format_rate(value)
    return f"{value * 1000:.6g} ms" if key == "delay_s" else f"{value * 100:.6g} %"


def _other_change(
    event: Event, host: Mapping[tuple[str, str], str], scale: float
) -> tuple[str, Request | Program | PortalFaults]:
    if isinstance(event, MeterEvent):
        return _meter_text(event, scale), Request("put", f"/meters/{event.meter}", _meter(event, scale))
    if isinstance(event, MeterRemoval):
        return f"meter {event.meter} removed", Request("delete", f"/meters/{event.meter}")
    if isinstance(event, PortalEvent) and event.faults is not None:
        named = ", ".join(sorted(event.faults.model_fields_set)) or "none"
        action = PortalFaults(host["portal", event.portal], event.faults.to_portal())
        return f"portal of {event.portal} has faults: {named}", action
    if isinstance(event, PortalEvent):
        stops = event.state == "down"
        text = f"portal of {event.portal} {'stopped' if stops else 'started again'}"
        return text, Program("stop" if stops else "start", host["portal", event.portal])
    if isinstance(event, AdoptionEvent):
        return f"{event.adopts} adopts P4P", Program("start", host["portal", event.adopts])
    if isinstance(event, TrackerEvent):
        tracker = next(name for (role, _), name in host.items() if role == "tracker")
        return "tracker restarted", Program("restart", tracker)
    assert isinstance(event, ControllerEvent)
    return "controller restarted", Program("restart", CONTROLLER)


def _meter(event: MeterEvent, scale: float) -> dict[str, Any]:
    traffic = event.traffic.model_dump() if isinstance(event.traffic, PortClass) else event.traffic
    at = {} if event.pop is None else {"pop": f"{event.isp}.{event.pop}"}
    rate_bps = _scaled(event.rate, scale)
    return {"isp": event.isp, **at, "class": traffic, "direction": event.direction, "rate_bps": rate_bps}


def _meter_text(event: MeterEvent, scale: float) -> str:
    if isinstance(event.traffic, PortClass):
        what = f"{event.traffic.protocol.upper()} port {event.traffic.port}"
    else:
        what = {"bittorrent": "BitTorrent", "all": "all traffic"}[event.traffic]
    whose = event.isp if event.pop is None else f"{event.isp}.{event.pop}"
    way = "out of" if event.direction == "out" else "into"
    return f"meter {event.meter}: {what} {way} {whose} at {format_rate(_scaled(event.rate, scale))} a PoP"


def _scaled(rate_bps: int, scale: float) -> int:
    return rate_bps if scale == 1 else max(SLOWEST_BPS, round(rate_bps * scale))
