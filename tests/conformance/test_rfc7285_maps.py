"""RFC 7285, sections 9 to 11.3 against a portal: the directory, network maps, cost maps, filtered maps."""

from __future__ import annotations

import ipaddress
import itertools
import math
import re
from typing import Any
from urllib.parse import urljoin

import alto_examples as rfc
import pytest
from real_portal import Portal

RESOURCE_ID = re.compile(r"[A-Za-z0-9\-:@_]{1,64}")
METRIC = re.compile(r"[A-Za-z0-9\-:_]{1,32}")
TAG = re.compile(r"[\x21-\x7e]{1,64}")
NOT_THERE = "no-such-pid"


def network_maps(full: Portal) -> dict[str, Any]:
    return {name: full.document(name) for name in full.entries(rfc.NETWORK_MAP)}


def cost_maps(full: Portal) -> dict[str, Any]:
    return {name: full.document(name) for name in full.entries(rfc.COST_MAP)}


# The directory


def test_9_2_one_directory_is_there_with_get_and_its_media_type(full: Portal) -> None:
    reply = full.get()
    assert (reply.status, reply.media_type) == (200, rfc.DIRECTORY)


def test_9_2_2_a_root_directory_names_its_default_network_map(full: Portal) -> None:
    name = full.directory["meta"]["default-alto-network-map"]
    assert name in full.entries(rfc.NETWORK_MAP)


def test_9_2_2_every_entry_has_uri_and_media_type_and_uses_what_is_there(full: Portal) -> None:
    resources = full.directory["resources"]
    for entry in resources.values():
        assert isinstance(entry["uri"], str)
        assert isinstance(entry["media-type"], str)
        assert set(entry.get("uses", [])) <= set(resources)


def test_9_2_2_what_accepts_nothing_answers_get_and_the_rest_answers_post(full: Portal) -> None:
    for entry in full.directory["resources"].values():
        uri = urljoin(full.uri, entry["uri"])
        if entry.get("accepts"):
            reply = full.request("POST", uri, b"{}", {"Content-Type": entry["accepts"]})
            assert reply.status in (200, 400)
            assert full.get(uri).status == 405
        else:
            assert full.get(uri).status == 200
            assert full.request("POST", uri, b"{}").status == 405


def test_8_3_3_the_answer_says_its_media_type_and_it_is_that_of_the_directory(full: Portal) -> None:
    for entry in full.directory["resources"].values():
        if not entry.get("accepts"):
            assert full.get(entry["uri"]).media_type == entry["media-type"]


def test_10_2_resource_ids_are_64_characters_of_the_allowed_ones(full: Portal) -> None:
    assert all(RESOURCE_ID.fullmatch(name) for name in full.directory["resources"])


def test_10_6_cost_metrics_are_32_characters_of_the_allowed_ones(full: Portal) -> None:
    kinds = full.directory["meta"]["cost-types"]
    assert all(METRIC.fullmatch(kind["cost-metric"]) for kind in kinds.values())


def test_10_5_cost_modes_are_numerical_or_ordinal(full: Portal) -> None:
    kinds = full.directory["meta"]["cost-types"]
    assert {kind["cost-mode"] for kind in kinds.values()} == {"numerical", "ordinal"}


def test_10_7_descriptions_are_text(full: Portal) -> None:
    kinds = full.directory["meta"]["cost-types"].values()
    assert all(isinstance(kind.get("description", ""), str) for kind in kinds)


# Network maps


def test_11_2_1_at_least_one_network_map_is_there(full: Portal) -> None:
    assert full.entries(rfc.NETWORK_MAP)


def test_11_2_1_6_a_network_map_has_its_version_tag(full: Portal) -> None:
    for name, document in network_maps(full).items():
        assert document["meta"]["vtag"]["resource-id"] == name
        assert isinstance(document["meta"]["vtag"]["tag"], str)


