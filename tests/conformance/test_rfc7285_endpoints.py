"""RFC 7285, sections 11.4 and 11.5 against a portal: properties of endpoints, and costs between them."""

from __future__ import annotations

from typing import Any

import alto_examples as rfc
import pytest
from real_portal import Portal

PID = "networkmap.pid"
COARSE = "coarse-1.pid"


def properties(full: Portal, endpoints: list[Any], *names: str, **more: Any) -> Any:
    entry = full.entry(rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS)
    reply = full.ask(entry, {"properties": list(names or (PID,)), "endpoints": endpoints, **more})
    assert (reply.status, reply.media_type) == (200, rfc.ENDPOINT_PROPERTY), reply
    return reply.document


def costs(full: Portal, srcs: Any = None, dsts: Any = None, **more: Any) -> Any:
    named = {"srcs": srcs, "dsts": dsts}
    body = {
        "cost-type": rfc.ROUTINGCOST,
        "endpoints": {key: ends for key, ends in named.items() if ends is not None},
        **more,
    }
    return full.ask(full.entry(rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS), body)


def test_11_4_1_4_the_pid_of_every_network_map_is_offered(full: Portal) -> None:
    entry = full.entry(rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS)
    wanted = {f"{name}.pid" for name in full.entries(rfc.NETWORK_MAP)}
    assert wanted <= set(entry["capabilities"]["prop-types"])


@pytest.mark.parametrize(
    ("endpoint", "pid"),
    [
        ("ipv4:10.1.1.1", "north"),
        ("ipv4:10.1.2.1", "north:inner@1"),
        ("ipv4:10.1.3.0", "north"),
        ("ipv4:192.0.2.255", "south"),
        ("ipv4:192.0.3.0", "world"),
        ("ipv6:2001:db8:1::1", "north"),
        ("ipv6:2001:db8:1:2::1", "north:inner@1"),
        ("ipv6:2001:db8:1:2:ffff:ffff:ffff:ffff", "north:inner@1"),
        ("ipv6:2001:db8:1:3::", "north"),
        ("ipv6:2001:DB8:1:0003:0:0:0:0", "north"),
        ("ipv6:::1", "world"),
        ("ipv6:2001:db8:f::1", "peer"),
    ],
)
def test_11_2_2_the_pid_is_that_of_the_longest_prefix(full: Portal, endpoint: str, pid: str) -> None:
    assert list(properties(full, [endpoint])["endpoint-properties"].values()) == [{PID: pid}]


def test_7_1_1_each_network_map_says_its_own_pid(full: Portal) -> None:
    answer = properties(full, ["ipv4:10.1.2.1"], PID, COARSE)["endpoint-properties"]
    assert answer == {"ipv4:10.1.2.1": {PID: "north:inner@1", COARSE: "own"}}


def test_11_4_1_6_there_are_the_version_tags_of_the_maps_whose_pid_was_asked_for(full: Portal) -> None:
    tags = {name: full.document(name)["meta"]["vtag"] for name in full.entries(rfc.NETWORK_MAP)}
    assert properties(full, ["ipv4:10.1.2.1"])["meta"]["dependent-vtags"] == [tags["networkmap"]]
    both = properties(full, ["ipv4:10.1.2.1"], PID, COARSE)["meta"]["dependent-vtags"]
    assert sorted(tag["resource-id"] for tag in both) == sorted(tags)
    assert all(tag == tags[tag["resource-id"]] for tag in both)


def test_11_4_1_6_every_endpoint_and_no_other_has_a_member(full: Portal) -> None:
    ends = ["ipv4:10.1.0.1", "ipv4:8.8.8.8", "ipv6:2001:db8::1"]
    assert list(properties(full, ends)["endpoint-properties"]) == ends


def test_11_4_1_3_what_is_there_twice_counts_once(full: Portal) -> None:
    once = properties(full, ["ipv4:10.1.0.1"])
    assert properties(full, ["ipv4:10.1.0.1", "ipv4:10.1.0.1"], PID, PID) == once


@pytest.mark.parametrize("name", ["priv:not-there", "pid", "no-such-map.pid", "networkmap.", ""])
def test_11_4_1_3_a_property_that_is_not_offered_is_refused(full: Portal, name: str) -> None:
    entry = full.entry(rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS)
    reply = full.ask(entry, {"properties": [PID, name], "endpoints": ["ipv4:10.1.0.1"]})
    assert (reply.status, reply.error) == (400, ("E_INVALID_FIELD_VALUE", "properties", name))


@pytest.mark.parametrize("key", ["properties", "endpoints"])
def test_11_4_1_3_an_empty_list_is_refused(full: Portal, key: str) -> None:
    """Both have one element or more."""
    entry = full.entry(rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS)
    reply = full.ask(entry, {"properties": [PID], "endpoints": ["ipv4:10.1.0.1"], key: []})
    assert reply.error[:2] == ("E_INVALID_FIELD_VALUE", key)


