"""The controller's northbound API: JSON over HTTP. A request comes in, a status and a body go out.

docs/controller.md describes the resources. What is asked for is checked here, completely, before `Control`
does it; reading needs nothing but the fabric.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qs

from testbed.controller import counters
from testbed.controller.fabric import Fabric
from testbed.controller.feed import Feed, encoded
from testbed.controller.openflow import Rule
from testbed.controller.requests import (
    MOST_BYTES,
    BadRequest,
    LinkPatch,
    MeterSpec,
    changed,
    parse,
)
from testbed.errors import Problem
from testbed.topology.link_names import find_link
from testbed.topology.model import Direction
from testbed.topology.routes import crossed_between

LOG = logging.getLogger("testbed.controller")
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
_METER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEEP_ALIVE_S = 15.0
_LOOK_S = 0.05

RESOURCES: Mapping[str, tuple[str, ...]] = {
    "/": ("GET",),
    "/status": ("GET",),
    "/topology": ("GET",),
    "/routes": ("GET",),
    "/rules": ("GET",),
    "/links": ("GET",),
    "/links/ID": ("GET", "PATCH"),
    "/meters": ("GET",),
    "/meters/NAME": ("GET", "PUT", "DELETE"),
    "/counters": ("GET",),
    "/loads": ("GET",),
    "/events": ("GET",),
}


_PARAMETERS = {"/routes": ("from", "to"), "/rules": ("pop",), "/loads": ("isp",)}


class Refusal(Exception):
    """A request is not carried out: the status that says so, and the reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Control(Protocol):
    """What changes the network.

    Methods are called with `one_at_a_time` held. They return when the change is in force, or raise Refusal,
    with everything as it was.
    """

    @property
    def one_at_a_time(self) -> AbstractContextManager[Any]:
        """Held from when a change looks at what is now until it is in force."""
        ...

    def change_link(self, link: str, state: str | None, directions: tuple[Direction, Direction]) -> int:
        """Set a link's state and directions. Returns when it was in force, in ns of the monotonic clock."""
        ...

    def set_meter(self, name: str, spec: MeterSpec) -> int: ...

    def rule_counts(self, pop: str) -> Mapping[int, tuple[int, int]]:
        """What the switch has counted, (packets, bytes) by cookie; empty where it is not there."""
        ...

    def remove_meter(self, name: str) -> int: ...