def test_10_3_a_tag_is_64_printable_characters_at_most(full: Portal) -> None:
    assert all(TAG.fullmatch(document["meta"]["vtag"]["tag"]) for document in network_maps(full).values())


def test_6_3_maps_of_other_content_have_other_tags(full: Portal, example: Portal) -> None:
    documents = [*network_maps(full).values(), *network_maps(example).values()]
    assert len({document["meta"]["vtag"]["tag"] for document in documents}) == len(documents) == 3


def test_6_3_a_tag_changes_with_the_content_of_its_map_and_with_nothing_else(changing: Portal) -> None:
    def tag_and_costs() -> tuple[str, Any]:
        vtag = changing.document("networkmap")["meta"]["vtag"]
        return vtag["tag"], changing.document("costmap-num-routingcost")["cost-map"]

    try:
        tag, its_costs = tag_and_costs()
        changing.put_faults({"selfish": 5.0})
        same_tag, other_costs = tag_and_costs()
        changing.put_faults({"missing": 1.0})
        other_tag, _ = tag_and_costs()
    finally:
        changing.put_faults({})
    assert (same_tag, other_costs != its_costs) == (tag, True)
    assert other_tag != tag
    assert tag_and_costs() == (tag, its_costs)


def test_11_2_1_6_a_network_map_has_all_pids_also_those_without_addresses(full: Portal) -> None:
    pids = full.document("networkmap")["network-map"]
    assert set(pids) >= {"north", "north:inner@1", "south", "empty_one", "transit", "peer"}
    assert not [prefix for prefixes in pids["empty_one"].values() for prefix in prefixes]


def test_10_1_pid_names_are_64_characters_of_the_allowed_ones(full: Portal) -> None:
    for document in network_maps(full).values():
        assert all(RESOURCE_ID.fullmatch(pid) for pid in document["network-map"])


def test_10_4_prefixes_are_of_their_type_and_well_written(full: Portal) -> None:
    for document in network_maps(full).values():
        for group in document["network-map"].values():
            assert set(group) <= {"ipv4", "ipv6"}
            for kind, prefixes in group.items():
                for prefix in prefixes:
                    network = ipaddress.ip_network(prefix)
                    assert (f"ipv{network.version}", str(network)) == (kind, prefix)


def test_11_2_2_a_network_map_is_complete(full: Portal) -> None:
    for document in network_maps(full).values():
        networks = [
            ipaddress.ip_network(prefix)
            for group in document["network-map"].values()
            for prefixes in group.values()
            for prefix in prefixes
        ]
        for version, everything in ((4, "0.0.0.0/0"), (6, "::/0")):
            its: list[Any] = [network for network in networks if network.version == version]
            assert [str(network) for network in ipaddress.collapse_addresses(its)] == [everything]


def test_11_2_2_a_network_map_does_not_overlap(full: Portal) -> None:
    for document in network_maps(full).values():
        prefixes = [
            prefix
            for group in document["network-map"].values()
            for prefixes in group.values()
            for prefix in prefixes
        ]
        assert len(prefixes) == len(set(prefixes))


# Cost maps


def test_11_2_3_there_is_a_cost_map_of_routingcost(full: Portal) -> None:
    """Of every network map that is published."""
    kinds = full.directory["meta"]["cost-types"]
    of = {
        used
        for entry in full.entries(rfc.COST_MAP).values()
        for used in entry["uses"]
        if kinds[entry["capabilities"]["cost-type-names"][0]]["cost-metric"] == "routingcost"
    }
    assert of == set(full.entries(rfc.NETWORK_MAP))


def test_11_2_3_4_a_cost_map_has_one_cost_type_that_the_directory_defines(full: Portal) -> None:
    for entry in full.entries(rfc.COST_MAP).values():
        assert len(entry["capabilities"]["cost-type-names"]) == 1
        assert entry["capabilities"]["cost-type-names"][0] in full.directory["meta"]["cost-types"]


