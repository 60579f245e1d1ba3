"""RFC 7285, section 8: errors of every service that takes a body, and what HTTP has to say around them."""

from __future__ import annotations

import gzip
import http.client
import json
from typing import Any

import alto_examples as rfc
import pytest
from real_portal import Portal, Reply

NUMERICAL = rfc.ROUTINGCOST
SOME = {"endpoints": {"srcs": ["ipv4:10.1.0.1"], "dsts": ["ipv4:10.2.0.1"]}}
PROPERTY = {"properties": ["networkmap.pid"], "endpoints": ["ipv4:10.1.0.1"]}

SERVICES = {
    "filtered network map": (rfc.NETWORK_MAP, rfc.NETWORK_MAP_FILTER),
    "filtered cost map": (rfc.COST_MAP, rfc.COST_MAP_FILTER),
    "endpoint properties": (rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS),
    "endpoint costs": (rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS),
    "entity properties": ("application/alto-propmap+json", "application/alto-propmapparams+json"),
    "updates": ("text/event-stream", "application/alto-updatestreamparams+json"),
}


def ask(full: Portal, service: str, request: Any) -> Reply:
    reply = full.ask(full.entry(*SERVICES[service]), request)
    if reply.status != 200:
        one_error(reply)
    return reply


def one_error(reply: Reply) -> None:
    """Section 8.5: a fitting status, the media type of errors, a code of the table, texts."""
    assert 400 <= reply.status <= 499
    assert reply.media_type == rfc.ERROR
    document = reply.document
    assert set(document) == {"meta"}
    meta = document["meta"]
    assert meta["code"] in ("E_SYNTAX", "E_MISSING_FIELD", "E_INVALID_FIELD_TYPE", "E_INVALID_FIELD_VALUE")
    assert set(meta) <= {"code", "field", "value", "syntax-error"}
    assert all(isinstance(value, str) for value in meta.values())
    if "value" in meta:
        assert "field" in meta
        assert meta["code"] == "E_INVALID_FIELD_VALUE"
    if "syntax-error" in meta:
        assert meta["code"] == "E_SYNTAX"


NO_JSON = [
    b"",
    b" ",
    b"{",
    b'{"pids": [}',
    b'{"pids": [],}',
    b"{'pids': []}",
    b'{"pids": NaN}',
    b'{"pids": Infinity}',
    b'{"pids": ["\xff"]}',
    b'{"pids": ["a\nb"]}',
    b'{"pids": []} more',
    b"nil",
    b"[" * 200_000,
    b'{"pids":' * 50_000,
]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("body", NO_JSON, ids=lambda body: repr(body[:16]))
def test_8_5_2_what_is_no_json_is_a_syntax_error(full: Portal, service: str, body: bytes) -> None:
    reply = ask(full, service, body)
    assert (reply.status, reply.code) == (400, "E_SYNTAX")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("body", ["[]", '"x"', "5", "null", "true"])
def test_8_5_2_json_that_is_no_object_is_an_error(full: Portal, service: str, body: str) -> None:
    reply = ask(full, service, body.encode())
    assert reply.code in ("E_SYNTAX", "E_INVALID_FIELD_TYPE")


