"""The extensions of ALTO: several costs (RFC 8189), calendars (RFC 8896), performance metrics (RFC 9439)."""

from __future__ import annotations

import json
import math
import sys
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import pytest
from alto_worlds import (
    CLIENT,
    HOPCOUNT,
    HOPCOUNT_JSON,
    RFC_COSTS,
    ROUTINGCOST,
    ROUTINGCOST_JSON,
    entry,
    error,
    post,
    published,
)

from testbed.portal.alto import encoding, performance
from testbed.portal.alto.model import Calendar, Query, TooMuchWork
from testbed.portal.config import ExternalConfig, LinkConfig, PidConfig, PortalConfig
from testbed.portal.internal import InternalView

HOPCOUNT_SHOWN = {**HOPCOUNT_JSON, "cost-context": {"cost-source": "nominal"}}
WORLD = published()
BOTH = {"multi-cost-types": [HOPCOUNT_JSON, ROUTINGCOST_JSON]}
DAY = Calendar(start_s=0.0, interval_s=21600.0, factors=(1.0, 2.0, 3.0, 0.5))
TIMED = published(calendars={"num-routingcost": DAY})
NOON_AND_A_BIT_S = 20_000 * 86400.0 + 43200 + 7


def costs(body: dict[str, Any]) -> Any:
    return post(WORLD, "filtered-costmap", body)["cost-map"]


def test_several_costs_come_as_arrays_in_the_order_of_the_request_with_null_for_an_unknown_one() -> None:
    answer = post(WORLD, "filtered-costmap", BOTH)
    assert answer["meta"]["multi-cost-types"] == [HOPCOUNT_SHOWN, ROUTINGCOST_JSON]
    assert "cost-type" not in answer["meta"]
    assert answer["cost-map"] == {
        "PID1": {"PID1": [0, 1], "PID2": [2, 5], "PID3": [3, 10]},
        "PID2": {"PID1": [2, 5], "PID2": [0, 1], "PID3": [None, 15]},
        "PID3": {"PID1": [3, 20], "PID2": [4, 15]},
    }


def test_one_cost_type_in_an_array_is_answered_in_an_array() -> None:
    body = {"multi-cost-types": [ROUTINGCOST_JSON], "pids": {"srcs": ["PID1"], "dsts": ["PID2", "PID3"]}}
    assert costs(body) == {"PID1": {"PID2": [5], "PID3": [10]}}


def test_endpoints_have_several_costs_too() -> None:
    body = {**BOTH, "endpoints": {"srcs": ["ipv4:192.0.2.1"], "dsts": ["ipv4:198.51.100.200"]}}
    answer = post(WORLD, "endpointcost", body)
    assert answer["endpoint-cost-map"] == {"ipv4:192.0.2.1": {"ipv4:198.51.100.200": [2, 5]}}
    assert len(answer["meta"]["multi-cost-types"]) == 2


def test_any_combination_of_all_cost_types_is_offered_and_all_can_be_tested() -> None:
    capabilities = entry(WORLD, "filtered-costmap").capabilities
    assert capabilities["max-cost-types"] == 2
    assert capabilities["cost-constraints"] is True
    assert "testable-cost-type-names" not in capabilities


def test_constraints_count_the_requested_types_or_those_named_as_testable() -> None:
    assert costs({**BOTH, "constraints": ["[0] ge 2", "[1] le 5"]}) == {
        "PID1": {"PID2": [2, 5]},
        "PID2": {"PID1": [2, 5]},
    }
    body = {
        "cost-type": ROUTINGCOST_JSON,
        "testable-cost-types": [HOPCOUNT_JSON],
        "constraints": ["[0] ge 3"],
    }
    assert costs(body) == {"PID1": {"PID3": 10}, "PID3": {"PID1": 20, "PID2": 15}}
    # An unknown cost passes no test.
    body["constraints"] = ["[0] ge 0"]
    assert "PID3" not in costs(body)["PID2"]