def test_11_2_3_5_no_two_cost_maps_have_one_cost_type_and_network_map(full: Portal) -> None:
    entries = full.entries(rfc.COST_MAP).values()
    keys = [(*entry["capabilities"]["cost-type-names"], *entry["uses"]) for entry in entries]
    assert len(keys) == len(set(keys))
    assert all(len(key) == 2 for key in keys)


def test_11_2_3_6_a_cost_map_has_the_version_tag_of_its_network_map_alone(full: Portal) -> None:
    maps = network_maps(full)
    for name, document in cost_maps(full).items():
        used = full.directory["resources"][name]["uses"][0]
        assert document["meta"]["dependent-vtags"] == [maps[used]["meta"]["vtag"]]


def test_11_2_3_6_a_cost_map_has_its_cost_type(full: Portal) -> None:
    kinds = full.directory["meta"]["cost-types"]
    for name, document in cost_maps(full).items():
        kind = kinds[full.directory["resources"][name]["capabilities"]["cost-type-names"][0]]
        its = document["meta"]["cost-type"]
        assert (its["cost-mode"], its["cost-metric"]) == (kind["cost-mode"], kind["cost-metric"])


def test_11_2_3_6_costs_are_numbers_between_pids_of_the_network_map(full: Portal) -> None:
    maps = network_maps(full)
    for name, document in cost_maps(full).items():
        pids = set(maps[full.directory["resources"][name]["uses"][0]]["network-map"])
        for source, row in document["cost-map"].items():
            assert {source, *row} <= pids
            for cost in row.values():
                assert isinstance(cost, int | float)
                assert not isinstance(cost, bool)
                assert math.isfinite(cost)


def test_11_2_3_6_every_pair_whose_cost_is_defined_is_there(full: Portal) -> None:
    """All but those of `world`, of which the ISP says nothing."""
    costs = full.document("costmap-num-routingcost")["cost-map"]
    pids = set(full.document("networkmap")["network-map"]) - {"world"}
    own = pids - {"transit", "peer"}
    assert {(source, target) for source in own for target in pids} <= {
        (source, target) for source, row in costs.items() for target in row
    }


def test_6_1_2_2_ordinal_costs_rank_the_numerical_ones(full: Portal) -> None:
    numerical = full.document("costmap-num-routingcost")["cost-map"]
    ordinal = full.document("costmap-ord-routingcost")["cost-map"]
    assert {source: set(row) for source, row in numerical.items()} == {
        source: set(row) for source, row in ordinal.items()
    }
    for source, row in numerical.items():
        ends = sorted(row, key=lambda end: row[end])
        for nearer, farther in itertools.pairwise(ends):
            assert isinstance(ordinal[source][nearer], int)
            same = row[nearer] == row[farther]
            assert ordinal[source][nearer] <= ordinal[source][farther]
            assert same == (ordinal[source][nearer] == ordinal[source][farther])


# Filtered network maps


def filtered(full: Portal, request: Any, uses: str = "networkmap") -> Any:
    reply = full.ask(full.entry(rfc.NETWORK_MAP, rfc.NETWORK_MAP_FILTER, uses), request)
    assert (reply.status, reply.media_type) == (200, rfc.NETWORK_MAP), reply
    return reply.document


def test_11_3_1_3_an_empty_list_of_pids_is_all_of_them(full: Portal) -> None:
    assert filtered(full, {"pids": []}) == full.document("networkmap")


@pytest.mark.parametrize("types", [{}, {"address-types": []}])
def test_11_3_1_3_no_address_types_or_an_empty_list_is_all_types(full: Portal, types: Any) -> None:
    whole = full.document("networkmap")["network-map"]
    assert filtered(full, {"pids": ["north"], **types})["network-map"] == {"north": whole["north"]}


def test_11_3_1_3_what_is_there_twice_counts_once(full: Portal) -> None:
    once = filtered(full, {"pids": ["south", "north"], "address-types": ["ipv4"]})
    again = {"pids": ["south", "north", "south"], "address-types": ["ipv4", "ipv4"]}
    assert filtered(full, again) == once