@pytest.mark.parametrize(
    ("service", "request_", "field"),
    [
        ("filtered network map", {}, "pids"),
        ("filtered network map", {"address-types": ["ipv4"]}, "pids"),
        ("filtered cost map", {}, "cost-type"),
        ("filtered cost map", {"cost-type": {"cost-mode": "numerical"}}, "cost-type/cost-metric"),
        ("filtered cost map", {"cost-type": {"cost-metric": "routingcost"}}, "cost-type/cost-mode"),
        ("filtered cost map", {"cost-type": NUMERICAL, "pids": {"srcs": []}}, "pids/dsts"),
        ("filtered cost map", {"cost-type": NUMERICAL, "pids": {"dsts": []}}, "pids/srcs"),
        ("endpoint properties", {"properties": ["networkmap.pid"]}, "endpoints"),
        ("endpoint properties", {"endpoints": ["ipv4:10.1.0.1"]}, "properties"),
        ("endpoint costs", SOME, "cost-type"),
        ("endpoint costs", {"cost-type": {"cost-mode": "ordinal"}, **SOME}, "cost-type/cost-metric"),
        ("endpoint costs", {"cost-type": NUMERICAL}, "endpoints"),
        ("entity properties", {}, "entities"),
        ("updates", {}, "add"),
        ("updates", {"add": {"1": {}}}, "add/1/resource-id"),
    ],
)
def test_8_5_2_a_field_that_is_missing_is_named_with_its_path(
    full: Portal, service: str, request_: Any, field: str
) -> None:
    assert ask(full, service, request_).error == ("E_MISSING_FIELD", field, None)


@pytest.mark.parametrize(
    ("service", "request_", "field"),
    [
        ("filtered network map", {"pids": "north"}, "pids"),
        ("filtered network map", {"pids": {}}, "pids"),
        ("filtered network map", {"pids": None}, "pids"),
        ("filtered network map", {"pids": [], "address-types": "ipv4"}, "address-types"),
        ("filtered cost map", {"cost-type": "routingcost"}, "cost-type"),
        ("filtered cost map", {"cost-type": []}, "cost-type"),
        ("filtered cost map", {"cost-type": {**NUMERICAL, "cost-mode": 5}}, "cost-type/cost-mode"),
        ("filtered cost map", {"cost-type": {**NUMERICAL, "cost-metric": None}}, "cost-type/cost-metric"),
        ("filtered cost map", {"cost-type": NUMERICAL, "pids": []}, "pids"),
        ("filtered cost map", {"cost-type": NUMERICAL, "pids": {"srcs": "a", "dsts": []}}, "pids/srcs"),
        ("filtered cost map", {"cost-type": NUMERICAL, "constraints": "le 5"}, "constraints"),
        ("endpoint properties", {**PROPERTY, "properties": "networkmap.pid"}, "properties"),
        ("endpoint properties", {**PROPERTY, "endpoints": {}}, "endpoints"),
        ("endpoint costs", {"cost-type": 5, **SOME}, "cost-type"),
        ("endpoint costs", {"cost-type": NUMERICAL, "endpoints": []}, "endpoints"),
        ("endpoint costs", {"cost-type": NUMERICAL, "endpoints": {"srcs": "a"}}, "endpoints/srcs"),
        ("entity properties", {"entities": "ipv4:10.1.0.1"}, "entities"),
        ("entity properties", {"entities": [], "properties": {}}, "properties"),
        ("updates", {"add": []}, "add"),
        ("updates", {"add": {"1": "networkmap"}}, "add/1"),
        ("updates", {"add": {"1": {"resource-id": 5}}}, "add/1/resource-id"),
    ],
)
def test_8_5_2_a_field_of_the_wrong_type_is_named_with_its_path(
    full: Portal, service: str, request_: Any, field: str
) -> None:
    assert ask(full, service, request_).error == ("E_INVALID_FIELD_TYPE", field, None)