@dataclass(frozen=True)
class Request:
    """An HTTP request, decoded."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    body: bytes = b""
    authorization: str = ""


@dataclass(frozen=True)
class Api:
    """The API of one controller. Without a token nothing can be changed."""

    fabric: Fabric
    control: Control
    feed: Feed
    framework: Mapping[str, str]
    token: str = ""

    def respond(self, request: Request) -> tuple[HTTPStatus, Any]:
        """The status and the body, still unencoded: if refused 4xx or 503 and `{"error": reason}`."""
        try:
            return HTTPStatus.OK, self._respond(request)
        except BadRequest as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except Refusal as error:
            return error.status, {"error": str(error)}

    def _respond(self, request: Request) -> Any:
        collection, _, name = request.path[1:].partition("/")
        pattern = _pattern(request.path, collection, name)
        if request.method not in RESOURCES[pattern]:
            allowed = ", ".join(RESOURCES[pattern])
            reason = f"{request.method} {request.path}: only {allowed} is allowed"
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, reason)
        if request.method != "GET":
            self._authorise(request)
        values = _parameters(request, *_PARAMETERS.get(pattern, ()))
        match request.method, pattern:
            case "GET", "/":
                return {"resources": {path: list(methods) for path, methods in RESOURCES.items()}}
            case "GET", "/status":
                return self._status()
            case "GET", "/topology":
                return {"network": self.fabric.network.to_json()}
            case "GET", "/routes":
                return self._routes(*values)
            case "GET", "/rules":
                return self._rules(*values)
            case "GET", "/links":
                return {"links": [self.fabric.link_json(link) for link in self.fabric.links]}
            case "GET", "/links/ID":
                return self.fabric.link_json(self._link(name))
            case "PATCH", "/links/ID":
                return self._patch_link(self._link(name), request.body)
            case "GET", "/meters":
                return {"meters": {n: meter.spec.to_json() for n, meter in self.fabric.meters.items()}}
            case "GET", "/meters/NAME":
                return self.fabric.meters[self._meter(name)].spec.to_json()
            case "PUT", "/meters/NAME":
                return self._put_meter(name, request.body)
            case "DELETE", "/meters/NAME":
                return self._delete_meter(name)
            case "GET", "/counters":
                return self._counters()
            case _:
                return self._loads(*values)

    def _authorise(self, request: Request) -> None:
        if not self.token:
            reason = "this controller was started without a token, and changes nothing"
            raise Refusal(HTTPStatus.UNAUTHORIZED, reason)
        scheme, _, word = request.authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(word.strip().encode(), self.token.encode()):
            reason = "a change needs the header 'Authorization: Bearer TOKEN' with the run's token"
            raise Refusal(HTTPStatus.UNAUTHORIZED, reason)

    def _status(self) -> Any:
        return {
            "ready": self.fabric.ready,
            "controller": dict(self.framework),
            "failed_links": sorted(self.fabric.failed),
            "switches": {pop: switch.to_json() for pop, switch in self.fabric.by_pop.items()},
        }

    def _routes(self, source: str, target: str) -> Any:
        fabric = self.fabric
        ends = []
        for name in (source, target):
            if name not in fabric.pop_of_name:
                reason = f"no PoP, host or address {name!r}"
                raise Refusal(HTTPStatus.NOT_FOUND, reason)
            ends.append(fabric.pop_of_name[name])
        access = [fabric.access_link(name) for name in (source, target)]
        cut_off = any(link is not None and fabric.is_down(link) for link in access)
        reachable = fabric.routes.reaches(*ends) and not cut_off
        found = {"from": source, "to": target, "reachable": reachable}
        if not found["reachable"]:
            return {**found, "pops": [], "links": [], "delay_s": None}
        ways = list(crossed_between(fabric.network, fabric.routes, *ends))
        return {
            **found,
            "pops": list(fabric.routes.pops_on_path(*ends)),
            "links": [link for link, _ in ways],
            "delay_s": sum(way.delay_s for _, way in ways),
        }

    def _rules(self, pop: str) -> Any:
        if pop not in self.fabric.programs:
            raise Refusal(HTTPStatus.NOT_FOUND, f"no PoP {pop!r}")
        program = self.fabric.programs[pop]
        counts = self.control.rule_counts(pop)
        return {
            "rules": [_counted(rule, counts) for rule in program.rules],
            "groups": [group.to_json() for group in program.groups],
            "meters": [meter.to_json() for meter in program.meters],
            "ports": dict(self.fabric.ports[pop]),
        }

    def _link(self, name: str) -> str:
        if name in self.fabric.links:
            return name
        found = find_link(self.fabric.network, name, "the path")
        if isinstance(found, Problem):
            raise Refusal(HTTPStatus.NOT_FOUND, str(found))
        return found

    def _meter(self, name: str) -> str:
        if name not in self.fabric.meters:
            there = ", ".join(self.fabric.meters) or "none"
            raise Refusal(HTTPStatus.NOT_FOUND, f"no meter {name!r}; there are: {there}")
        return name

    def _patch_link(self, name: str, body: bytes) -> Any:
        patch = parse(body, LinkPatch)
        asked_ns = time.monotonic_ns()
        with self.control.one_at_a_time:
            directions = changed(self.fabric.links[name], patch)
            effective_ns = self.control.change_link(name, patch.state, directions)
            return {**self.fabric.link_json(name), "asked_ns": asked_ns, "effective_ns": effective_ns}

    def _put_meter(self, name: str, body: bytes) -> Any:
        if not _METER_NAME.fullmatch(name):
            raise BadRequest("a meter's name has 1 to 64 letters, digits, dots, dashes and underscores")
        spec = parse(body, MeterSpec)
        network = self.fabric.network
        if spec.isp not in network.isp_by_name:
            raise BadRequest(f"no ISP {spec.isp!r}; there are {', '.join(network.isp_by_name)}")
        pops = [pop.id for pop in network.pops if pop.isp == spec.isp]
        if spec.pop is not None and spec.pop not in pops:
            raise BadRequest(f"ISP {spec.isp} has no PoP {spec.pop!r}; it has {', '.join(pops)}")
        asked_ns = time.monotonic_ns()
        with self.control.one_at_a_time:
            other = self.fabric.meter_in_the_way(name, spec)
            if other is not None:
                reason = (
                    f"meter {other!r} is for some of the same packets: change that one, or remove it first"
                )
                raise Refusal(HTTPStatus.CONFLICT, reason)
            effective_ns = self.control.set_meter(name, spec)
        return {**spec.to_json(), "asked_ns": asked_ns, "effective_ns": effective_ns}

    def _delete_meter(self, name: str) -> Any:
        asked_ns = time.monotonic_ns()
        with self.control.one_at_a_time:
            spec = self.fabric.meters[self._meter(name)].spec
            effective_ns = self.control.remove_meter(name)
        return {**spec.to_json(), "asked_ns": asked_ns, "effective_ns": effective_ns}

    def _counters(self) -> Any:
        fabric = self.fabric
        links: dict[str, dict[str, Any]] = {}
        for count in counters.directions(fabric.totals, fabric.host_of_link):
            links.setdefault(count.link, {})[count.end] = count.to_json()
        last = {pop: total.last for pop, total in fabric.totals.items() if total.last is not None}
        return {
            "links": links,
            "pairs": counters.isp_pairs(fabric.totals, fabric.isp_of_pop),
            "unrouted": {pop: poll.unrouted for pop, poll in last.items()},
            "metered": {pop: dict(poll.metered) for pop, poll in last.items() if poll.metered},
            "polled": {pop: poll.monotonic_ns for pop, poll in last.items()},
        }

    def _loads(self, isp: str) -> Any:
        """What an ISP may see: both directions of its internal links and of those at its border."""
        fabric = self.fabric
        if isp not in fabric.network.isp_by_name:
            raise Refusal(HTTPStatus.NOT_FOUND, f"no ISP {isp!r}")
        links: dict[str, dict[str, Any]] = {}
        for count in counters.directions(fabric.totals, fabric.host_of_link):
            link = fabric.links[count.link]
            if link.kind == "access" or isp not in (fabric.isp_of_pop[link.a], fabric.isp_of_pop[link.b]):
                continue
            way = link.direction(count.end)
            links.setdefault(count.link, {})[count.end] = {
                "bytes": count.bytes,
                "rate_bps": count.rate_bps,
                "capacity_bps": way.capacity_bps,
                "utilisation": None if count.rate_bps is None else way.utilisation(count.rate_bps),
                "interval_s": count.interval_s,
                "monotonic_ns": count.monotonic_ns,
            }
        own = {pop for pop, owner in fabric.isp_of_pop.items() if owner == isp}
        down = [name for name in sorted(fabric.failed) if {fabric.links[name].a, fabric.links[name].b} & own]
        return {"isp": isp, "links": links, "down": down}


def _counted(rule: Rule, counts: Mapping[int, tuple[int, int]]) -> dict[str, Any]:
    found = counts.get(rule.cookie)
    return rule.to_json() | ({"packets": found[0], "bytes": found[1]} if found else {})


def _pattern(path: str, collection: str, name: str) -> str:
    """The resource that a path names. Raises Refusal where there is none."""
    pattern = {"links": "/links/ID", "meters": "/meters/NAME"}.get(collection, "") if name else path
    if pattern not in RESOURCES:
        raise Refusal(HTTPStatus.NOT_FOUND, f"no {path}; there are {', '.join(RESOURCES)}")
    return pattern


def _parameters(request: Request, *names: str) -> list[str]:
    """The values of the parameters of these names, each given once, and no others."""
    unknown = sorted(request.query.keys() - set(names))
    if unknown:
        raise BadRequest(f"unknown parameter {unknown[0]!r}")
    for name in names:
        if len(request.query.get(name, [])) != 1:
            raise BadRequest(f"{request.path}: give {' and '.join(names)}, each once, as ?{names[0]}=...")
    return [request.query[name][0] for name in names]


def wsgi_application(
    api: Api, sleep: Callable[[float], None]
) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """The API as a WSGI application (PEP 3333). `sleep` lets others work while an event stream waits."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            request = _request(environ)
            if request.path == "/events" and request.method == "GET":
                since = _last_event(environ)
                environ["eventlet.minimum_write_chunk_size"] = 0  # each event leaves at once
                start_response(
                    "200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")]
                )
                return _stream(api.feed, since, sleep)
            status, payload = _whole(api, request)
        except BadRequest as error:
            request, status, payload = Request("", ""), HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except Refusal as error:
            request, status, payload = Request("", ""), error.status, {"error": str(error)}
        body = json.dumps(payload).encode() + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            collection, _, name = request.path[1:].partition("/")
            headers.append(("Allow", ", ".join(RESOURCES[_pattern(request.path, collection, name)])))
        if status is HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", "Bearer"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    return application