def test_11_3_1_6_only_pids_that_were_asked_for_are_there(full: Portal) -> None:
    assert set(filtered(full, {"pids": ["south"]})["network-map"]) == {"south"}


def test_11_3_1_6_a_pid_that_does_not_exist_is_as_if_it_was_not_named(full: Portal) -> None:
    assert set(filtered(full, {"pids": ["south", NOT_THERE]})["network-map"]) == {"south"}


def test_11_3_1_6_pids_that_all_do_not_exist_give_no_pid_and_not_all(full: Portal) -> None:
    assert filtered(full, {"pids": [NOT_THERE]})["network-map"] == {}


def test_11_3_1_6_only_address_types_that_were_asked_for_are_there(full: Portal) -> None:
    group = filtered(full, {"pids": ["north"], "address-types": ["ipv6"]})["network-map"]["north"]
    assert {kind for kind, prefixes in group.items() if prefixes} == {"ipv6"}


def test_11_3_1_6_an_address_type_that_is_not_known_is_as_if_it_was_not_named(full: Portal) -> None:
    asked = {"pids": ["north"], "address-types": ["ipv6", "mac48"]}
    assert filtered(full, asked) == filtered(full, {"pids": ["north"], "address-types": ["ipv6"]})


def test_11_3_1_6_address_types_that_are_all_not_known_give_no_address(full: Portal) -> None:
    groups = filtered(full, {"pids": ["north"], "address-types": ["mac48"]})["network-map"]
    assert not [prefixes for group in groups.values() for prefixes in group.values() if prefixes]


def test_11_3_1_6_the_version_tag_is_that_of_the_full_map(full: Portal) -> None:
    for uses in full.entries(rfc.NETWORK_MAP):
        whole = full.document(uses)
        pid = next(iter(whole["network-map"]))
        assert filtered(full, {"pids": [pid]}, uses)["meta"]["vtag"] == whole["meta"]["vtag"]


# Filtered cost maps


def costs(full: Portal, uses: str = "networkmap", **request: Any) -> Any:
    body = {"cost-type": rfc.ROUTINGCOST, **request}
    reply = full.ask(full.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER, uses), body)
    assert (reply.status, reply.media_type) == (200, rfc.COST_MAP), reply
    return reply.document


def refused(full: Portal, **request: Any) -> tuple[str, Any, Any]:
    body = {"cost-type": rfc.ROUTINGCOST, **request}
    return full.ask(full.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER, "networkmap"), body).error


@pytest.mark.parametrize("pids", [{}, {"pids": {"srcs": [], "dsts": []}}])
def test_11_3_2_3_no_pids_or_empty_lists_are_all_pids(full: Portal, pids: Any) -> None:
    assert costs(full, **pids)["cost-map"] == full.document("costmap-num-routingcost")["cost-map"]


def test_11_3_2_3_one_empty_list_is_all_pids_on_that_side(full: Portal) -> None:
    whole = full.document("costmap-num-routingcost")["cost-map"]
    assert costs(full, pids={"srcs": ["north"], "dsts": []})["cost-map"] == {"north": whole["north"]}
    into = costs(full, pids={"srcs": [], "dsts": ["north"]})["cost-map"]
    assert into == {source: {"north": row["north"]} for source, row in whole.items() if "north" in row}


def test_11_3_2_3_pids_that_are_there_twice_count_once(full: Portal) -> None:
    once = costs(full, pids={"srcs": ["north"], "dsts": ["south", "peer"]})
    again = costs(full, pids={"srcs": ["north", "north"], "dsts": ["south", "peer", "south"]})
    assert again == once


def test_11_3_2_3_a_description_is_ignored(full: Portal) -> None:
    kind = {**rfc.ROUTINGCOST, "description": "not that of the server"}
    assert costs(full, **{"cost-type": kind})["cost-map"] == costs(full)["cost-map"]


