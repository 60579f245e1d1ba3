"""RFC 8896 against a portal whose costs follow the time of day: arrays of costs, one for each interval."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import alto_examples as rfc
import pytest
from real_portal import Portal, Reply

COST = rfc.ROUTINGCOST
HOPS = {"cost-mode": "numerical", "cost-metric": "hopcount"}
FACTORS = [1, 0.5, 0.5, 2]


def ask(full: Portal, **request: Any) -> Reply:
    body = {key.replace("_", "-"): value for key, value in request.items()}
    return full.ask(full.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER, "networkmap"), body)


def services(full: Portal) -> list[Any]:
    return [
        *full.entries(rfc.COST_MAP, rfc.COST_MAP_FILTER).values(),
        full.entry(rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS),
    ]


def test_4_1_the_directory_says_which_cost_types_have_a_calendar(full: Portal) -> None:
    for entry in services(full):
        (attributes,) = entry["capabilities"]["calendar-attributes"]
        assert set(attributes["cost-type-names"]) <= set(entry["capabilities"]["cost-type-names"])
        assert "num-routingcost" in attributes["cost-type-names"]
        assert attributes["time-interval-size"] == 86400 / len(FACTORS)
        assert attributes["number-of-intervals"] == len(FACTORS)


def test_5_1_2_a_calendar_has_a_cost_for_each_interval(full: Portal) -> None:
    document = ask(
        full, cost_type=COST, calendared=[True], pids={"srcs": ["north"], "dsts": ["south"]}
    ).document
    (attributes,) = document["meta"]["calendar-response-attributes"]
    start = parsedate_to_datetime(attributes["calendar-start-time"])
    first = start.hour * 3600 // attributes["time-interval-size"]
    plain = full.document("costmap-num-routingcost")["cost-map"]["north"]["south"]
    expected = [plain * factor for factor in (FACTORS * 2)[first : first + len(FACTORS)]]
    assert document["cost-map"]["north"]["south"] == pytest.approx(expected)


def test_5_1_2_the_answer_says_when_the_first_interval_began(full: Portal) -> None:
    reply = ask(full, cost_type=COST, calendared=[True])
    (attributes,) = reply.document["meta"]["calendar-response-attributes"]
    start = parsedate_to_datetime(attributes["calendar-start-time"])
    assert attributes["calendar-start-time"].endswith(" GMT")
    now = parsedate_to_datetime(reply.headers["date"])
    assert 0 <= (now - start).total_seconds() < attributes["time-interval-size"] + 5
    assert start.hour * 3600 % attributes["time-interval-size"] == 0
    assert attributes["number-of-intervals"] == len(FACTORS)
    assert attributes["cost-type-names"] == ["num-routingcost"]


@pytest.mark.parametrize("calendared", [{}, {"calendared": [False]}])
def test_5_1_1_who_asks_for_none_gets_one_cost(full: Portal, calendared: Any) -> None:
    document = ask(full, cost_type=COST, **calendared).document
    assert "calendar-response-attributes" not in document["meta"]
    assert document["cost-map"] == full.document("costmap-num-routingcost")["cost-map"]


def test_5_1_1_of_several_cost_types_one_may_be_a_calendar(full: Portal) -> None:
    document = ask(
        full,
        multi_cost_types=[HOPS, COST],
        calendared=[False, True],
        pids={"srcs": ["north"], "dsts": ["south"]},
    ).document
    hops, costs = document["cost-map"]["north"]["south"]
    assert hops == 1
    assert len(costs) == len(FACTORS)


def test_5_1_1_a_cost_type_without_a_calendar_stays_one_cost(full: Portal) -> None:
    document = ask(full, cost_type=HOPS, calendared=[True]).document
    assert all(isinstance(cost, int) for row in document["cost-map"].values() for cost in row.values())


@pytest.mark.parametrize(
    ("calendared", "codes"),
    [
        (True, {"E_INVALID_FIELD_TYPE"}),
        ([1], {"E_INVALID_FIELD_VALUE"}),
        ([True, False], {"E_INVALID_FIELD_VALUE"}),
    ],
)
def test_5_1_1_what_is_no_list_of_as_many_booleans_is_refused(
    full: Portal, calendared: Any, codes: set[str]
) -> None:
    assert ask(full, cost_type=COST, calendared=calendared).code in codes


def test_5_2_endpoint_costs_have_calendars_in_the_same_way(full: Portal) -> None:
    entry = full.entry(rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS)
    ends = {"srcs": ["ipv4:10.1.0.1"], "dsts": ["ipv4:10.2.0.1"]}
    document = full.ask(entry, {"cost-type": COST, "calendared": [True], "endpoints": ends}).document
    assert len(document["endpoint-cost-map"]["ipv4:10.1.0.1"]["ipv4:10.2.0.1"]) == len(FACTORS)
    assert document["meta"]["calendar-response-attributes"]


def test_3_a_portal_without_time_of_day_offers_no_calendar(example: Portal) -> None:
    for entry in services(example):
        assert not entry["capabilities"].get("calendar-attributes")