def test_or_constraints_are_alternatives_of_tests() -> None:
    body = {**BOTH, "or-constraints": [["[1] ge 5", "[1] le 9"], ["[0] eq 0"]]}
    assert costs(body) == {
        "PID1": {"PID1": [0, 1], "PID2": [2, 5]},
        "PID2": {"PID1": [2, 5], "PID2": [0, 1]},
    }


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({**BOTH, "cost-type": ROUTINGCOST_JSON}, "E_INVALID_FIELD_VALUE", "multi-cost-types"),
        ({"multi-cost-types": []}, "E_INVALID_FIELD_VALUE", "multi-cost-types"),
        ({"multi-cost-types": {}}, "E_INVALID_FIELD_TYPE", "multi-cost-types"),
        ({"multi-cost-types": ["x"]}, "E_INVALID_FIELD_VALUE", "multi-cost-types"),
        ({"multi-cost-types": [HOPCOUNT_JSON] * 3}, "E_INVALID_FIELD_VALUE", "multi-cost-types"),
        (
            {"multi-cost-types": [{"cost-mode": "numerical"}]},
            "E_MISSING_FIELD",
            "multi-cost-types/cost-metric",
        ),
        ({**BOTH, "testable-cost-types": []}, "E_INVALID_FIELD_VALUE", "testable-cost-types"),
        ({**BOTH, "constraints": ["[2] ge 0"]}, "E_INVALID_FIELD_VALUE", "constraints"),
        (
            {**BOTH, "constraints": ["[0] ge 0"], "or-constraints": [["[0] ge 0"]]},
            "E_INVALID_FIELD_VALUE",
            "or-constraints",
        ),
        ({**BOTH, "or-constraints": []}, "E_INVALID_FIELD_VALUE", "or-constraints"),
        ({**BOTH, "or-constraints": [[]]}, "E_INVALID_FIELD_VALUE", "or-constraints"),
        ({**BOTH, "or-constraints": ["[0] ge 0"]}, "E_INVALID_FIELD_VALUE", "or-constraints"),
        ({**BOTH, "or-constraints": [["[0] ge 0"] * 501] * 2}, "E_INVALID_FIELD_VALUE", "or-constraints"),
        ({**BOTH, "or-constraints": "[0] ge 0"}, "E_INVALID_FIELD_TYPE", "or-constraints"),
    ],
)
def test_errors_of_several_costs(body: dict[str, Any], code: str, field: str) -> None:
    refused = error(WORLD, "filtered-costmap", body)
    assert (refused["code"], refused["field"]) == (code, field)


def test_a_calendar_is_offered_for_the_cost_that_has_one() -> None:
    assert entry(TIMED, "filtered-costmap").capabilities["calendar-attributes"] == [
        {"cost-type-names": ["num-routingcost"], "time-interval-size": 21600, "number-of-intervals": 4}
    ]
    assert entry(TIMED, "endpointcost").capabilities["calendar-attributes"]
    assert "calendar-attributes" not in entry(WORLD, "filtered-costmap").capabilities


def test_a_calendar_begins_with_the_interval_that_is_now_and_goes_once_around() -> None:
    body = {
        "cost-type": ROUTINGCOST_JSON,
        "calendared": [True],
        "pids": {"srcs": ["PID1"], "dsts": ["PID2"]},
    }
    answer = post(TIMED, "filtered-costmap", body, now_s=NOON_AND_A_BIT_S)
    assert answer["cost-map"] == {"PID1": {"PID2": [15, 2.5, 5, 10]}}
    (attributes,) = answer["meta"]["calendar-response-attributes"]
    start = attributes.pop("calendar-start-time")
    assert start.endswith(" 12:00:00 GMT")
    assert parsedate_to_datetime(start).timestamp() == NOON_AND_A_BIT_S - 7
    assert attributes == {
        "cost-type-names": ["num-routingcost"],
        "time-interval-size": 21600,
        "number-of-intervals": 4,
    }


def test_costs_without_a_calendar_or_that_are_not_asked_for_as_one_stay_single() -> None:
    body = {**BOTH, "calendared": [True, True], "pids": {"srcs": ["PID2"], "dsts": []}}
    answer = post(TIMED, "filtered-costmap", body, now_s=0.0)
    assert answer["cost-map"]["PID2"]["PID1"] == [2, [5, 10, 15, 2.5]]
    assert answer["cost-map"]["PID2"]["PID3"] == [None, [15, 30, 45, 7.5]]
    for plain in ({**BOTH, "calendared": [True, False]}, BOTH):
        answer = post(TIMED, "filtered-costmap", plain)
        assert answer["cost-map"]["PID2"]["PID1"] == [2, 5]
        assert "calendar-response-attributes" not in answer["meta"]