@pytest.mark.parametrize(
    ("service", "request_", "field", "value"),
    [
        ("filtered network map", {"pids": [5]}, "pids", "5"),
        ("filtered network map", {"pids": ["north", None]}, "pids", "null"),
        ("filtered network map", {"pids": [["north"]]}, "pids", '["north"]'),
        ("filtered network map", {"pids": [], "address-types": [True]}, "address-types", "true"),
        ("filtered cost map", {"cost-type": {**NUMERICAL, "cost-mode": "foo"}}, "cost-type/cost-mode", "foo"),
        (
            "filtered cost map",
            {"cost-type": {**NUMERICAL, "cost-metric": "foo"}},
            "cost-type/cost-metric",
            "foo",
        ),
        (
            "filtered cost map",
            {"cost-type": NUMERICAL, "pids": {"srcs": [1.5], "dsts": []}},
            "pids/srcs",
            "1.5",
        ),
        ("filtered cost map", {"cost-type": NUMERICAL, "constraints": ["foo 5"]}, "constraints", "foo 5"),
        ("filtered cost map", {"cost-type": NUMERICAL, "constraints": [5]}, "constraints", "5"),
        ("endpoint properties", {**PROPERTY, "properties": [5]}, "properties", "5"),
        ("endpoint properties", {**PROPERTY, "endpoints": [5]}, "endpoints", "5"),
        ("endpoint costs", {"cost-type": NUMERICAL, "endpoints": {"srcs": [5]}}, "endpoints/srcs", "5"),
        ("entity properties", {"entities": [5]}, "entities", "5"),
        ("entity properties", {"entities": ["no-such:x"]}, "entities", "no-such:x"),
        ("updates", {"add": {"1": {"resource-id": "no-such"}}}, "add/1/resource-id", "no-such"),
    ],
)
def test_8_5_2_a_wrong_value_is_given_as_text_with_its_field(
    full: Portal, service: str, request_: Any, field: str, value: str
) -> None:
    """An element of an array that has a wrong type is a wrong value, and the field is the array's."""
    code, its_field, its_value = ask(full, service, request_).error
    assert (code, its_field) == ("E_INVALID_FIELD_VALUE", field)
    assert its_value.replace(" ", "") == value.replace(" ", "")


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("filtered network map", {"pids": 5, "address-types": [5]}),
        ("filtered cost map", {"cost-type": {}, "pids": 5, "constraints": 5}),
        ("endpoint costs", {"cost-type": 5, "endpoints": {"srcs": [5]}}),
        ("endpoint properties", {"properties": 5, "endpoints": [5]}),
    ],
)
def test_8_5_2_several_errors_are_answered_with_exactly_one(
    full: Portal, service: str, request_: Any
) -> None:
    assert ask(full, service, request_).status == 400  # `ask` looks at the rest


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("filtered network map", {"pids": ["north"]}),
        ("filtered cost map", {"cost-type": NUMERICAL, "pids": {"srcs": ["north"], "dsts": []}}),
        ("endpoint properties", PROPERTY),
        ("endpoint costs", {"cost-type": NUMERICAL, **SOME}),
        ("entity properties", {"entities": ["ipv4:10.1.0.1"]}),
    ],
)
def test_8_3_7_unknown_fields_are_ignored_wherever_they_are(
    full: Portal, service: str, request_: Any
) -> None:
    def with_more(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {**{key: with_more(inner) for key, inner in value.items()}, "x-unknown": [{"a": None}]}

    plain = ask(full, service, request_)
    assert plain.status == 200
    assert ask(full, service, with_more(request_)).body == plain.body


def test_8_3_2_a_body_of_another_media_type_is_not_taken(full: Portal) -> None:
    for accepts in (rfc.COST_MAP_FILTER, "application/json", "text/plain", ""):
        entry = full.entry(rfc.NETWORK_MAP, rfc.NETWORK_MAP_FILTER)
        headers = {"Content-Type": accepts} if accepts else {}
        assert full.request("POST", entry["uri"], b'{"pids": []}', headers).status == 415


def test_8_3_2_parameters_of_the_media_type_do_no_harm(full: Portal) -> None:
    entry = full.entry(rfc.NETWORK_MAP, rfc.NETWORK_MAP_FILTER)
    headers = {"Content-Type": f"{rfc.NETWORK_MAP_FILTER}; charset=utf-8"}
    assert full.request("POST", entry["uri"], b'{"pids": []}', headers).status == 200


def test_8_5_a_resource_that_is_not_there_is_404_whatever_its_path(full: Portal) -> None:
    for path in ("/no-such", "/networkmap/", "/../etc/passwd", "/%2e%2e/%00", "/networkmap/x", "/%"):
        assert full.get(path).status == 404


def test_8_3_http_head_has_the_headers_of_get_and_no_body(full: Portal) -> None:
    uri = full.directory["resources"]["networkmap"]["uri"]
    head, got = full.request("HEAD", uri), full.get(uri)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "etag", "content-length"):
        assert head.headers[name] == got.headers[name]