WRONG_ENDPOINTS = [
    "",
    "ipv4:",
    "10.1.0.1",
    "ipv4:10.1.0.256",
    "ipv4:10.1.0",
    "ipv4:10.1.0.1/32",
    "ipv4:010.1.0.1",
    "ipv4: 10.1.0.1",
    "ipv4:2001:db8::1",
    "ipv6:10.1.0.1",
    "ipv6:2001:db8::1%eth0",
    "ipv6:[2001:db8::1]",
    "ipv6:2001:db8::1/128",
    "mac48:00-11-22-33-44-55",
    "IPV4:10.1.0.1",
    "ipv4:١٠.1.0.1",
]


@pytest.mark.parametrize("endpoint", WRONG_ENDPOINTS)
def test_10_4_an_endpoint_that_is_none_is_refused(full: Portal, endpoint: str) -> None:
    entry = full.entry(rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS)
    reply = full.ask(entry, {"properties": [PID], "endpoints": ["ipv4:10.1.0.1", endpoint]})
    assert reply.error == ("E_INVALID_FIELD_VALUE", "endpoints", endpoint)
    refused = costs(full, [endpoint], ["ipv4:10.1.0.1"])
    assert refused.error == ("E_INVALID_FIELD_VALUE", "endpoints/srcs", endpoint)


def test_11_5_1_5_an_endpoint_cost_service_does_not_say_what_it_uses(full: Portal) -> None:
    assert "uses" not in full.entry(rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS)


def test_11_5_1_6_costs_have_their_cost_type_and_are_those_of_the_pids(full: Portal) -> None:
    document = costs(full, ["ipv4:10.1.2.1"], ["ipv4:10.2.0.1", "ipv6:2001:db8:f::1"]).document
    its = document["meta"]["cost-type"]
    assert (its["cost-mode"], its["cost-metric"]) == ("numerical", "routingcost")
    row = full.document("costmap-num-routingcost")["cost-map"]["north:inner@1"]
    assert document["endpoint-cost-map"] == {
        "ipv4:10.1.2.1": {"ipv4:10.2.0.1": row["south"], "ipv6:2001:db8:f::1": row["peer"]}
    }


def test_11_5_1_6_only_endpoints_that_were_asked_for_are_there(full: Portal) -> None:
    rows = costs(full, ["ipv4:10.1.2.1"], ["ipv4:10.2.0.1"]).document["endpoint-cost-map"]
    assert {source: set(row) for source, row in rows.items()} == {"ipv4:10.1.2.1": {"ipv4:10.2.0.1"}}


def test_11_5_1_3_endpoints_that_are_there_twice_count_once(full: Portal) -> None:
    once = costs(full, ["ipv4:10.1.2.1"], ["ipv4:10.2.0.1"]).document
    assert costs(full, ["ipv4:10.1.2.1"] * 2, ["ipv4:10.2.0.1"] * 3).document == once


@pytest.mark.parametrize("empty", [None, []])
def test_11_5_1_3_no_sources_or_no_destinations_means_the_client_itself(example: Portal, empty: Any) -> None:
    """The client is 127.0.0.1, which is in PID3 of the example."""
    client, other = "ipv4:127.0.0.1", "ipv4:192.0.2.1"
    found = costs(example, empty, [other]).document["endpoint-cost-map"]
    assert found == {client: {other: rfc.COSTS["PID3"]["PID1"]}}
    found = costs(example, [other], empty).document["endpoint-cost-map"]
    assert found == {other: {client: rfc.COSTS["PID1"]["PID3"]}}


def test_11_5_1_6_endpoints_between_which_no_cost_is_defined_are_left_out(full: Portal) -> None:
    reply = costs(full, ["ipv4:10.1.0.1"], ["ipv4:8.8.8.8", "ipv4:10.2.0.1"])
    row = reply.document["endpoint-cost-map"]["ipv4:10.1.0.1"]
    assert set(row) == {"ipv4:10.2.0.1"}


@pytest.mark.parametrize("empty", [None, []])
def test_11_5_1_3_neither_sources_nor_destinations_is_an_error(full: Portal, empty: Any) -> None:
    reply = costs(full, empty, empty)
    assert reply.status == 400
    assert reply.code in ("E_INVALID_FIELD_VALUE", "E_MISSING_FIELD")


def test_11_5_1_3_constraints_are_those_of_a_filtered_cost_map(full: Portal) -> None:
    ends = ["ipv4:10.1.0.1", "ipv4:10.2.0.1", "ipv4:203.0.113.9"]
    row = costs(full, ends[:1], ends).document["endpoint-cost-map"][ends[0]]
    limit = sorted(row.values())[1]
    found = costs(full, ends[:1], ends, constraints=[f"lt {limit}"]).document["endpoint-cost-map"]
    assert found == {ends[0]: {end: cost for end, cost in row.items() if cost < limit}}


def test_11_5_1_3_a_cost_type_that_is_not_offered_is_refused(full: Portal) -> None:
    kind = {"cost-mode": "numerical", "cost-metric": "priv:not-there"}
    reply = costs(full, ["ipv4:10.1.0.1"], ["ipv4:10.2.0.1"], **{"cost-type": kind})
    assert reply.code == "E_INVALID_FIELD_VALUE"


def test_11_5_1_3_a_description_is_ignored(full: Portal) -> None:
    kind = {**rfc.ROUTINGCOST, "description": 5}
    described = costs(full, ["ipv4:10.1.0.1"], ["ipv4:10.2.0.1"], **{"cost-type": kind})
    assert described.status == 200