def test_endpoints_have_calendars_too() -> None:
    body = {
        "cost-type": ROUTINGCOST_JSON,
        "calendared": [True],
        "endpoints": {"srcs": ["ipv4:192.0.2.1"], "dsts": ["ipv4:198.51.100.200", "ipv4:203.0.113.1"]},
    }
    answer = post(TIMED, "endpointcost", body, now_s=0.0)
    assert answer["endpoint-cost-map"]["ipv4:192.0.2.1"]["ipv4:198.51.100.200"] == [5, 10, 15, 2.5]


@pytest.mark.parametrize(
    ("calendared", "code"),
    [
        (True, "E_INVALID_FIELD_TYPE"),
        ([], "E_INVALID_FIELD_VALUE"),
        ([True, True], "E_INVALID_FIELD_VALUE"),
        ([1], "E_INVALID_FIELD_VALUE"),
    ],
)
def test_calendared_is_one_boolean_for_each_requested_cost(calendared: Any, code: str) -> None:
    refused = error(TIMED, "filtered-costmap", {"cost-type": ROUTINGCOST_JSON, "calendared": calendared})
    assert (refused["code"], refused["field"]) == (code, "calendared")


def test_calendared_is_an_unknown_field_where_nothing_has_a_calendar() -> None:
    assert costs({"cost-type": ROUTINGCOST_JSON, "calendared": 5})["PID1"]["PID2"] == 5


def test_the_whole_calendar_is_always_answered_and_what_is_longer_is_refused_by_a_field_that_is_there() -> (
    None
):
    count = 40
    calendar = Calendar(0.0, 60.0, (1.0,) * 1440)
    prefixes = {f"p{i}": [f"10.{i}.0.0/16"] for i in range(count)}
    ones = np.ones((count + 1, count + 1))
    world = published(
        prefixes, [(ROUTINGCOST, ones), (HOPCOUNT, ones)], calendars={"num-routingcost": calendar}
    )
    body: dict[str, Any] = {"cost-type": ROUTINGCOST_JSON, "calendared": [True]}
    found = post(world, "filtered-costmap", body)["cost-map"]
    assert {len(costs) for row in found.values() for costs in row.values()} == {1440}
    assert (len(found), len(found["p1"])) == (count + 1, count + 1)

    twice = {"multi-cost-types": [ROUTINGCOST_JSON] * 2, "calendared": [True, True]}
    refused = {"code": "E_INVALID_FIELD_VALUE", "field": "calendared"}
    assert error(world, "filtered-costmap", twice) == refused
    twice["pids"] = {"srcs": [], "dsts": []}
    assert error(world, "filtered-costmap", twice) == {**refused, "field": "pids"}
    many = [f"ipv4:10.{i % count}.0.{i // count}" for i in range(100)]
    ends = {**body, "endpoints": {"srcs": many, "dsts": many}}
    assert error(world, "endpointcost", ends) == {**refused, "field": "endpoints"}


def test_a_calendar_of_costs_beyond_all_numbers_has_the_largest_number() -> None:
    world = published(
        {"a": ["0.0.0.0/0", "::/0"]},
        [(ROUTINGCOST, np.array([[1e308]]))],
        calendars={"num-routingcost": Calendar(0.0, 60.0, (10.0, 1.0))},
    )
    answer = post(world, "filtered-costmap", {"cost-type": ROUTINGCOST_JSON, "calendared": [True]}, now_s=0.0)
    assert answer["cost-map"] == {"a": {"a": [sys.float_info.max, 1e308]}}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_of_json_is_never_written_as_one(value: float) -> None:
    with pytest.raises(ValueError, match="no JSON number"):
        encoding.number(value)


def test_endpoints_that_share_a_pid_are_tested_as_that_pid() -> None:
    rng = np.random.default_rng(5)
    prefixes = {f"p{i}": [f"10.{i}.0.0/16"] for i in range(6)}
    costs = np.round(10 * rng.random((7, 7)), 1)
    costs[2, 3] = np.nan
    world = published(prefixes, [(ROUTINGCOST, costs)])
    ends = [f"ipv4:10.{i}.0.{k}" for k in (1, 2) for i in rng.permutation(6)]
    body = {
        "cost-type": ROUTINGCOST_JSON,
        "or-constraints": [["ge 2", "lt 5"], ["gt 8"]],
        "endpoints": {"srcs": ends, "dsts": ends[3:9]},
    }
    expected: dict[str, dict[str, float]] = {}
    for source in ends:
        for target in ends[3:9]:
            cost = costs[int(source.split(".")[1]), int(target.split(".")[1])]
            if 2 <= cost < 5 or cost > 8:
                expected.setdefault(source, {})[target] = cost
    assert post(world, "endpointcost", body)["endpoint-cost-map"] == expected


