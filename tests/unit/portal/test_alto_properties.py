"""Entity property maps (RFC 9240), and P4P's own policy and capability resources."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from alto_worlds import entry, error, get, post, published, with_second_map

from testbed.portal.config import CapabilityConfig, PolicyConfig, TimeOfDayConfig

MAP_ID = "my-default-network-map"
PID = f"{MAP_ID}.pid"
CACHE = CapabilityConfig(kind="cache", pid="PID1", address="192.0.2.5", capacity_bps=1e9)
SERVER = CapabilityConfig(kind="server", pid="PID1", address="192.0.2.6")
WORLD = with_second_map(
    published(own=frozenset({"PID1", "PID2"}), capabilities=(CACHE, SERVER)),
    "coarse",
    {"all": ["0.0.0.0/0"], "six": ["::/0"]},
    np.array([[1.0, 2.0], [3.0, 4.0]]),
)


def test_the_whole_map_has_every_prefix_and_the_pids_that_have_properties() -> None:
    assert get(WORLD, "propmap")["property-map"] == {
        "ipv4:192.0.2.0/24": {PID: "PID1"},
        "ipv4:198.51.100.0/25": {PID: "PID1"},
        "ipv4:198.51.100.128/25": {PID: "PID2"},
        "ipv4:0.0.0.0/0": {PID: "PID3", "coarse.pid": "all"},
        "ipv6:::/0": {PID: "PID3", "coarse.pid": "six"},
        f"{PID}:PID1": {"priv:p4p-asn": "64500", "priv:p4p-capability": "cache server"},
        f"{PID}:PID2": {"priv:p4p-asn": "64500"},
    }


def test_the_directory_maps_domains_to_properties_and_answers_depend_on_what_they_use() -> None:
    for id in ("propmap", "filtered-propmap"):
        assert entry(WORLD, id).capabilities["mappings"] == {
            "ipv4": [PID, "coarse.pid"],
            "ipv6": [PID, "coarse.pid"],
            PID: ["priv:p4p-asn", "priv:p4p-capability"],
        }
        assert entry(WORLD, id).uses == (MAP_ID, "coarse")
    for answer in (get(WORLD, "propmap"), post(WORLD, "filtered-propmap", {"entities": ["ipv4:192.0.2.1"]})):
        assert [tag["resource-id"] for tag in answer["meta"]["dependent-vtags"]] == [MAP_ID, "coarse"]


@pytest.mark.parametrize(
    ("entity", "pids"),
    [
        ("ipv4:192.0.2.7", {"ipv4:192.0.2.7": "PID1"}),
        ("ipv4:192.0.2.7/32", {"ipv4:192.0.2.7/32": "PID1"}),
        ("ipv4:192.0.2.0/26", {"ipv4:192.0.2.0/26": "PID1"}),
        ("ipv4:8.8.8.8", {"ipv4:8.8.8.8": "PID3"}),
        (
            "ipv4:198.51.100.0/24",
            {
                "ipv4:198.51.100.0/24": "PID3",
                "ipv4:198.51.100.0/25": "PID1",
                "ipv4:198.51.100.128/25": "PID2",
            },
        ),
        ("ipv6:2001:db8::/32", {"ipv6:2001:db8::/32": "PID3"}),
    ],
)
def test_an_entity_inherits_from_the_longest_block_and_comes_with_the_blocks_inside(
    entity: str, pids: dict[str, str]
) -> None:
    body = {"entities": [entity, entity], "properties": [PID]}
    assert post(WORLD, "filtered-propmap", body)["property-map"] == {
        name: {PID: pid} for name, pid in pids.items()
    }


def test_only_the_named_properties_come_and_a_valid_entity_without_any_does_not_appear() -> None:
    entities = ["ipv4:192.0.2.1", f"{PID}:PID1", f"{PID}:PID3", f"{PID}:nowhere"]
    body = {"entities": entities, "properties": ["priv:p4p-capability", "coarse.pid"]}
    assert post(WORLD, "filtered-propmap", body)["property-map"] == {
        "ipv4:192.0.2.1": {"coarse.pid": "all"},
        f"{PID}:PID1": {"priv:p4p-capability": "cache server"},
    }


def test_empty_lists_mean_all_entities_and_all_properties() -> None:
    whole = get(WORLD, "propmap")["property-map"]
    assert post(WORLD, "filtered-propmap", {"entities": [], "properties": []})["property-map"] == whole
    assert post(WORLD, "filtered-propmap", {"entities": []})["property-map"] == whole


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"properties": [PID]}, "E_MISSING_FIELD", "entities"),
        ({"entities": "ipv4:192.0.2.1"}, "E_INVALID_FIELD_TYPE", "entities"),
        ({"entities": [7]}, "E_INVALID_FIELD_VALUE", "entities"),
        ({"entities": ["ipv4:192.0.2.1"], "properties": ["pid"]}, "E_INVALID_FIELD_VALUE", "properties"),
        ({"entities": [], "properties": {}}, "E_INVALID_FIELD_TYPE", "properties"),
    ],
)
def test_errors_of_the_filtered_property_map(body: dict[str, Any], code: str, field: str) -> None:
    refused = error(WORLD, "filtered-propmap", body)
    assert (refused["code"], refused["field"]) == (code, field)


@pytest.mark.parametrize(
    "entity",
    [
        "",
        "192.0.2.1",
        "ipv4:",
        "ipv4:192.0.2.1/24",
        "ipv4:192.0.2.0/33",
        "ipv4:192.0.2.0/255.255.255.0",
        "ipv4:192.0.2.0/",
        "ipv4:2001:db8::1",
        "ipv6:fe80::1%eth0",
        f"{PID}:not a PID",
        "coarse.pid:all",
        "pid:PID1",
    ],
)
def test_an_entity_of_no_domain_or_malformed_is_a_wrong_value(entity: str) -> None:
    refused = error(WORLD, "filtered-propmap", {"entities": ["ipv4:192.0.2.1", entity]})
    assert refused == {"code": "E_INVALID_FIELD_VALUE", "field": "entities", "value": entity}


def test_there_is_no_pid_domain_where_nothing_is_said_of_pids() -> None:
    assert entry(published(), "propmap").capabilities["mappings"].keys() == {"ipv4", "ipv6"}


def test_the_policy_tells_thresholds_and_the_time_of_day() -> None:
    policy = PolicyConfig(time_of_day=TimeOfDayConfig(factors=(1, 2.5)), near_congestion=0.7, heavy_usage=1)
    assert get(published(policy=policy), "p4p-policy") == {
        "meta": {},
        "p4p-policy": {
            "isp": "example",
            "asn": 64500,
            "near-congestion": 0.7,
            "heavy-usage": 1,
            "time-of-day": {"time-interval-size": 43200, "factors": [1, 2.5]},
        },
    }
    assert "time-of-day" not in get(published(), "p4p-policy")["p4p-policy"]
    assert entry(published(), "p4p-policy").answers == "application/p4p-policy+json"


def test_the_capabilities_tell_offers_by_pid() -> None:
    elsewhere = CapabilityConfig(kind="cache", pid="gone", address="192.0.2.7")
    world = published(capabilities=(CACHE, SERVER, elsewhere))
    answer = get(world, "p4p-capability")
    assert answer["p4p-capability"] == [
        {"kind": "cache", "pid": "PID1", "address": "192.0.2.5", "capacity-bps": 1_000_000_000},
        {"kind": "server", "pid": "PID1", "address": "192.0.2.6"},
    ]
    assert answer["meta"]["dependent-vtags"] == [{"resource-id": MAP_ID, "tag": world.network_maps[0].tag}]
    assert entry(world, "p4p-capability").uses == (MAP_ID,)
