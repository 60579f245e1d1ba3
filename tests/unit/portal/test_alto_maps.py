"""Network maps, cost maps and their filtered forms: RFC 7285 sections 11.2 and 11.3."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from alto_worlds import (
    HOPCOUNT_JSON,
    NAN,
    RANKED,
    RANKED_JSON,
    RFC_COSTS,
    ROUTINGCOST,
    ROUTINGCOST_JSON,
    entry,
    error,
    get,
    post,
    published,
    with_second_map,
)

from testbed.portal.alto import documents

MAP_ID = "my-default-network-map"
WORLD = published()
TAG = {"resource-id": MAP_ID, "tag": WORLD.network_maps[0].tag}

RFC_COST_MAP = {
    "PID1": {"PID1": 1, "PID2": 5, "PID3": 10},
    "PID2": {"PID1": 5, "PID2": 1, "PID3": 15},
    "PID3": {"PID1": 20, "PID2": 15},
}


def costs(body: dict[str, Any]) -> Any:
    return post(WORLD, "filtered-costmap", {"cost-type": ROUTINGCOST_JSON, **body})["cost-map"]


def test_the_network_map_of_section_11_2_1_7() -> None:
    assert get(WORLD, MAP_ID) == {
        "meta": {"vtag": TAG},
        "network-map": {
            "PID1": {"ipv4": ["192.0.2.0/24", "198.51.100.0/25"]},
            "PID2": {"ipv4": ["198.51.100.128/25"]},
            "PID3": {"ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"]},
        },
    }


def test_the_cost_map_of_section_11_2_3_7() -> None:
    assert get(WORLD, "costmap-num-routingcost") == {
        "meta": {"dependent-vtags": [TAG], "cost-type": ROUTINGCOST_JSON},
        "cost-map": RFC_COST_MAP,
    }


def test_the_filtered_network_map_of_section_11_3_1_7_has_the_tag_of_the_full_one() -> None:
    # The RFC writes 198.51.100.128/24, which has host bits set and overlaps PID1: the prefix is ours.
    assert post(WORLD, "filtered-networkmap", {"pids": ["PID1", "PID2"]}) == {
        "meta": {"vtag": TAG},
        "network-map": {
            "PID1": {"ipv4": ["192.0.2.0/24", "198.51.100.0/25"]},
            "PID2": {"ipv4": ["198.51.100.128/25"]},
        },
    }


def test_the_filtered_cost_map_of_section_11_3_2_7() -> None:
    world = published(costs=[(ROUTINGCOST, [[0, 1, 2], [1, 0, 3], [2, 3, 0]])])
    body = {
        "cost-type": ROUTINGCOST_JSON,
        "pids": {"srcs": ["PID1"], "dsts": ["PID1", "PID2", "PID3"]},
    }
    assert post(world, "filtered-costmap", body) == {
        "meta": {"dependent-vtags": [TAG], "cost-type": ROUTINGCOST_JSON},
        "cost-map": {"PID1": {"PID1": 0, "PID2": 1, "PID3": 2}},
    }


def test_an_address_has_the_pid_of_its_longest_prefix_as_in_section_11_2_2() -> None:
    network_map = documents.network_map(
        "m",
        {
            "PID0": ["::/0"],
            "PID1": ["0.0.0.0/0"],
            "PID2": ["192.0.2.0/24", "198.51.100.0/24"],
            "PID3": ["192.0.2.0/25", "192.0.2.128/25"],
        },
    )
    assert network_map.pids.lookup("192.0.2.1") == "PID3"
    assert "world" not in network_map.prefixes


def test_a_network_map_that_leaves_addresses_out_is_completed_by_the_pid_world() -> None:
    network_map = documents.network_map("m", {"a": ["10.1.0.0/24", "2001:db8::/48"]})
    assert [network_map.pids.lookup(address) for address in ("10.1.0.7", "2001:db8::7")] == ["a", "a"]
    assert [network_map.pids.lookup(address) for address in ("8.8.8.8", "fe80::1")] == ["world", "world"]
    assert list(network_map.prefixes) == ["a", "world"]


def test_a_prefix_of_two_pids_is_refused() -> None:
    with pytest.raises(ValueError, match="given twice"):
        documents.network_map("m", {"a": ["10.0.0.0/8"], "b": ["10.0.0.0/8"]})


def test_a_tag_changes_with_the_prefixes_alone_and_has_the_form_of_section_10_3() -> None:
    first = documents.network_map("m", {"a": ["10.0.0.0/8"], "b": ["11.0.0.0/8"]}).tag
    assert first == documents.network_map("m", {"b": ["11.0.0.0/8"], "a": ["10.0.0.0/8"]}).tag
    assert first != documents.network_map("m", {"a": ["10.0.0.0/9"], "b": ["11.0.0.0/8"]}).tag
    assert len(first) <= 64
    assert all("!" <= character <= "~" for character in first)


def test_a_cost_maps_etag_changes_with_a_cost() -> None:
    def tag(cost: float) -> str:
        world = published(costs=[(ROUTINGCOST, [[cost, 1, 1], [1, 1, 1], [1, 1, 1]])])
        return entry(world, "costmap-num-routingcost").answer(None).tag  # type: ignore[arg-type]

    assert tag(1) == tag(1)
    assert tag(1) != tag(1.5)


def test_costs_are_written_so_that_they_read_back_exactly() -> None:
    numbers = [0.1, 1 / 3, 1e300, -0.0, 2.0**53, 2.0**60, 123456789.125, 5e-324, 7.0]
    matrix = np.full((3, 3), NAN)
    matrix.flat[:] = numbers
    shown = get(published(costs=[(ROUTINGCOST, matrix)]), "costmap-num-routingcost")["cost-map"]
    assert [cost for row in shown.values() for cost in row.values()] == numbers


def test_empty_lists_and_no_pids_at_all_mean_all() -> None:
    assert costs({}) == RFC_COST_MAP
    assert costs({"pids": {"srcs": [], "dsts": []}}) == RFC_COST_MAP
    assert post(WORLD, "filtered-networkmap", {"pids": []})["network-map"].keys() == {"PID1", "PID2", "PID3"}


def test_only_the_named_pairs_are_answered_each_once() -> None:
    assert costs({"pids": {"srcs": ["PID2", "PID2"], "dsts": ["PID3", "PID1", "PID3"]}}) == {
        "PID2": {"PID1": 5, "PID3": 15}
    }
    assert costs({"pids": {"srcs": [], "dsts": ["PID3"]}}) == {"PID1": {"PID3": 10}, "PID2": {"PID3": 15}}
    assert costs({"pids": {"srcs": ["PID3"], "dsts": []}}) == {"PID3": {"PID1": 20, "PID2": 15}}


def test_unknown_pids_and_address_types_are_passed_over() -> None:
    assert costs({"pids": {"srcs": ["PID1", "nowhere"], "dsts": ["PID2", "x"]}}) == {"PID1": {"PID2": 5}}
    # Passed over, and not read as an empty list: who asks for one unknown PID does not get all.
    assert costs({"pids": {"srcs": ["nowhere"], "dsts": []}}) == {}
    body = {"pids": ["PID3", "nowhere"], "address-types": ["ipv6", "mac"]}
    assert post(WORLD, "filtered-networkmap", body)["network-map"] == {"PID3": {"ipv6": ["::/0"]}}
    assert post(WORLD, "filtered-networkmap", {"pids": ["nowhere"]})["network-map"] == {}


def test_a_pid_without_addresses_of_the_type_is_still_a_pid() -> None:
    body = {"pids": ["PID1"], "address-types": ["ipv6", "ipv6"]}
    assert post(WORLD, "filtered-networkmap", body)["network-map"] == {"PID1": {}}


@pytest.mark.parametrize(
    ("constraints", "left"),
    [
        (["gt 10"], {15, 20}),
        (["ge 10"], {10, 15, 20}),
        (["lt 5"], {1}),
        (["le 5"], {1, 5}),
        (["eq 15"], {15}),
        (["ge 5", "le 1.0e1"], {5, 10}),
        (["ge 5", "lt 5"], set()),
        ([], {1, 5, 10, 15, 20}),
        ([" le \t 5 "], {1, 5}),
        (["[0] le 5"], {1, 5}),
    ],
)
def test_constraints_are_anded_and_pairs_that_fail_do_not_appear(
    constraints: list[str], left: set[int]
) -> None:
    shown = costs({"constraints": constraints})
    assert {cost for row in shown.values() for cost in row.values()} == left
    assert all(shown.values())
    some = costs({"constraints": constraints, "pids": {"srcs": ["PID1"], "dsts": ["PID2", "PID3"]}})
    assert {cost for row in some.values() for cost in row.values()} == left & {5, 10}


@pytest.mark.parametrize(
    "constraint",
    [
        "",
        "gt",
        "5",
        "gt5",
        "gt five",
        "ne 5",
        "gt NaN",
        "gt 1_0",
        "gt 5 6",
        "GT 5",
        "[1] gt 5",
        "[-1] gt 5",
        5,
        None,
    ],
)
def test_a_wrong_constraint_is_a_wrong_value(constraint: Any) -> None:
    body = {"cost-type": ROUTINGCOST_JSON, "constraints": ["ge 0", constraint]}
    refused = error(WORLD, "filtered-costmap", body)
    assert (refused["code"], refused["field"]) == ("E_INVALID_FIELD_VALUE", "constraints")
    if constraint and isinstance(constraint, str):
        assert refused["value"] == constraint


def test_more_constraints_than_we_look_at_are_refused() -> None:
    body = {"cost-type": ROUTINGCOST_JSON, "constraints": ["ge 0"] * 1001}
    assert error(WORLD, "filtered-costmap", body)["field"] == "constraints"


def test_the_description_in_a_request_is_ignored() -> None:
    body = {"cost-type": {**ROUTINGCOST_JSON, "description": ["what", "ever"]}}
    assert post(WORLD, "filtered-costmap", body)["cost-map"] == RFC_COST_MAP


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {"code": "E_SYNTAX"}),
        (b"{", {"code": "E_SYNTAX"}),
        (b"[]", {"code": "E_SYNTAX"}),
        (b'{"cost-type": NaN}', {"code": "E_SYNTAX"}),
        (b'{"a": "\xff"}', {"code": "E_SYNTAX"}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"code": "E_SYNTAX"}),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {"code": "E_SYNTAX"}),
        ({}, {"code": "E_MISSING_FIELD", "field": "cost-type"}),
        ({"cost-type": "x"}, {"code": "E_INVALID_FIELD_TYPE", "field": "cost-type"}),
        (
            {"cost-type": {"cost-mode": "numerical"}},
            {"code": "E_MISSING_FIELD", "field": "cost-type/cost-metric"},
        ),
        (
            {"cost-type": {"cost-metric": "routingcost"}},
            {"code": "E_MISSING_FIELD", "field": "cost-type/cost-mode"},
        ),
        (
            {"cost-type": {"cost-metric": 5, "cost-mode": "numerical"}},
            {"code": "E_INVALID_FIELD_TYPE", "field": "cost-type/cost-metric"},
        ),
        (
            {"cost-type": {"cost-metric": "routingcost", "cost-mode": "foo"}},
            {"code": "E_INVALID_FIELD_VALUE", "field": "cost-type/cost-mode", "value": "foo"},
        ),
        (
            {"cost-type": {"cost-metric": "\ud800", "cost-mode": "numerical"}},
            {"code": "E_INVALID_FIELD_VALUE", "field": "cost-type/cost-metric", "value": "?"},
        ),
        (
            {"cost-type": ROUTINGCOST_JSON, "pids": []},
            {"code": "E_INVALID_FIELD_TYPE", "field": "pids"},
        ),
        (
            {"cost-type": ROUTINGCOST_JSON, "pids": {"dsts": []}},
            {"code": "E_MISSING_FIELD", "field": "pids/srcs"},
        ),
        (
            {"cost-type": ROUTINGCOST_JSON, "pids": {"srcs": [], "dsts": "PID1"}},
            {"code": "E_INVALID_FIELD_TYPE", "field": "pids/dsts"},
        ),
        (
            {"cost-type": ROUTINGCOST_JSON, "pids": {"srcs": ["PID1", 5], "dsts": []}},
            {"code": "E_INVALID_FIELD_VALUE", "field": "pids/srcs", "value": "5"},
        ),
        (
            {"cost-type": ROUTINGCOST_JSON, "constraints": "gt 5"},
            {"code": "E_INVALID_FIELD_TYPE", "field": "constraints"},
        ),
    ],
)
def test_each_error_of_section_8_5_2(body: Any, expected: dict[str, str]) -> None:
    refused = error(WORLD, "filtered-costmap", body)
    refused.pop("syntax-error", None)
    assert refused == expected


def test_a_syntax_error_tells_its_position() -> None:
    assert "line 2 column" in error(WORLD, "filtered-networkmap", b'{"pids":\n]')["syntax-error"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"code": "E_MISSING_FIELD", "field": "pids"}),
        ({"pids": None}, {"code": "E_INVALID_FIELD_TYPE", "field": "pids"}),
        ({"pids": [["PID1"]]}, {"code": "E_INVALID_FIELD_VALUE", "field": "pids", "value": '["PID1"]'}),
        ({"pids": [], "address-types": {}}, {"code": "E_INVALID_FIELD_TYPE", "field": "address-types"}),
        (
            {"pids": [], "address-types": [None]},
            {"code": "E_INVALID_FIELD_VALUE", "field": "address-types", "value": "null"},
        ),
    ],
)
def test_errors_of_the_filtered_network_map(body: Any, expected: dict[str, str]) -> None:
    assert error(WORLD, "filtered-networkmap", body) == expected


def test_the_directory_has_what_section_9_2_demands() -> None:
    entries = documents.entries(WORLD)
    document = documents.directory("http://h:8", WORLD, entries)
    shown = json.loads(document.body)
    assert document.media_type == "application/alto-directory+json"
    assert shown["meta"]["default-alto-network-map"] == MAP_ID
    assert shown["meta"]["cost-types"] == {
        "num-routingcost": {**ROUTINGCOST_JSON, "description": "for people"},
        "num-hopcount": {**HOPCOUNT_JSON, "cost-context": {"cost-source": "nominal"}},
    }
    assert shown["resources"][MAP_ID] == {
        "uri": "http://h:8/networkmap",
        "media-type": "application/alto-networkmap+json",
    }
    assert shown["resources"]["costmap-num-routingcost"] == {
        "uri": "http://h:8/costmap/num-routingcost",
        "media-type": "application/alto-costmap+json",
        "capabilities": {"cost-type-names": ["num-routingcost"]},
        "uses": [MAP_ID],
    }
    assert shown["resources"]["endpointprop"]["capabilities"] == {"prop-types": [f"{MAP_ID}.pid"]}
    assert "uses" not in shown["resources"]["endpointcost"]
    assert {name for entry in entries for name in entry.uses} <= set(shown["resources"])


def test_ids_and_paths_are_unique_and_fit_section_10_2_whatever_the_maps_are_called() -> None:
    long = "m" * 64
    world = WORLD
    for id in (long, "m" * 63 + "2", "filtered-costmap", f"{'m' * 63}:", "endpointcost"):
        world = with_second_map(world, id, {"all": ["0.0.0.0/0", "::/0"]}, np.zeros((1, 1)))
    entries = documents.entries(world)
    ids = [entry.id for entry in entries]
    assert len(set(ids)) == len(ids)
    assert all(len(id) <= 64 for id in ids)
    assert len({entry.path for entry in entries}) == len(entries)
    assert {network_map.id for network_map in world.network_maps} <= set(ids)
    assert ids == [entry.id for entry in documents.entries(world)]


def test_every_network_map_has_its_own_cost_maps_of_the_costs_that_it_has() -> None:
    world = with_second_map(
        WORLD, "coarse", {"all": ["0.0.0.0/0"], "six": ["::/0"]}, np.array([[1.0, 2.0], [3.0, 4.0]])
    )
    shown = get(world, "coarse:costmap-num-routingcost")
    assert shown["meta"]["dependent-vtags"][0]["resource-id"] == "coarse"
    assert shown["cost-map"] == {"all": {"all": 1, "six": 2}, "six": {"all": 3, "six": 4}}
    assert "coarse:costmap-num-hopcount" not in [entry.id for entry in documents.entries(world)]
    maps = [
        (entry.uses, tuple(entry.capabilities["cost-type-names"]))
        for entry in documents.entries(world)
        if entry.answers == "application/alto-costmap+json" and not entry.accepts
    ]
    assert len(set(maps)) == len(maps) == 3
    body = {"cost-type": HOPCOUNT_JSON}
    assert error(world, "coarse:filtered-costmap", body)["value"] == "hopcount"


def test_the_ordinal_map_is_a_map_of_its_own() -> None:
    world = published(costs=[(ROUTINGCOST, RFC_COSTS), (RANKED, [[1, 2, 3], [2, 1, 4], [5, 4, NAN]])])
    assert get(world, "costmap-ord-routingcost")["meta"]["cost-type"] == RANKED_JSON
    body = {"cost-type": RANKED_JSON, "pids": {"srcs": ["PID3"], "dsts": []}}
    assert post(world, "filtered-costmap", body)["cost-map"] == {"PID3": {"PID1": 5, "PID2": 4}}