def test_tests_count_in_what_one_answer_may_take() -> None:
    count = 400
    prefixes = {f"p{i}": [f"10.{i // 256}.{i % 256}.0/24"] for i in range(count)}
    world = published(prefixes, [(ROUTINGCOST, np.ones((count + 1, count + 1)))])
    tests = ["ge 0"] * 1000
    for field, value in (("constraints", tests), ("or-constraints", [tests])):
        body: dict[str, Any] = {"cost-type": ROUTINGCOST_JSON, field: value}
        assert error(world, "filtered-costmap", body) == {"code": "E_INVALID_FIELD_VALUE", "field": field}
        body["pids"] = {"srcs": ["p1"], "dsts": []}
        assert len(post(world, "filtered-costmap", body)["cost-map"]["p1"]) == count + 1


def test_an_answer_that_is_more_work_than_allowed_is_not_made() -> None:
    few = {"cost-type": ROUTINGCOST_JSON, "pids": {"srcs": ["PID1"], "dsts": ["PID2", "PID3"]}}
    tested = {**few, "constraints": ["ge 0"]}
    asked = entry(WORLD, "filtered-costmap")
    for body, most, fits in ((few, 2, True), (few, 1, False), (tested, 2, False), (tested, 1000, True)):
        query = Query(json.dumps(body).encode(), CLIENT, 0.0, most_work=most)
        if fits:
            assert asked.answer(query).work <= most
        else:
            with pytest.raises(TooMuchWork):
                asked.answer(query)


def test_performance_metrics_are_in_the_units_of_rfc_9439() -> None:
    config = PortalConfig(
        isp="isp",
        listen="127.0.0.1:0",
        pids=(
            PidConfig(pid="a", prefixes=("10.0.0.0/16",)),
            PidConfig(pid="b", prefixes=("10.1.0.0/16",)),
            PidConfig(pid="c", prefixes=("10.2.0.0/16",)),
        ),
        links=(
            LinkConfig(
                id="ab", a="a", b="b", capacity_bps=(8e6, 16e6), delay_s=(0.001, 0.002), loss=(0.1, 0)
            ),
            LinkConfig(id="bc", a="b", b="c", capacity_bps=(4e6, 4e6), delay_s=(0.003, 0.003), loss=(0.5, 0)),
        ),
        external=(
            ExternalConfig(
                pid="x", prefixes=("11.0.0.0/8",), exit="c", hops=3, delay_s=(0.01, 0.01), loss=(1, 0)
            ),
        ),
    )
    view = InternalView.of(config)
    values = performance.matrices(view, view.capacity_bps)
    a, b, c, x = range(4)
    assert set(values) == set(performance.METRICS) == set(performance.COST_TYPES)
    assert (values["hopcount"][a, c], values["hopcount"][a, a], values["hopcount"][a, x]) == (2, 0, 5)
    assert (values["delay-ow"][a, c], values["delay-ow"][c, a], values["delay-ow"][x, b]) == (
        4000,
        5000,
        13000,
    )
    assert (values["tput"][a, b], values["tput"][b, a], values["tput"][a, c]) == (1e6, 2e6, 5e5)
    assert np.isnan(values["tput"][a, a])
    assert np.isnan(values["tput"][a, x])
    assert values["lossrate"][a, c] == pytest.approx(55.0)
    assert values["lossrate"][b, a] == 0
    assert values["lossrate"][a, x] == 100


def test_performance_cost_types_tell_their_source() -> None:
    for metric, kind in performance.COST_TYPES.items():
        assert (kind.metric, kind.mode, kind.name) == (metric, "numerical", f"num-{metric}")
        assert kind.to_json()["cost-context"]["cost-source"] in ("nominal", "sla", "estimation")


def test_the_cost_context_is_told_with_the_answer() -> None:
    world = published(costs=[(ROUTINGCOST, RFC_COSTS), (HOPCOUNT, RFC_COSTS)])
    answer = post(world, "filtered-costmap", {"cost-type": HOPCOUNT_JSON})
    assert answer["meta"]["cost-type"] == HOPCOUNT_SHOWN
