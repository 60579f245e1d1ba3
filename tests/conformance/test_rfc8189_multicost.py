"""RFC 8189 against a portal: several costs in one answer, and constraints on them."""

from __future__ import annotations

from typing import Any

import alto_examples as rfc
import pytest
from real_portal import Portal, Reply

COST = rfc.ROUTINGCOST
HOPS = {"cost-mode": "numerical", "cost-metric": "hopcount"}
DELAY = {"cost-mode": "numerical", "cost-metric": "delay-ow"}
RANK = {"cost-mode": "ordinal", "cost-metric": "routingcost"}


def ask(full: Portal, **request: Any) -> Reply:
    body = {key.replace("_", "-"): value for key, value in request.items()}
    return full.ask(full.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER, "networkmap"), body)


def pairs(document: Any) -> dict[tuple[str, str], Any]:
    return {
        (source, target): cost for source, row in document["cost-map"].items() for target, cost in row.items()
    }


def single(full: Portal, kind: Any) -> dict[tuple[str, str], Any]:
    return pairs(ask(full, cost_type=kind).document)


def test_4_1_1_the_directory_says_how_many_cost_types_may_be_asked_for(full: Portal) -> None:
    services = [
        *full.entries(rfc.COST_MAP, rfc.COST_MAP_FILTER).values(),
        full.entry(rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS),
    ]
    for entry in services:
        assert entry["capabilities"]["max-cost-types"] >= 2


@pytest.mark.parametrize("kinds", [[COST, HOPS], [HOPS, RANK, COST], [DELAY]])
def test_4_1_3_costs_are_arrays_in_the_order_asked_for(full: Portal, kinds: list[Any]) -> None:
    document = ask(full, multi_cost_types=kinds).document
    assert "cost-type" not in document["meta"]
    answered = document["meta"]["multi-cost-types"]
    assert [(its["cost-mode"], its["cost-metric"]) for its in answered] == [
        (kind["cost-mode"], kind["cost-metric"]) for kind in kinds
    ]
    alone = [single(full, kind) for kind in kinds]
    found = pairs(document)
    assert set(found) == set().union(*alone)
    for pair, costs in found.items():
        assert costs == [known.get(pair) for known in alone]


def test_4_1_3_a_cost_that_is_not_defined_is_null(full: Portal) -> None:
    """Of what goes on inside a PID there is a cost, and no throughput of a route."""
    throughput = {"cost-mode": "numerical", "cost-metric": "tput"}
    alone = single(full, throughput)
    undefined = {pair for pair in single(full, COST) if pair not in alone}
    assert undefined
    found = pairs(ask(full, multi_cost_types=[throughput, COST]).document)
    assert {pair for pair, (tput, _) in found.items() if tput is None} == undefined


def test_4_1_3_without_multi_cost_types_the_answer_is_that_of_rfc_7285(full: Portal) -> None:
    document = ask(full, cost_type=COST).document
    assert "multi-cost-types" not in document["meta"]
    assert all(isinstance(cost, int | float) for cost in pairs(document).values())


def test_4_1_2_either_one_cost_type_or_several(full: Portal) -> None:
    both = ask(full, cost_type=COST, multi_cost_types=[HOPS])
    assert both.code in ("E_INVALID_FIELD_VALUE", "E_INVALID_FIELD_TYPE", "E_SYNTAX")
    assert ask(full, pids={"srcs": [], "dsts": []}).code == "E_MISSING_FIELD"


def test_4_1_2_more_than_are_allowed_are_refused(full: Portal) -> None:
    entry = full.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER, "networkmap")
    most = entry["capabilities"]["max-cost-types"]
    assert ask(full, multi_cost_types=[COST, HOPS] * most).code == "E_INVALID_FIELD_VALUE"


@pytest.mark.parametrize("kinds", [[], [5], [COST, {**HOPS, "cost-metric": "priv:no"}]])
def test_4_1_2_cost_types_that_are_wrong_are_refused(full: Portal, kinds: list[Any]) -> None:
    assert ask(full, multi_cost_types=kinds).code == "E_INVALID_FIELD_VALUE"


def test_4_1_2_a_constraint_tests_the_cost_type_of_its_index(full: Portal) -> None:
    hops = single(full, HOPS)
    found = pairs(ask(full, multi_cost_types=[COST, HOPS], constraints=["[1] le 1", "[0] ge 0"]).document)
    assert set(found) == {pair for pair in single(full, COST) if pair in hops and hops[pair] <= 1}


def test_4_1_2_with_one_cost_type_a_constraint_needs_no_index(full: Portal) -> None:
    with_index = ask(full, cost_type=COST, constraints=["[0] le 5"]).document
    assert with_index == ask(full, cost_type=COST, constraints=["le 5"]).document


def test_4_1_2_or_constraints_are_ors_of_ands(full: Portal) -> None:
    cost, hops = single(full, COST), single(full, HOPS)
    body = {"multi_cost_types": [COST, HOPS]}
    found = pairs(ask(full, **body, or_constraints=[["[0] le 2"], ["[0] ge 5", "[1] eq 1"]]).document)
    assert set(found) == {
        pair for pair in cost if pair in hops and (cost[pair] <= 2 or (cost[pair] >= 5 and hops[pair] == 1))
    }


def test_4_1_2_testable_cost_types_need_not_be_those_that_are_returned(full: Portal) -> None:
    hops = single(full, HOPS)
    document = ask(full, cost_type=COST, testable_cost_types=[HOPS], constraints=["[0] eq 1"]).document
    assert set(pairs(document)) == {pair for pair in single(full, COST) if hops.get(pair) == 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"constraints": ["[2] le 5"]},
        {"constraints": ["[-1] le 5"]},
        {"constraints": ["[x] le 5"]},
        {"constraints": ["le 5"], "or_constraints": [["le 5"]]},
        {"or_constraints": [["[0] le"]]},
        {"or_constraints": ["[0] le 5"]},
    ],
)
def test_4_1_2_constraints_that_are_none_are_refused(full: Portal, wrong: Any) -> None:
    assert ask(full, multi_cost_types=[COST, HOPS], **wrong).code == "E_INVALID_FIELD_VALUE"


def test_4_2_endpoint_costs_are_arrays_in_the_same_way(full: Portal) -> None:
    entry = full.entry(rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS)
    ends = {"srcs": ["ipv4:10.1.0.1"], "dsts": ["ipv4:10.2.0.1"]}
    document = full.ask(entry, {"multi-cost-types": [HOPS, COST], "endpoints": ends}).document
    expected = [single(full, HOPS)["north", "south"], single(full, COST)["north", "south"]]
    assert document["endpoint-cost-map"] == {"ipv4:10.1.0.1": {"ipv4:10.2.0.1": expected}}
