"""The northbound API: what it answers, how it refuses, and how that looks in HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from unittest.mock import ANY

import pytest
from recorded_control import LINK, SLOW, TOKEN, Recorder, environ, network, recorded

from testbed.controller import northbound
from testbed.controller.counters import NS_PER_S, Poll
from testbed.controller.feed import Feed
from testbed.controller.northbound import RESOURCES, Api, Refusal, Request, wsgi_application
from testbed.controller.requests import MOST_BYTES
from testbed.topology.model import Direction, Network

BEARER = f"Bearer {TOKEN}"


@pytest.fixture
def both() -> tuple[Api, Recorder]:
    return recorded()


@pytest.fixture
def api(both: tuple[Api, Recorder]) -> Api:
    return both[0]


@pytest.fixture
def control(both: tuple[Api, Recorder]) -> Recorder:
    return both[1]


def get(api: Api, path: str, **query: str) -> Any:
    status, body = api.respond(Request("GET", path, {name: [value] for name, value in query.items()}))
    assert status is HTTPStatus.OK, body
    return body


def change(api: Api, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    payload = b"" if body is None else json.dumps(body).encode()
    status, answer = api.respond(Request(method, path, body=payload, authorization=BEARER))
    return status.value, answer


# Reading.


def test_the_root_says_what_there_is(api: Api) -> None:
    assert get(api, "/") == {"resources": {path: list(methods) for path, methods in RESOURCES.items()}}


def test_it_is_ready_when_every_switch_is_connected_and_confirmed(api: Api) -> None:
    assert not get(api, "/status")["ready"]
    for switch in api.fabric.by_pop.values():
        assert not get(api, "/status")["ready"]
        switch.connected = True
        assert not get(api, "/status")["ready"]
        switch.confirmed, switch.rules = True, 7
    assert get(api, "/status") == {
        "ready": True,
        "controller": {"name": "ryu", "version": "4.34"},
        "failed_links": [],
        "switches": {
            pop.id: {"connected": True, "confirmed": True, "rules": 7, "error": ""} for pop in network().pops
        },
    }
    api.fabric.by_pop["left.one"].connected = False
    assert not get(api, "/status")["ready"]


def test_the_topology_is_that_of_now(api: Api) -> None:
    assert Network.from_json(get(api, "/topology")["network"]) == network()
    way = Direction(9000, 0.25, loss=0.5)
    api.fabric.set_directions(LINK, way, way)
    now = Network.from_json(get(api, "/topology")["network"])
    assert now.link_by_id[LINK].backward == way
    assert [link.id for link in now.links] == [link.id for link in network().links]


def test_routes_are_asked_by_pop_host_or_address(api: Api) -> None:
    host, tracker = network().host_by_id["left.two.leecher1"], network().host_by_id["carrier.hub.tracker"]
    gateway = network().pop_by_id["left.two"].gateway_ip
    expected = {
        "reachable": True,
        "pops": ["left.two", "left.one", "carrier.hub"],
        "links": ["left.one--left.two", LINK],
    }
    delays = [network().link_by_id[link].forward.delay_s for link in expected["links"]]  # type: ignore[attr-defined]
    for source in ("left.two", host.id, host.ip, gateway):
        for target in ("carrier.hub", tracker.id, tracker.ip):
            found = get(api, "/routes", **{"from": source, "to": target})
            assert found.pop("delay_s") == pytest.approx(sum(delays))
            assert found == {"from": source, "to": target, **expected}
    assert get(api, "/routes", **{"from": host.id, "to": "left.two"})["links"] == []


def test_delays_of_a_route_follow_what_was_changed(api: Api) -> None:
    api.fabric.set_directions(LINK, Direction(1000, 1.0), Direction(1000, 2.0))
    there = get(api, "/routes", **{"from": "left.one", "to": "carrier.hub"})
    back = get(api, "/routes", **{"from": "carrier.hub", "to": "left.one"})
    assert (there["delay_s"], back["delay_s"]) == (1.0, 2.0)


def test_a_route_that_there_is_not_is_no_error(api: Api) -> None:
    for end in ("left.one", "carrier.hub"):
        api.fabric.port_is(end, LINK, True)
    api.fabric.plan()
    assert get(api, "/routes", **{"from": "left.two", "to": "right.only"}) == {
        **{"from": "left.two", "to": "right.only", "reachable": False},
        **{"pops": [], "links": [], "delay_s": None},
    }
    assert get(api, "/status")["failed_links"] == [LINK]
    assert get(api, f"/links/{LINK}")["state"] == "down"


def test_rules_of_a_switch_are_shown_whole(api: Api) -> None:
    shown, program = get(api, "/rules", pop="left.one"), api.fabric.programs["left.one"]
    assert [rule["cookie"] for rule in shown["rules"]] == [f"{rule.cookie:#018x}" for rule in program.rules]
    assert {meter["meter"] for meter in shown["meters"]} == {1, 2}
    assert shown["ports"][LINK] == api.fabric.ports["left.one"][LINK]
    json.dumps(shown)


def test_links_are_shown_one_by_one_and_together(api: Api) -> None:
    shown = get(api, f"/links/{LINK}")
    assert shown == {
        **{"id": LINK, "kind": "interdomain", "a": "left.one", "b": "carrier.hub"},
        **{"relationship": "customer-provider", "state": "up"},
        "forward": {"from": "left.one", **SHAPES},
        "backward": {"from": "carrier.hub", **SHAPES},
    }
    assert get(api, "/links/carrier.hub--left.one") == shown
    everyone = get(api, "/links")["links"]
    assert [link["id"] for link in everyone] == [link.id for link in network().links]
    assert shown in everyone


SHAPES = {
    "rate_bps": 5_000_000,
    "delay_s": network().link_by_id[LINK].forward.delay_s,
    "loss": 0.0,
}


def test_meters_are_shown_one_by_one_and_together(api: Api) -> None:
    assert get(api, "/meters") == {"meters": {"slow": SLOW}}
    assert get(api, "/meters/slow") == SLOW


def test_counters_have_rates_pairs_and_what_nobody_knew(api: Api) -> None:
    access = network().host_by_id["left.one.leecher1"].link
    for second in (1, 3):
        count = 1000 * second
        ports = {LINK: [count, second, 9, 9, 0, 0], access: [9, 9, count, second, 0, 5]}
        pairs = {"right": [count, second]}
        metered = {"slow": [7, 1]}
        api.fabric.totals["left.one"].add(Poll(second * NS_PER_S, "left.one", ports, pairs, second, metered))
    timed = {"rate_bps": 8000.0, "interval_s": 2.0, "monotonic_ns": 3 * NS_PER_S}
    still = {**timed, "rate_bps": 0.0}
    assert get(api, "/counters") == {
        "links": {
            LINK: {"left.one": {"bytes": 3000, "packets": 3, "dropped": 0, **timed}},
            access: {
                "left.one": {"bytes": 9, "packets": 9, "dropped": 0, **still},
                "left.one.leecher1": {"bytes": 3000, "packets": 3, "dropped": 5, **timed},
            },
        },
        "pairs": [
            {
                **{"source": "right", "destination": "left", "bytes": 3000, "packets": 3},
                **{"rate_bps": 8000.0, "interval_s": 2.0},
            }
        ],
        "unrouted": {"left.one": 3},
        "metered": {"left.one": {"slow": [7, 1]}},
        "polled": {"left.one": 3 * NS_PER_S},
    }


def test_an_isp_sees_the_loads_inside_and_at_its_border_and_no_access_lines(api: Api) -> None:
    for pop in network().pops:
        for second in (1, 2):
            ports = {link: [125_000 * second, 1, 0, 0, 0, 0] for link in api.fabric.ports[pop.id]}
            api.fabric.totals[pop.id].add(Poll(second * NS_PER_S, pop.id, ports, {}, 0))
    loads = get(api, "/loads", isp="left")
    assert loads["isp"] == "left"
    assert set(loads["links"]) == {"left.one--left.two", LINK}
    assert loads["links"][LINK]["left.one"] == {
        **{"bytes": 250_000, "rate_bps": 1e6, "capacity_bps": 5_000_000, "utilisation": 0.2},
        **{"interval_s": 1.0, "monotonic_ns": 2 * NS_PER_S},
    }
    assert set(get(api, "/loads", isp="carrier")["links"]) == {
        *("carrier.hub--carrier.edge", LINK),
        "right.only--carrier.edge",
    }


def test_an_isp_is_told_which_of_its_links_are_down_and_of_no_others(api: Api) -> None:
    inner, far = "left.one--left.two", "right.only--carrier.edge"
    for link in (inner, far):
        api.fabric.port_is(api.fabric.links[link].a, link, True)
    assert get(api, "/loads", isp="left")["down"] == [inner]
    assert get(api, "/loads", isp="carrier")["down"] == [far]


def test_before_the_first_poll_there_are_no_counts_and_no_rates(api: Api) -> None:
    assert get(api, "/counters")["links"] == {}
    api.fabric.totals["left.one"].add(Poll(1, "left.one", {LINK: [1] * 6}, {}, 0))
    (seen,) = get(api, "/loads", isp="left")["links"][LINK].values()
    assert (seen["rate_bps"], seen["utilisation"]) == (None, None)


# Changing.


def test_a_patch_of_both_directions_and_of_one(api: Api, control: Recorder) -> None:
    now = network().link_by_id[LINK].forward
    for body, forward, backward in (
        ({"rate_bps": 2000}, {"rate_bps": 2000}, {"rate_bps": 2000}),
        ({"forward": {"loss": 0.5}}, {"loss": 0.5}, {}),
        ({"delay_s": 1, "backward": {"loss": 0.0}}, {"delay_s": 1}, {"delay_s": 1, "loss": 0.0}),
        ({"state": "down"}, {}, {}),
        ({"state": "up", "rate_bps": 10**12, "loss": None}, {"rate_bps": 10**12}, {"rate_bps": 10**12}),
    ):
        status, answer = change(api, "PATCH", "/links/carrier.hub--left.one", body)
        assert status == 200
        assert answer == {**get(api, f"/links/{LINK}"), "asked_ns": ANY, "effective_ns": 2}
        ways = tuple(Direction(**{**vars(now), **way}) for way in (forward, backward))
        assert control.calls.pop() == ("change_link", LINK, body.get("state"), ways)


def test_an_access_line_can_be_patched(api: Api, control: Recorder) -> None:
    access = network().host_by_id["left.one.leecher1"].link
    assert change(api, "PATCH", f"/links/{access}", {"forward": {"rate_bps": 5000}})[0] == 200
    forward, backward = control.calls[0][3]
    assert (forward.rate_bps, backward.rate_bps) == (5000, 8_000_000)


@pytest.mark.parametrize(
    "traffic", ["all", {"protocol": "udp", "port": 53}, {"protocol": "tcp", "port": 65535}]
)
def test_a_meter_is_put_and_answered_whole(api: Api, control: Recorder, traffic: Any) -> None:
    body = {"isp": "left", "class": traffic, "rate_bps": 1000}
    status, answer = change(api, "PUT", "/meters/a-new_1.x", body)
    assert (status, answer) == (200, {**body, "direction": "out", "asked_ns": ANY, "effective_ns": 2})
    assert control.calls[0][:2] == ("set_meter", "a-new_1.x")
    assert change(api, "PUT", "/meters/a", {**body, "pop": "left.two", "direction": "in"})[0] == 200


def test_a_meter_is_replaced_and_removed_by_its_name(api: Api, control: Recorder) -> None:
    assert change(api, "PUT", "/meters/slow", {**SLOW, "rate_bps": 5000})[0] == 200
    assert change(api, "DELETE", "/meters/slow") == (200, {**SLOW, "asked_ns": ANY, "effective_ns": 2})
    assert control.calls[-1] == ("remove_meter", "slow")


@pytest.mark.parametrize(
    "body",
    [
        {"class": "bittorrent"},
        {"class": "bittorrent", "pop": "left.two"},
        {"class": {"protocol": "tcp", "port": 6881}},
    ],
    ids=["the same", "at one PoP", "a part of it"],
)
def test_a_class_has_one_meter_in_a_direction(api: Api, control: Recorder, body: Any) -> None:
    """The rules of two would have the same match: a switch keeps the last, and never has its program."""
    status, answer = change(api, "PUT", "/meters/other", {"isp": "left", "rate_bps": 5000, **body})
    assert (status, control.calls) == (409, [])
    assert "slow" in answer["error"]


def test_other_classes_directions_isps_and_pops_have_meters_of_their_own(api: Api) -> None:
    for body in (
        {**SLOW, "direction": "in"},
        {**SLOW, "class": "all"},
        {**SLOW, "class": {"protocol": "tcp", "port": 6882}},
        {**SLOW, "isp": "carrier"},
    ):
        assert change(api, "PUT", "/meters/other", body)[0] == 200


@pytest.mark.parametrize("status", [HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE])
def test_what_control_refuses_is_refused(api: Api, control: Recorder, status: HTTPStatus) -> None:
    control.refusal = Refusal(status, "not now")
    for method, path, body in (
        ("PATCH", f"/links/{LINK}", {"state": "down"}),
        ("PUT", "/meters/slow", SLOW),
        ("DELETE", "/meters/slow", None),
    ):
        assert change(api, method, path, body) == (status.value, {"error": "not now"})


# Refusing, in words.

FIELDS = "rate_bps, delay_s, loss, state, forward, backward"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[]", f"the body has to be a JSON object with some of {FIELDS}"),
        (b"{}", f"nothing is asked for: give some of {FIELDS}"),
        (b'{"rate_bps": null}', f"nothing is asked for: give some of {FIELDS}"),
        (b'{"rate": 5000}', f"rate is unknown; there are {FIELDS}"),
        (b'{"rate_bps": 999}', "rate_bps: Input should be greater than or equal to 1000"),
        (b'{"rate_bps": 1000000000001}', "rate_bps: Input should be less than or equal to 1000000000000"),
        (b'{"rate_bps": "1 Mbit/s"}', "rate_bps: Input should be a valid integer"),
        (b'{"rate_bps": true}', "rate_bps: Input should be a valid integer"),
        (b'{"delay_s": 60}', "delay_s: Input should be less than 60"),
        (b'{"delay_s": NaN}', "delay_s: Input should be a finite number"),
        (b'{"loss": 1}', "loss: Input should be less than 1"),
        (b'{"loss": -0.01}', "loss: Input should be greater than or equal to 0"),
        (b'{"loss": 1e400}', "loss: Input should be a finite number"),
        (b'{"state": "broken"}', "state: Input should be 'up' or 'down'"),
        (b'{"forward": {}}', "forward says nothing: give some of rate_bps, delay_s, loss"),
        (b'{"state": "up", "backward": {}}', "backward says nothing: give some of rate_bps, delay_s, loss"),
        (
            b'{"loss": 0, "delay_s": 1, "forward": {"loss": 0}}',
            "loss is given for both directions and for forward as well: give it once",
        ),
        (b'{"forward": {"delay_s": 61}}', "forward.delay_s: Input should be less than 60"),
        (b'{"forward": {"state": "up"}}', "forward.state is unknown; there are rate_bps, delay_s, loss"),
        (b'{"rate_bps": 1, "loss": 2}', "rate_bps: Input should be greater than or equal to 1000; "),
    ],
)
def test_a_wrong_patch_is_told_what_is_wrong(api: Api, control: Recorder, body: bytes, reason: str) -> None:
    status, answer = api.respond(Request("PATCH", f"/links/{LINK}", body=body, authorization=BEARER))
    assert status is HTTPStatus.BAD_REQUEST
    if reason.endswith("; "):
        assert answer["error"].startswith(reason)
    else:
        assert answer == {"error": reason}
    assert control.calls == []


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("other", {"isp": "lefft"}, "no ISP 'lefft'; there are carrier, left, right"),
        ("other", {"pop": "carrier.hub"}, "ISP left has no PoP 'carrier.hub'; it has left.one, left.two"),
        ("other", {"class": "torrent"}, "Input should be 'bittorrent' or 'all'"),
        ("other", {"class": {"protocol": "sctp", "port": 5}}, "Input should be 'tcp' or 'udp'"),
        ("other", {"class": {"protocol": "tcp", "port": 0}}, "Input should be greater than or equal to 1"),
        ("other", {"direction": "both"}, "direction: Input should be 'out' or 'in'"),
        ("other", {"rate_bps": 999}, "rate_bps: Input should be greater than or equal to 1000"),
        ("other", {"burst": 1}, "burst is unknown; there are isp, pop, class, direction, rate_bps"),
        ("-other", {}, "a meter's name has 1 to 64 letters, digits, dots, dashes and underscores"),
        ("o/ther", {}, "a meter's name has 1 to 64 letters, digits, dots, dashes and underscores"),
        ("o" * 65, {}, "a meter's name has 1 to 64 letters, digits, dots, dashes and underscores"),
        ("öther", {}, "a meter's name has 1 to 64 letters, digits, dots, dashes and underscores"),
        ("other\n", {}, "a meter's name has 1 to 64 letters, digits, dots, dashes and underscores"),
    ],
)
def test_a_wrong_meter_is_told_what_is_wrong(
    api: Api, control: Recorder, name: str, changes: dict[str, Any], reason: str
) -> None:
    status, answer = change(api, "PUT", f"/meters/{name}", {**SLOW, "isp": "left", **changes})
    assert (status, control.calls) == (400, [])
    assert reason in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nothing", 404, "no /nothing; there are /, /status, /topology"),
        ("GET", "", 404, "no ; there are"),
        ("GET", "/links/", 404, "no /links/; there are"),
        ("GET", "/status/x", 404, "no /status/x; there are"),
        ("GET", "/links/left.one--carrier.hup", 404, f"did you mean '{LINK}'?"),
        ("GET", "/links/left.one--hub", 404, f"did you mean '{LINK}'?"),
        ("PATCH", "/links/left.two--carrier.hub", 404, "no link joins the two"),
        ("GET", "/links/hub", 404, "isp.pop--isp.pop, the ends in either order"),
        ("GET", "/meters/fast", 404, "no meter 'fast'; there are: slow"),
        ("DELETE", "/meters/fast", 404, "no meter 'fast'; there are: slow"),
        ("GET", "/rules?pop=left.nine", 404, "no PoP 'left.nine'"),
        ("GET", "/routes?from=left.one&to=10.9.9.9", 404, "no PoP, host or address '10.9.9.9'"),
        ("GET", "/routes?from=left.one&to=", 404, "no PoP, host or address ''"),
        ("GET", "/loads?isp=lefft", 404, "no ISP 'lefft'"),
        ("GET", "/routes?from=left.one", 400, "/routes: give from and to, each once, as ?from=..."),
        ("GET", "/rules", 400, "/rules: give pop, each once, as ?pop=..."),
        ("GET", "/rules?pop=left.one&pop=left.one", 400, "each once"),
        ("GET", "/rules?pop=left.one&x=1", 400, "unknown parameter 'x'"),
        ("GET", "/status?x=1", 400, "unknown parameter 'x'"),
        ("PATCH", f"/links/{LINK}?force=1", 400, "unknown parameter 'force'"),
        ("POST", "/status", 405, "POST /status: only GET is allowed"),
        ("HEAD", "/", 405, "HEAD /: only GET is allowed"),
        ("PUT", f"/links/{LINK}", 405, f"PUT /links/{LINK}: only GET, PATCH is allowed"),
        ("PATCH", "/meters/slow", 405, "PATCH /meters/slow: only GET, PUT, DELETE is allowed"),
        ("DELETE", "/events", 405, "DELETE /events: only GET is allowed"),
        ("get", "/", 405, "get /: only GET is allowed"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    api: Api, control: Recorder, method: str, path: str, status: int, reason: str
) -> None:
    path, _, query = path.partition("?")
    told, _, body = served(api, method, path, query, b'{"state": "up"}', HTTP_AUTHORIZATION=BEARER)
    assert (told, control.calls) == (status, [])
    assert reason in json.loads(body)["error"]


@pytest.mark.parametrize(
    "authorization",
    ["", TOKEN, "Bearer", "Bearer ", "Bearer wort", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer wörd"],
)
def test_changes_need_the_token(api: Api, control: Recorder, authorization: str) -> None:
    for method, path in (("PATCH", f"/links/{LINK}"), ("PUT", "/meters/x"), ("DELETE", "/meters/slow")):
        status, headers, body = served(api, method, path, body=b"{", HTTP_AUTHORIZATION=authorization)
        assert status == 401
        assert headers["WWW-Authenticate"] == "Bearer"
        assert "Authorization: Bearer TOKEN" in json.loads(body)["error"]
    assert control.calls == []
    assert served(api, "GET", "/meters", HTTP_AUTHORIZATION=authorization)[0] == 200


def test_the_scheme_is_written_as_one_likes(api: Api) -> None:
    for authorization in (f"bearer {TOKEN}", f"BEARER   {TOKEN} "):
        assert served(api, "DELETE", "/meters/slow", HTTP_AUTHORIZATION=authorization)[0] == 200


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer "])
def test_a_controller_without_a_token_changes_nothing(authorization: str) -> None:
    api, control = recorded(token="")
    status, _, body = served(api, "DELETE", "/meters/slow", HTTP_AUTHORIZATION=authorization)
    assert (status, control.calls) == (401, [])
    assert "started without a token" in json.loads(body)["error"]


# HTTP.


def served(
    api: Api, method: str, path: str, query: str = "", body: bytes = b"", **more: Any
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request through the WSGI application."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    application = wsgi_application(api, lambda _: None)
    chunks = application(
        environ(method, path, query, body, **more), lambda status, headers: begun.append((status, headers))
    )
    content = b"".join(chunks)
    ((line, headers),) = begun
    code, _, phrase = line.partition(" ")
    assert phrase == HTTPStatus(int(code)).phrase
    found = dict(headers)
    assert found["Content-Type"] == "application/json"
    assert found["Content-Length"] == str(len(content))
    return int(code), found, content


def test_an_answer_is_json_with_its_length(api: Api) -> None:
    status, headers, body = served(api, "GET", "/meters")
    assert (status, json.loads(body)) == (200, {"meters": {"slow": SLOW}})
    assert not {"Allow", "WWW-Authenticate"} & headers.keys()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/", "GET"), (f"/links/{LINK}", "GET, PATCH"), ("/meters/x", "GET, PUT, DELETE"), ("/events", "GET")],
)
def test_405_says_what_is_allowed(api: Api, path: str, allowed: str) -> None:
    status, headers, _ = served(api, "POST", path)
    assert (status, headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("more", [{}, {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}])
def test_a_body_that_is_too_large_is_refused(api: Api, control: Recorder, more: Any) -> None:
    for length, expected in ((MOST_BYTES + 1, 413), (MOST_BYTES, 200)):
        body = b'{"state": "up"}'.ljust(length)
        status, _, _ = served(api, "PATCH", f"/links/{LINK}", body=body, HTTP_AUTHORIZATION=BEARER, **more)
        assert status == expected
    assert len(control.calls) == 1


@pytest.mark.parametrize("length", ["x", "1e3", "0x10", "-", "9" * 5000])
def test_a_length_that_is_no_number_is_refused(api: Api, length: str) -> None:
    status, _, body = served(api, "PATCH", f"/links/{LINK}", CONTENT_LENGTH=length)
    assert status == 400
    assert "can't be read" in json.loads(body)["error"]


def test_a_path_that_is_no_utf_8_is_refused(api: Api) -> None:
    assert served(api, "GET", "/", PATH_INFO="/links/\xff")[0] == 400


def test_a_query_of_too_many_fields_is_refused(api: Api) -> None:
    assert served(api, "GET", "/status", "&".join(f"a{n}=1" for n in range(17)))[0] == 400


def test_quoted_names_are_read(api: Api) -> None:
    host = network().host_by_id["left.two.leecher1"]
    query = f"from={host.id.replace('.', '%2E')}&to=left%2Eone"
    assert json.loads(served(api, "GET", "/routes", query)[2])["links"] == ["left.one--left.two"]


# Events.


class Over(Exception):
    """The reader has gone."""


def stream(api: Api, rounds: list[list[dict[str, Any]]], last_id: str | None = None) -> Iterator[bytes]:
    """What a reader gets while these events come, in rounds between which the server sleeps."""
    left = iter(rounds)

    def sleep(_: float) -> None:
        events = next(left, None)
        if events is None:
            raise Over
        for event in events:
            api.feed.add(**event)

    begun: list[Any] = []
    more = {} if last_id is None else {"HTTP_LAST_EVENT_ID": last_id}
    asked = environ("GET", "/events", **more)
    chunks = iter(wsgi_application(api, sleep)(asked, lambda *line: begun.append(line)))
    assert begun == [("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])]
    try:
        yield from chunks
    except Over:
        return


def test_a_new_reader_gets_what_comes_byte_by_byte(api: Api) -> None:
    api.feed.add("old")
    first, second, third = stream(api, [[{"kind": "link", "link": LINK, "state": "down"}], [{"kind": "x"}]])
    assert first == b": events from here on\n\n"
    lines = second.split(b"\n")
    assert lines[:2] == [b"id: 2", b"event: link"]
    assert lines[3:] == [b"", b""]
    data = json.loads(lines[2].removeprefix(b"data: "))
    assert data.pop("monotonic_ns") > 0
    assert data == {"link": LINK, "state": "down"}
    assert third.startswith(b"id: 3\nevent: x\ndata: {")


@pytest.mark.parametrize(("last_id", "numbers"), [("0", [1, 2, 3]), ("2", [3]), ("3", []), (None, [])])
def test_a_reader_that_comes_back_gets_what_it_missed(
    api: Api, last_id: str | None, numbers: list[int]
) -> None:
    for n in range(3):
        api.feed.add("x", n=n)
    assert ids(stream(api, [[]], last_id)) == numbers


def test_a_reader_of_the_controller_before_gets_the_events_of_this_one(api: Api) -> None:
    """Numbers count from 1 again; a reader that came back would wait for as many events as it had seen."""
    api.feed.add("ready")
    assert ids(stream(api, [[{"kind": "x"}]], "500")) in ([1, 2], [2])


def ids(chunks: Iterator[bytes]) -> list[int]:
    return [
        int(line.removeprefix(b"id: "))
        for chunk in chunks
        for line in chunk.split(b"\n")
        if line.startswith(b"id: ")
    ]


def test_a_text_in_an_event_can_not_break_the_stream(api: Api) -> None:
    _, chunk = stream(api, [[{"kind": "x", "text": "a\n\ndata: 1\r\u2028ö"}]])
    assert chunk.count(b"\n") == 4
    assert chunk.isascii()


def test_a_quiet_stream_is_kept_alive(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(northbound, "_KEEP_ALIVE_S", -1.0)
    assert b": still here\n\n" in list(stream(api, [[], []]))


@pytest.mark.parametrize("last_id", ["x", "-1", "1.5", "٣", "9" * 19])
def test_a_last_event_that_is_no_number_is_refused(api: Api, last_id: str) -> None:
    status, _, body = served(api, "GET", "/events", HTTP_LAST_EVENT_ID=last_id)
    assert (status, json.loads(body)) == (400, {"error": "Last-Event-ID is the number of an event"})


def test_the_feed_forgets_the_oldest_of_a_thousand() -> None:
    feed = Feed()
    for n in range(1500):
        feed.add("x", n=n)
    assert [entry.number for entry in feed.after(0)] == list(range(501, 1501))
    assert feed.last == 1500
    assert [entry.data["n"] for entry in feed.after(1498)] == [1498, 1499]


def test_a_host_whose_access_link_is_cut_has_no_route(api: Api) -> None:
    host, other = network().hosts[:2]

    def reachable(source: str) -> bool:
        return bool(get(api, "/routes", **{"from": source, "to": other.ip})["reachable"])

    assert reachable(host.id)
    api.fabric.port_is(host.pop, host.link, down=True)
    assert not reachable(host.id)
    assert reachable(host.pop)