def _whole(api: Api, request: Request) -> tuple[HTTPStatus, Any]:
    try:
        return api.respond(request)
    except Exception:
        LOG.exception("%s %s", request.method, request.path)
        reason = "the controller failed at this; its log says how"
        return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": reason}


def _request(environ: Mapping[str, Any]) -> Request:
    """The request of a WSGI environment. Raises BadRequest or Refusal where it is none or too large."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MOST_BYTES:
            reason = f"a body has at most {MOST_BYTES} bytes"
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        if environ.get("wsgi.input_terminated") or environ.get("HTTP_TRANSFER_ENCODING"):
            body = environ["wsgi.input"].read(MOST_BYTES + 1)
        else:
            body = environ["wsgi.input"].read(max(0, length)) if length else b""
        # WSGI gives bytes as latin-1.
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8")
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True, max_num_fields=16)
    except (ValueError, OSError) as error:
        raise BadRequest(f"the request can't be read: {error}") from None
    if len(body) > MOST_BYTES:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MOST_BYTES} bytes")
    return Request(environ["REQUEST_METHOD"], path, query, body, environ.get("HTTP_AUTHORIZATION", ""))


def _last_event(environ: Mapping[str, Any]) -> int | None:
    """The number that a reader saw last; None where it is new and wants only what comes."""
    text = environ.get("HTTP_LAST_EVENT_ID", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest("Last-Event-ID is the number of an event")
    return int(text)


def _stream(feed: Feed, since: int | None, sleep: Callable[[float], None]) -> Iterator[bytes]:
    # A number from the future is one of the controller before this one.
    seen = feed.last if since is None else since if since <= feed.last else 0
    yield b": events from here on\n\n"
    said_s = time.monotonic()
    while True:
        for entry in feed.after(seen):
            seen, said_s = entry.number, time.monotonic()
            yield encoded(entry)
        if time.monotonic() - said_s > _KEEP_ALIVE_S:
            said_s = time.monotonic()
            yield b": still here\n\n"
        sleep(_LOOK_S)
