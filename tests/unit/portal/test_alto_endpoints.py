"""Endpoint properties and endpoint costs: RFC 7285 sections 11.4 and 11.5."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from alto_worlds import (
    RANKED,
    RANKED_JSON,
    ROUTINGCOST,
    ROUTINGCOST_JSON,
    entry,
    error,
    post,
    published,
    with_second_map,
)

MAP_ID = "my-default-network-map"
PREFIXES = {
    "PID1": ["192.0.2.0/24"],
    "PID2": ["198.51.100.0/24", "2001:db8::/32"],
    "PID3": ["0.0.0.0/0", "::/0"],
}
RANKS = [[1, 2, 3], [2, 1, 4], [3, 4, 5]]
WORLD = published(PREFIXES, [(RANKED, RANKS), (ROUTINGCOST, [[0, 7, 9], [7, 0, 8], [9, 8, np.nan]])])
TAG = {"resource-id": MAP_ID, "tag": WORLD.network_maps[0].tag}


def test_the_endpoint_properties_of_section_11_4_1_7() -> None:
    # The RFC asks for the id in two spellings, and for a private property, which we do not offer.
    body = {"properties": [f"{MAP_ID}.pid"], "endpoints": ["ipv4:192.0.2.34", "ipv4:203.0.113.129"]}
    assert post(WORLD, "endpointprop", body) == {
        "meta": {"dependent-vtags": [TAG]},
        "endpoint-properties": {
            "ipv4:192.0.2.34": {f"{MAP_ID}.pid": "PID1"},
            "ipv4:203.0.113.129": {f"{MAP_ID}.pid": "PID3"},
        },
    }


def test_the_endpoint_costs_of_section_11_5_1_7() -> None:
    body = {
        "cost-type": RANKED_JSON,
        "endpoints": {
            "srcs": ["ipv4:192.0.2.2"],
            "dsts": ["ipv4:192.0.2.89", "ipv4:198.51.100.34", "ipv4:203.0.113.45"],
        },
    }
    assert post(WORLD, "endpointcost", body) == {
        "meta": {"cost-type": RANKED_JSON},
        "endpoint-cost-map": {
            "ipv4:192.0.2.2": {"ipv4:192.0.2.89": 1, "ipv4:198.51.100.34": 2, "ipv4:203.0.113.45": 3}
        },
    }


def test_the_pid_of_every_network_map_is_offered_with_the_tags_of_those_asked_for() -> None:
    world = with_second_map(
        WORLD, "coarse", {"all": ["0.0.0.0/0"], "six": ["::/0"]}, np.array([[1.0, 2.0], [3.0, 4.0]])
    )
    assert entry(world, "endpointprop").capabilities == {"prop-types": [f"{MAP_ID}.pid", "coarse.pid"]}
    body = {"properties": ["coarse.pid", "coarse.pid"], "endpoints": ["ipv6:2001:db8::1", "ipv4:10.0.0.1"]}
    answer = post(world, "endpointprop", body)
    assert [tag["resource-id"] for tag in answer["meta"]["dependent-vtags"]] == ["coarse"]
    assert answer["endpoint-properties"] == {
        "ipv6:2001:db8::1": {"coarse.pid": "six"},
        "ipv4:10.0.0.1": {"coarse.pid": "all"},
    }


@pytest.mark.parametrize("missing", [{}, {"srcs": []}])
def test_the_client_itself_is_the_endpoint_that_is_not_named(missing: dict[str, Any]) -> None:
    body = {"cost-type": ROUTINGCOST_JSON, "endpoints": {**missing, "dsts": ["ipv6:2001:DB8::1"]}}
    answer = post(WORLD, "endpointcost", body, client="192.0.2.9")
    assert answer["endpoint-cost-map"] == {"ipv4:192.0.2.9": {"ipv6:2001:DB8::1": 7}}
    back = {"cost-type": ROUTINGCOST_JSON, "endpoints": {"srcs": ["ipv4:198.51.100.1"], "dsts": []}}
    answer = post(WORLD, "endpointcost", back, client="192.0.2.9")
    assert answer["endpoint-cost-map"] == {"ipv4:198.51.100.1": {"ipv4:192.0.2.9": 7}}


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        ("fe80::1", "ipv6:fe80::1"),
        ("2001:db8::9", "ipv6:2001:db8::9"),
    ],
)
def test_a_clients_address_is_written_as_the_protocol_writes_addresses(client: str, shown: str) -> None:
    body = {"cost-type": ROUTINGCOST_JSON, "endpoints": {"dsts": ["ipv4:192.0.2.1"]}}
    assert list(post(WORLD, "endpointcost", body, client=client)["endpoint-cost-map"]) == [shown]


def test_pairs_without_a_cost_and_pairs_that_fail_a_constraint_do_not_appear() -> None:
    endpoints = {
        "srcs": ["ipv4:203.0.113.1", "ipv4:192.0.2.1"],
        "dsts": ["ipv4:203.0.113.2", "ipv4:192.0.2.2"],
    }
    body = {"cost-type": ROUTINGCOST_JSON, "endpoints": endpoints}
    assert post(WORLD, "endpointcost", body)["endpoint-cost-map"] == {
        "ipv4:203.0.113.1": {"ipv4:192.0.2.2": 9},
        "ipv4:192.0.2.1": {"ipv4:203.0.113.2": 9, "ipv4:192.0.2.2": 0},
    }
    body["constraints"] = ["gt 0"]
    assert post(WORLD, "endpointcost", body)["endpoint-cost-map"] == {
        "ipv4:203.0.113.1": {"ipv4:192.0.2.2": 9},
        "ipv4:192.0.2.1": {"ipv4:203.0.113.2": 9},
    }


@pytest.mark.parametrize(
    ("endpoints", "code", "field"),
    [
        (None, "E_MISSING_FIELD", "endpoints"),
        ([], "E_INVALID_FIELD_TYPE", "endpoints"),
        ({}, "E_INVALID_FIELD_VALUE", "endpoints"),
        ({"srcs": [], "dsts": []}, "E_INVALID_FIELD_VALUE", "endpoints"),
        ({"srcs": [], "dsts": [], "other": float("inf")}, "E_SYNTAX", None),
        ({"srcs": {}, "dsts": []}, "E_INVALID_FIELD_TYPE", "endpoints/srcs"),
        ({"dsts": [5]}, "E_INVALID_FIELD_VALUE", "endpoints/dsts"),
    ],
)
def test_errors_of_endpoint_costs(endpoints: Any, code: str, field: str | None) -> None:
    body = {"cost-type": ROUTINGCOST_JSON, **({} if endpoints is None else {"endpoints": endpoints})}
    refused = error(WORLD, "endpointcost", body)
    assert (refused["code"], refused.get("field")) == (code, field)


@pytest.mark.parametrize(
    "endpoint",
    [
        "192.0.2.1",
        "ipv4:",
        "ipv4:192.0.2",
        "ipv4:192.0.2.256",
        "ipv4:192.0.02.1",
        "ipv4: 192.0.2.1",
        "ipv4:192.0.2.0/24",
        "ipv4:2001:db8::1",
        "ipv6:192.0.2.1",
        "ipv6:2001:db8::1%eth0",
        "ipv6:2001:db8::/32",
        "IPV4:192.0.2.1",
        "mac:02-00-5e-10-00-00",
    ],
)
def test_a_malformed_endpoint_is_a_wrong_value(endpoint: str) -> None:
    body: dict[str, Any] = {"cost-type": ROUTINGCOST_JSON, "endpoints": {"srcs": [endpoint]}}
    assert error(WORLD, "endpointcost", body) == {
        "code": "E_INVALID_FIELD_VALUE",
        "field": "endpoints/srcs",
        "value": endpoint,
    }
    body = {"properties": [f"{MAP_ID}.pid"], "endpoints": ["ipv4:192.0.2.1", endpoint]}
    assert error(WORLD, "endpointprop", body) == {
        "code": "E_INVALID_FIELD_VALUE",
        "field": "endpoints",
        "value": endpoint,
    }


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "E_MISSING_FIELD", "properties"),
        ({"properties": [f"{MAP_ID}.pid"]}, "E_MISSING_FIELD", "endpoints"),
        ({"properties": "x", "endpoints": []}, "E_INVALID_FIELD_TYPE", "properties"),
        ({"properties": [], "endpoints": ["ipv4:192.0.2.1"]}, "E_INVALID_FIELD_VALUE", "properties"),
        ({"properties": [f"{MAP_ID}.pid"], "endpoints": []}, "E_INVALID_FIELD_VALUE", "endpoints"),
        ({"properties": ["pid"], "endpoints": ["ipv4:192.0.2.1"]}, "E_INVALID_FIELD_VALUE", "properties"),
    ],
)
def test_errors_of_endpoint_properties(body: Any, code: str, field: str) -> None:
    refused = error(WORLD, "endpointprop", body)
    assert (refused["code"], refused["field"]) == (code, field)


def test_a_question_about_too_many_pairs_is_refused_before_it_is_answered() -> None:
    addresses = [f"ipv4:10.0.{i // 256}.{i % 256}" for i in range(2000)]
    body = {"cost-type": ROUTINGCOST_JSON, "endpoints": {"srcs": addresses, "dsts": addresses}}
    assert error(WORLD, "endpointcost", body) == {"code": "E_INVALID_FIELD_VALUE", "field": "endpoints"}