def test_8_3_http_another_method_is_405_with_those_that_are_allowed(full: Portal) -> None:
    reply = full.request("DELETE", full.directory["resources"]["networkmap"]["uri"])
    assert reply.status == 405
    assert "GET" in reply.headers["allow"]


def test_8_3_http_what_the_client_does_not_accept_is_406(full: Portal) -> None:
    uri = full.directory["resources"]["networkmap"]["uri"]
    assert full.get(uri, Accept="image/png").status == 406
    for accept in (
        "*/*",
        "application/*",
        f"{rfc.NETWORK_MAP},{rfc.ERROR}",
        f"text/html;q=0.1, {rfc.NETWORK_MAP}",
    ):
        assert full.get(uri, Accept=accept).status == 200


def test_8_3_6_a_copy_that_is_current_is_not_sent_again(full: Portal) -> None:
    uris = [entry["uri"] for entry in full.directory["resources"].values() if not entry.get("accepts")]
    for uri in ("/", *uris):
        etag = full.get(uri).headers["etag"]
        again = full.get(uri, If_None_Match=etag)
        assert (again.status, again.body) == (304, b"")
        assert full.get(uri, If_None_Match='"of-another-time"').status == 200
        assert full.get(uri, If_None_Match=f'"x", W/{etag}').status == 304


def test_8_3_6_of_other_content_the_etag_is_another(full: Portal, example: Portal) -> None:
    uri = "/networkmap"
    assert full.get(uri).headers["etag"] != example.get(uri).headers["etag"]
    assert full.get(uri).headers["etag"] != full.get("/costmap/num-routingcost").headers["etag"]


def test_8_3_http_gzip_is_the_same_document(full: Portal) -> None:
    uri = full.directory["resources"]["costmap-num-routingcost"]["uri"]
    plain = full.get(uri)
    zipped = full.get(uri, Accept_Encoding="gzip")
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body
    assert "content-encoding" not in full.get(uri, Accept_Encoding="gzip;q=0").headers


def test_9_2_uris_are_of_the_address_that_the_client_reached(full: Portal) -> None:
    reply = full.get("/", Host="evil.example", X_Forwarded_Host="evil.example")
    assert b"evil" not in reply.body
    assert all(entry["uri"].startswith(full.uri) for entry in reply.document["resources"].values())


def test_15_a_body_that_is_too_large_is_413_before_it_is_read(full: Portal) -> None:
    entry = full.entry(rfc.NETWORK_MAP, rfc.NETWORK_MAP_FILTER)
    body = b'{"pids": [' + b" " * 2_000_000 + b"]}"
    try:
        reply = full.ask(entry, body)
    except (BrokenPipeError, ConnectionResetError, http.client.HTTPException):
        return  # it was not even read
    assert reply.status == 413


def test_8_5_2_a_long_wrong_value_does_not_come_back_without_end(full: Portal) -> None:
    reply = ask(full, "filtered cost map", {"cost-type": {**NUMERICAL, "cost-metric": "x" * 500_000}})
    assert reply.code == "E_INVALID_FIELD_VALUE"
    assert len(reply.body) < 600_000


def test_8_5_2_odd_text_comes_back_as_json(full: Portal) -> None:
    odd = 'é"\\\u2028\U0001f600\x00'
    reply = ask(full, "filtered cost map", {"cost-type": {**NUMERICAL, "cost-metric": odd}})
    assert reply.error[2] == odd
    lonely = b'{"cost-type": {"cost-mode": "numerical", "cost-metric": "\\ud800"}}'
    assert ask(full, "filtered cost map", lonely).code in ("E_INVALID_FIELD_VALUE", "E_SYNTAX")
    assert json.loads(ask(full, "filtered cost map", lonely).body.decode("utf-8"))
