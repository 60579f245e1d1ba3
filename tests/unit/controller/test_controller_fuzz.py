"""Thousands of requests of all kinds: none crashes the northbound API, none leaves half a change."""

from __future__ import annotations

import io
import json
import math
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from recorded_control import LINK, TOKEN, Recorder, network, recorded

from testbed.controller.northbound import RESOURCES, Api, Request, wsgi_application
from testbed.controller.requests import MeterSpec
from testbed.topology.model import Direction

many = settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
STATUSES = {200, 400, 401, 404, 405, 409, 413, 503}
HOST = network().hosts[0]

texts = st.one_of(st.text(max_size=8), st.sampled_from(["left", "left.one", "\ud800", "\0", "--", "é" * 300]))
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(
        [0, 1, 999, 1000, 10**12, 10**12 + 1, 10**400, -(10**400), 59.999, 60, 1e308, 1e-320, -0.0]
    ),
    st.sampled_from([math.nan, math.inf, -math.inf, True, 2**63, 0.5, 5000, 1_000_000]),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def mostly(good: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = anything) -> st.SearchStrategy[Any]:
    """Good values; one of twelve is another."""
    return st.sampled_from([good] * 11 + [other]).flatmap(lambda chosen: chosen)


def some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the fields, and now and then one more."""
    known = st.fixed_dictionaries({}, optional=fields)
    more = st.dictionaries(texts, anything, max_size=2)
    return mostly(known, st.builds(lambda one, two: {**one, **two}, known, more))


SHAPES: dict[str, st.SearchStrategy[Any]] = {
    "rate_bps": mostly(st.integers(1000, 10**12)),
    "delay_s": mostly(st.floats(0, 59)),
    "loss": mostly(st.floats(0, 0.99)),
}
patches = st.one_of(
    some({**SHAPES, "state": mostly(st.sampled_from(["up", "down"]))}),
    some({"forward": mostly(some(SHAPES)), "backward": mostly(some(SHAPES)), "loss": SHAPES["loss"]}),
)
ports = st.fixed_dictionaries(
    {"protocol": mostly(st.sampled_from(["tcp", "udp"])), "port": mostly(st.integers(1, 65535))}
)
meters = st.builds(
    lambda pop, more: {"isp": pop.partition(".")[0], "class": "all", "rate_bps": 5000, "pop": pop, **more},
    st.sampled_from(["left.one", "left.two", "right.only"]),
    some(
        {
            "class": mostly(st.one_of(st.sampled_from(["all", "bittorrent"]), ports)),
            "direction": mostly(st.sampled_from(["in", "out"])),
            "rate_bps": SHAPES["rate_bps"],
            "isp": mostly(st.sampled_from(["left", "right"])),
        }
    ),
)
strange_bodies = st.one_of(
    anything.map(lambda data: json.dumps(data).encode()),
    patches.map(lambda data: json.dumps(data).encode()[:-1]),
    st.builds(
        lambda text, depth: text * depth,
        st.sampled_from([b"[", b'{"forward":', b"9"]),
        st.sampled_from([1, 100, 900, 20000]),
    ),
    st.binary(max_size=20),
    st.sampled_from([b"", b"null", b'""', b'{"state": "down", "state": "up"}']),
    st.sampled_from([b" " * 70000, "{}".encode("utf-16")]),
)
strange_methods = st.one_of(
    st.sampled_from(["GET", "PATCH", "PUT", "DELETE", "POST", "HEAD", "OPTIONS", "patch", ""]),
    st.text(max_size=5),
)
strange_paths = st.one_of(
    st.sampled_from([*RESOURCES, f"/links/{LINK}~2", "/links/left.one--left.twо", "/meters/"]),
    st.builds("/{}/{}".format, st.sampled_from(["links", "meters", "link"]), texts),
    st.builds(
        lambda path, at, text: path[:at] + text + path[at:],
        st.sampled_from([*RESOURCES]),
        st.integers(0, 9),
        texts,
    ),
    st.text(max_size=12),
)
strange_queries = st.one_of(
    st.sampled_from(["from=left.one&to=", "pop=left", "isp=%ff", "pop=%00&&&=", "&" * 99, "pop=a&pop=b"]),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
strange_authorizations = st.one_of(
    st.sampled_from(["", "Bearer", TOKEN, "Bearer wrong", f"Basic {TOKEN}"]),
    st.text(st.characters(max_codepoint=255), max_size=10),
)
queries = st.sampled_from(["left.one", HOST.id, HOST.ip, "right.only"]).map(
    lambda end: f"from={end}&to=left.two"
)
# (method, path, query, what the body says)
good = st.one_of(
    st.tuples(
        st.just("GET"),
        st.sampled_from(["/", "/status", "/topology", "/links", "/meters", "/counters", f"/links/{LINK}"]),
        st.just(""),
        st.none(),
    ),
    st.tuples(st.just("GET"), st.just("/routes"), queries, st.none()),
    st.sampled_from([("GET", "/rules", "pop=left.one", None), ("GET", "/loads", "isp=left", None)]),
    st.tuples(
        st.just("PATCH"),
        st.sampled_from([f"/links/{LINK}", "/links/carrier.hub--left.one", f"/links/{HOST.link}"]),
        st.just(""),
        patches,
    ),
    st.tuples(st.just("PUT"), st.sampled_from(["/meters/new", "/meters/slow"]), st.just(""), meters),
    st.just(("DELETE", "/meters/slow", "", None)),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str, bytes, str]:
    """Method, path, query, body and authorization: mostly good, with here and there one that is not."""
    method, path, query, data = draw(good)
    body = b"" if data is None else json.dumps(data).encode()
    return (
        draw(mostly(st.just(method), strange_methods)),
        draw(mostly(st.just(path), strange_paths)),
        draw(mostly(st.just(query), strange_queries)),
        draw(mostly(st.just(body), strange_bodies)),
        draw(mostly(st.just(f"Bearer {TOKEN}"), strange_authorizations)),
    )


def check_answer(api: Api, control: Recorder, method: str, status: int, answer: Any) -> None:
    event(f"{method} {status}" if status == HTTPStatus.OK else str(status))
    assert status in STATUSES
    assert json.loads(json.dumps(answer)) is not None
    if status != HTTPStatus.OK:
        assert list(answer) == ["error"]
        assert answer["error"]
        assert not control.calls
    elif method == "GET":
        assert not control.calls
    else:
        (call,) = control.calls
        check_call(api, *call)


def check_call(api: Api, what: str, name: str, *arguments: Any) -> None:
    """What reached Control can be done as it is."""
    if what == "remove_meter":
        assert name in api.fabric.meters
    elif what == "set_meter":
        (spec,) = arguments
        check_meter(name, spec)
    else:
        state, ways = arguments
        assert what == "change_link"
        assert state in (None, "up", "down")
        link = network().link_by_id[name]
        for way, before in zip(ways, (link.forward, link.backward), strict=True):
            check_direction(way, before)


def check_direction(way: Direction, before: Direction) -> None:
    assert type(way.rate_bps) is int
    assert 1000 <= way.rate_bps <= 10**12
    assert 0 <= way.delay_s < 60
    assert 0 <= way.loss < 1
    asked = {"rate_bps": way.rate_bps, "delay_s": way.delay_s, "loss": way.loss}
    assert way == Direction(**{**vars(before), **asked})


def check_meter(name: str, spec: MeterSpec) -> None:
    assert 1 <= len(name) <= 64
    assert name.isascii()
    assert not set(name) & set("/ \n\0%?#")
    assert spec.isp in network().isp_by_name
    assert spec.pop is None or network().isp_of_pop(spec.pop) == spec.isp
    assert 1000 <= spec.rate_bps <= 10**12
    assert spec.direction in ("in", "out")
    assert spec.traffic_class().matches()
    assert MeterSpec.model_validate(json.loads(json.dumps(spec.to_json()))) == spec


def state_of(api: Api) -> Any:
    fabric = api.fabric
    return (
        *(fabric.asked_json(), dict(fabric.links), dict(fabric.meters), fabric.failed, fabric.ready),
        *(dict(fabric.programs), api.feed.last),
    )


API, CONTROL = recorded()
BEFORE = state_of(API)


@many
@given(requests())
def test_no_request_breaks_it(request: tuple[str, str, str, bytes, str]) -> None:
    method, path, query, body, authorization = request
    if (method, path) == ("GET", "/events"):
        return  # a stream, which the WSGI application serves
    CONTROL.calls.clear()
    status, answer = API.respond(
        Request(method, path, parse_qs(query, keep_blank_values=True), body, authorization)
    )
    check_answer(API, CONTROL, method, status.value, answer)
    assert state_of(API) == BEFORE


@many
@given(
    st.sampled_from([f"/links/{LINK}", f"/links/{HOST.link}", "/meters/new", "/meters/slow"]),
    mostly(st.one_of(patches, meters).map(lambda data: json.dumps(data).encode()), strange_bodies),
)
def test_no_change_is_half_asked_for(path: str, body: bytes) -> None:
    CONTROL.calls.clear()
    method = "PATCH" if path.startswith("/links") else "PUT"
    status, answer = API.respond(Request(method, path, body=body, authorization=f"Bearer {TOKEN}"))
    check_answer(API, CONTROL, method, status.value, answer)
    assert state_of(API) == BEFORE


lengths = st.sampled_from(["", "0", "-1", "5", "x", "1e9", "99999999999", "٣"])
last_ids = st.one_of(st.just("7"), st.text(st.characters(max_codepoint=255), max_size=5))


@many
@given(
    requests(), mostly(st.none(), lengths), mostly(st.just(""), last_ids), mostly(st.just(b""), st.binary())
)
def test_no_environment_breaks_the_wsgi_application(
    request: tuple[str, str, str, bytes, str], length: str | None, last_id: str, more: bytes
) -> None:
    CONTROL.calls.clear()
    method, path, query, body, authorization = request
    environ = {
        **{"REQUEST_METHOD": method, "QUERY_STRING": query, "wsgi.input": io.BytesIO(body)},
        "PATH_INFO": (path.encode("utf-8", "surrogatepass") + more).decode("latin-1"),
        "CONTENT_LENGTH": str(len(body)) if length is None else length,
        **{"HTTP_AUTHORIZATION": authorization, "HTTP_LAST_EVENT_ID": last_id},
    }
    begun: list[tuple[str, dict[str, str]]] = []
    chunks = wsgi_application(API, lambda _: None)(
        environ, lambda line, headers: begun.append((line, dict(headers)))
    )
    ((line, headers),) = begun
    if headers["Content-Type"] == "text/event-stream":
        assert (line, method, path) == ("200 OK", "GET", "/events")
        assert next(iter(chunks)).startswith(b":")
        return
    content = b"".join(chunks)
    assert headers["Content-Length"] == str(len(content))
    status = int(line[:3])
    check_answer(API, CONTROL, method, status, json.loads(content))
    assert ("Allow" in headers) == (status == HTTPStatus.METHOD_NOT_ALLOWED)
    assert ("WWW-Authenticate" in headers) == (status == HTTPStatus.UNAUTHORIZED)
    assert all("\n" not in value and "\r" not in value for value in headers.values())
    assert state_of(API) == BEFORE