def test_11_3_2_3_a_cost_type_that_is_not_offered_is_refused(full: Portal) -> None:
    kind = {"cost-mode": "numerical", "cost-metric": "priv:not-there"}
    assert refused(full, **{"cost-type": kind})[0] == "E_INVALID_FIELD_VALUE"
    kind = {"cost-mode": "ordinal", "cost-metric": "hopcount"}
    assert refused(full, **{"cost-type": kind})[0] == "E_INVALID_FIELD_VALUE"


def test_11_3_2_6_only_pairs_that_were_asked_for_are_there(full: Portal) -> None:
    found = costs(full, pids={"srcs": ["north"], "dsts": ["south", "peer"]})["cost-map"]
    assert {source: set(row) for source, row in found.items()} == {"north": {"south", "peer"}}


def test_11_3_2_6_a_pid_that_does_not_exist_is_as_if_it_was_not_named(full: Portal) -> None:
    found = costs(full, pids={"srcs": ["north", NOT_THERE], "dsts": ["south", NOT_THERE]})["cost-map"]
    assert {source: set(row) for source, row in found.items()} == {"north": {"south"}}


def test_11_3_2_6_pids_that_all_do_not_exist_give_no_pair_and_not_all(full: Portal) -> None:
    found = costs(full, pids={"srcs": [NOT_THERE], "dsts": []})["cost-map"]
    assert not [pair for row in found.values() for pair in row]


def test_11_3_2_6_the_version_tag_is_that_of_the_network_map(full: Portal) -> None:
    for uses in full.entries(rfc.NETWORK_MAP):
        vtag = full.document(uses)["meta"]["vtag"]
        assert costs(full, uses)["meta"]["dependent-vtags"] == [vtag]


OPERATORS = {
    "gt": lambda cost, limit: cost > limit,
    "lt": lambda cost, limit: cost < limit,
    "ge": lambda cost, limit: cost >= limit,
    "le": lambda cost, limit: cost <= limit,
    "eq": lambda cost, limit: cost == limit,
}


def test_11_3_2_4_constraints_are_offered(full: Portal) -> None:
    entry = full.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER)
    assert entry["capabilities"]["cost-constraints"] is True


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("limit", ["5", "5.0", "0", "-1", "0.5e1", "7.5"])
def test_11_3_2_6_pairs_that_do_not_meet_a_constraint_are_not_there(
    full: Portal, operator: str, limit: str
) -> None:
    whole = full.document("costmap-num-routingcost")["cost-map"]
    found = costs(full, constraints=[f"{operator} {limit}"])["cost-map"]
    wanted = {
        (source, target): cost
        for source, row in whole.items()
        for target, cost in row.items()
        if OPERATORS[operator](cost, float(limit))
    }
    assert {(source, target): cost for source, row in found.items() for target, cost in row.items()} == wanted


def test_11_3_2_3_several_constraints_must_all_be_met(full: Portal) -> None:
    both = costs(full, constraints=["ge 2", "le 5"])["cost-map"]
    found = {cost for row in both.values() for cost in row.values()}
    assert found
    assert all(2 <= cost <= 5 for cost in found)


@pytest.mark.parametrize(
    "constraint", ["", "5", "ne 5", "le", "le five", "le 5 6", "le nan", "le 0x5", 5, None]
)
def test_11_3_2_3_a_constraint_that_is_none_is_refused(full: Portal, constraint: Any) -> None:
    assert refused(full, constraints=[constraint])[:2] == ("E_INVALID_FIELD_VALUE", "constraints")


def test_11_3_2_a_filtered_map_of_another_network_map_has_its_pids(full: Portal) -> None:
    found = costs(full, "coarse-1", pids={"srcs": ["own"], "dsts": ["peer"]})["cost-map"]
    assert {source: set(row) for source, row in found.items()} == {"own": {"peer"}}
