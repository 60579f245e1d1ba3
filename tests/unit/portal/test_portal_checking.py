"""The checker of ALTO documents: the RFC's own examples pass, each broken rule is found with its section."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import alto_examples as rfc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.alto import checking
from testbed.portal.alto.checking import Finding
from testbed.portal.alto.reading import (
    AltoError,
    Closure,
    CostKind,
    Resource,
    pid_table,
    prefixes_of,
    read_entries,
    read_json,
    typed_address,
)

ROOT_URI = "http://alto.example.com/directory"
ROOT = read_entries(rfc.ROOT_DIRECTORY, ROOT_URI)
DELEGATED = read_entries(rfc.DELEGATED_DIRECTORY, "http://custom.alto.example.com/maps")
RESOURCES = Closure.of([ROOT, DELEGATED]).resources
THE_MAP = RESOURCES[rfc.MAP_ID]
THE_COSTS = RESOURCES["numerical-routing-cost-map"]

Change = Callable[[Any], object]


def sections(findings: Any) -> set[str]:
    return {finding.section for finding in findings if finding.must}


def changed(document: Any, change: Change) -> Any:
    document = copy.deepcopy(document)
    change(document)
    return document


def test_a_directory_and_the_one_that_it_delegates_to_make_one_closure() -> None:
    assert [entry.id for entry in ROOT.delegated] == ["custom-maps-resources"]
    assert RESOURCES["filtered-cost-map"].uri == "http://custom.alto.example.com/costmap/filtered"
    assert RESOURCES["numerical-hopcount-cost-map"].cost_types == {
        "num-hop": CostKind("numerical", "hopcount")
    }
    network_map, cost_map = Closure.of([ROOT, DELEGATED]).default_maps()
    assert network_map is not None
    assert cost_map is not None
    assert (network_map.id, cost_map.id) == (rfc.MAP_ID, "numerical-routing-cost-map")


def test_the_examples_of_the_rfc_break_no_rule() -> None:
    found = [
        *checking.check_directory(rfc.ROOT_DIRECTORY, "directory", root=True),
        *checking.check_directory(rfc.DELEGATED_DIRECTORY, "maps", root=False),
        *checking.check_closure([ROOT, DELEGATED]),
        *checking.check_network_map(rfc.NETWORK_MAP_DOCUMENT, THE_MAP),
        *checking.check_cost_map(rfc.cost_map(rfc.COSTS), THE_COSTS, rfc.NETWORK_MAP_DOCUMENT),
        *checking.check_endpoint_costs(
            {
                "meta": {"cost-type": rfc.COST_TYPES["ord-routing"]},
                "endpoint-cost-map": rfc.ENDPOINT_COSTS,
            },
            RESOURCES["endpoint-cost"],
        ),
        *checking.check_endpoint_properties(
            {
                "meta": {"dependent-vtags": [{"resource-id": rfc.MAP_ID, "tag": rfc.TAG}]},
                "endpoint-properties": rfc.ENDPOINT_PROPERTIES,
            },
            RESOURCES["endpoint-property"],
            {end: [f"{rfc.MAP_ID}.pid", "priv:ietf-example-prop"] for end in rfc.ENDPOINT_PROPERTIES},
            {rfc.MAP_ID: rfc.NETWORK_MAP_DOCUMENT},
        ),
    ]
    assert found == []


def test_the_odd_prefix_of_11_3_1_7_is_an_overlap_and_not_well_written() -> None:
    document = changed(rfc.NETWORK_MAP_DOCUMENT, lambda it: it.update({"network-map": rfc.FILTERED_GROUPS}))
    found = list(checking.check_network_map(document, THE_MAP, full=rfc.NETWORK_MAP_DOCUMENT))
    assert [(finding.section, finding.must) for finding in found] == [
        ("RFC 7285, 10.4.4.1", False),
        ("RFC 7285, 11.2.2", True),
    ]


def of_map(section: str, change: Change) -> Any:
    return pytest.param(section, change, id=section)


def groups(document: Any) -> Any:
    return document["network-map"]


@pytest.mark.parametrize(
    ("section", "change"),
    [
        of_map("8.4", lambda it: it.pop("meta")),
        of_map("11.2.1.6", lambda it: it.pop("network-map")),
        of_map("11.2.1.6", lambda it: it["meta"].pop("vtag")),
        of_map("11.2.1.6", lambda it: it["meta"]["vtag"].update({"resource-id": "another"})),
        of_map("11.2.1.6", lambda it: groups(it).update(PID1=[])),
        of_map("10.3", lambda it: it["meta"]["vtag"].update(tag="with a blank")),
        of_map("10.3", lambda it: it["meta"]["vtag"].update(tag="x" * 65)),
        of_map("10.3", lambda it: it["meta"]["vtag"].pop("tag")),
        of_map("10.1", lambda it: groups(it).update({"PID.4": {}})),
        of_map("10.1", lambda it: groups(it).update({"P" * 65: {}})),
        of_map("10.4.2", lambda it: groups(it)["PID1"].update({"ipv4-only": []})),
        of_map("10.4.4", lambda it: groups(it)["PID1"]["ipv4"].append("192.0.2.1")),
        of_map("10.4.4", lambda it: groups(it)["PID1"]["ipv4"].append("2001:db8::/32")),
        of_map("10.4.4", lambda it: groups(it)["PID1"]["ipv4"].append("192.0.2.0/33")),
        of_map("10.4.5", lambda it: groups(it)["PID1"].update(ipv4="192.0.2.0/24")),
        of_map("11.2.2", lambda it: groups(it)["PID2"]["ipv4"].append("192.0.2.0/24")),
        of_map("11.2.2", lambda it: groups(it)["PID3"].update(ipv4=["0.0.0.0/1"])),
        of_map("11.2.2", lambda it: groups(it)["PID3"].update(ipv6=["2001:db8::/32"])),
    ],
)
def test_what_is_wrong_with_a_network_map_is_found(section: str, change: Change) -> None:
    document = changed(rfc.NETWORK_MAP_DOCUMENT, change)
    assert f"RFC 7285, {section}" in sections(checking.check_network_map(document, THE_MAP))


def test_a_map_that_is_complete_without_a_default_prefix_is_complete() -> None:
    document = changed(
        rfc.NETWORK_MAP_DOCUMENT, lambda it: groups(it)["PID3"].update(ipv4=["0.0.0.0/1", "128.0.0.0/1"])
    )
    assert not sections(checking.check_network_map(document, THE_MAP))


@pytest.mark.parametrize(
    ("section", "change"),
    [
        of_map("8.4", lambda it: it.pop("meta")),
        of_map("11.2.3.6", lambda it: it.pop("cost-map")),
        of_map("11.2.3.6", lambda it: it["meta"].pop("dependent-vtags")),
        of_map("11.2.3.6", lambda it: it["meta"]["dependent-vtags"].append(it["meta"]["dependent-vtags"][0])),
        of_map("11.2.3.6", lambda it: it["meta"]["dependent-vtags"][0].update(tag="older")),
        of_map("11.2.3.6", lambda it: it["meta"].pop("cost-type")),
        of_map("11.2.3.6", lambda it: it["meta"]["cost-type"].update({"cost-mode": "ordinal"})),
        of_map("11.2.3.6", lambda it: it["cost-map"]["PID1"].update(PID2="5")),
        of_map("11.2.3.6", lambda it: it["cost-map"]["PID1"].update(PID2=None)),
        of_map("11.2.3.6", lambda it: it["cost-map"].update(PID1=[])),
        of_map("11.2.3", lambda it: it["cost-map"]["PID1"].update(PID9=5)),
        of_map("10.6", lambda it: it["meta"]["cost-type"].update({"cost-metric": "m" * 33})),
        of_map("10.5", lambda it: it["meta"]["cost-type"].update({"cost-mode": 5})),
    ],
)
def test_what_is_wrong_with_a_cost_map_is_found(section: str, change: Change) -> None:
    document = changed(rfc.cost_map(rfc.COSTS), change)
    found = checking.check_cost_map(document, THE_COSTS, rfc.NETWORK_MAP_DOCUMENT)
    assert f"RFC 7285, {section}" in sections(found)


COSTMAP = "numerical-routing-cost-map"


@pytest.mark.parametrize(
    ("section", "change"),
    [
        of_map("8.4", lambda it: it.pop("meta")),
        of_map("9.2.2", lambda it: it.pop("resources")),
        of_map("9.2.2", lambda it: it["meta"].pop("default-alto-network-map")),
        of_map("9.2.2", lambda it: it["meta"].update({"default-alto-network-map": "not-there"})),
        of_map("9.2.2", lambda it: it["resources"][rfc.MAP_ID].update(uri=5)),
        of_map("9.2.2", lambda it: it["resources"]["endpoint-cost"].update(capabilities=[])),
        of_map("9.2.2", lambda it: it["resources"][COSTMAP].update(uses=["not-there"])),
        of_map("10.2", lambda it: it["resources"].update({"a.b": it["resources"].pop("endpoint-cost")})),
        of_map("10.5", lambda it: it["meta"]["cost-types"].update(x={"cost-metric": "hopcount"})),
        of_map(
            "10.6", lambda it: it["meta"]["cost-types"].update(x={"cost-mode": "ordinal", "cost-metric": ""})
        ),
        of_map("10.7", lambda it: it["meta"]["cost-types"]["num-hop"].update(description=5)),
        of_map(
            "10.8",
            lambda it: it["resources"]["endpoint-property"]["capabilities"]["prop-types"].append("a b"),
        ),
        of_map("11.2.3", lambda it: it["resources"].pop(COSTMAP)),
        of_map(
            "11.2.3.4",
            lambda it: it["resources"][COSTMAP]["capabilities"]["cost-type-names"].append("num-hop"),
        ),
        of_map("11.2.3.5", lambda it: it["resources"][COSTMAP].pop("uses")),
        of_map("11.2.3.5", lambda it: it["resources"].update(more=it["resources"][COSTMAP])),
        of_map("11.4.1.4", lambda it: it["resources"].pop("endpoint-property")),
        of_map("11.5.1.5", lambda it: it["resources"]["endpoint-cost"].update(uses=[rfc.MAP_ID])),
    ],
)
def test_what_is_wrong_with_a_directory_is_found(section: str, change: Change) -> None:
    document = changed(rfc.ROOT_DIRECTORY, change)
    found = list(checking.check_directory(document, "directory", root=True))
    if "resources" in document:
        found += checking.check_closure([read_entries(document, ROOT_URI)])
    assert f"RFC 7285, {section}" in sections(found)


def test_an_id_that_two_directories_use_is_found() -> None:
    assert "RFC 7285, 9.1.1" in sections(checking.check_closure([ROOT, ROOT]))


@pytest.mark.parametrize(
    ("capabilities", "section"),
    [
        ({"calendar-attributes": {}}, "RFC 8896, 4.1"),
        ({"calendar-attributes": [{"cost-type-names": ["num-routing"]}]}, "RFC 8896, 4.1"),
        ({"max-cost-types": "2"}, "RFC 8189, 4.1.1"),
        ({"testable-cost-type-names": ["no-such"]}, "RFC 8189, 4.1.1"),
    ],
)
def test_what_is_wrong_with_extensions_in_a_directory_is_found(
    capabilities: dict[str, Any], section: str
) -> None:
    document = changed(
        rfc.DELEGATED_DIRECTORY,
        lambda it: it["resources"]["filtered-cost-map"]["capabilities"].update(capabilities),
    )
    assert sections(checking.check_directory(document, "maps", root=False)) == {section}


CALENDAR = {
    "meta": {
        "cost-type": rfc.ROUTINGCOST,
        "dependent-vtags": [{"resource-id": rfc.MAP_ID, "tag": rfc.TAG}],
        "calendar-response-attributes": [
            {
                "cost-type-names": ["num-routing"],
                "calendar-start-time": "Tue, 01 Jul 2014 00:00:00 GMT",
                "time-interval-size": 7200,
                "number-of-intervals": 2,
            }
        ],
    },
    "cost-map": {"PID1": {"PID2": [1, 2]}},
}


@pytest.mark.parametrize(
    ("change", "section"),
    [
        (lambda it: it["cost-map"]["PID1"].update(PID2=[1, 2, 3]), "RFC 8896, 5.1.2"),
        (lambda it: it["cost-map"]["PID1"].update(PID2=1), "RFC 8896, 5.1.2"),
        (
            lambda it: it["meta"]["calendar-response-attributes"][0].update(
                {"calendar-start-time": "2014-07-01T00:00:00Z"}
            ),
            "RFC 8896, 5.1.2",
        ),
        (
            lambda it: it["meta"]["calendar-response-attributes"][0].update({"number-of-intervals": 0}),
            "RFC 8896, 4.1",
        ),
    ],
)
def test_what_is_wrong_with_a_calendar_is_found(change: Change, section: str) -> None:
    assert not sections(checking.check_cost_map(CALENDAR, THE_COSTS))
    assert sections(checking.check_cost_map(changed(CALENDAR, change), THE_COSTS)) == {section}


def test_costs_of_two_types_are_arrays_of_two() -> None:
    document = changed(
        rfc.cost_map({"PID1": {"PID2": [1, None]}}),
        lambda it: it["meta"].update({"multi-cost-types": [it["meta"].pop("cost-type")] * 2}),
    )
    assert not sections(checking.check_cost_map(document, THE_COSTS))
    document["cost-map"]["PID1"]["PID2"] = [1]
    assert sections(checking.check_cost_map(document, THE_COSTS)) == {"RFC 8189, 4.1.3"}


def wrong_with_error(document: Any, media_type: str = rfc.ERROR, status: int = 400) -> list[Finding]:
    return list(checking.check_error(document, media_type, status, "it"))


@pytest.mark.parametrize(
    ("document", "media_type", "status", "section"),
    [
        ({"meta": {"code": "E_UNKNOWN"}}, rfc.ERROR, 400, "8.5.2"),
        ({"code": "E_SYNTAX"}, rfc.ERROR, 400, "8.5.2"),
        ({"meta": {"code": "E_INVALID_FIELD_VALUE", "value": "x"}}, rfc.ERROR, 400, "8.5.2"),
        ({"meta": {"code": "E_INVALID_FIELD_VALUE", "field": "x", "value": 5}}, rfc.ERROR, 400, "8.5.2"),
        ({"meta": {"code": "E_SYNTAX"}}, "application/json", 400, "8.5.1"),
        ({"meta": {"code": "E_SYNTAX"}}, rfc.ERROR, 200, "8.5"),
    ],
)
def test_what_is_wrong_with_an_error_is_found(
    document: Any, media_type: str, status: int, section: str
) -> None:
    assert sections(wrong_with_error(document, media_type, status)) == {f"RFC 7285, {section}"}


def test_a_good_error_is_good() -> None:
    assert wrong_with_error({"meta": {"code": "E_INVALID_FIELD_VALUE", "field": "a/b", "value": "5"}}) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "meta",
                    "resources",
                    "vtag",
                    "tag",
                    "resource-id",
                    "network-map",
                    "cost-map",
                    "PID1",
                    "ipv4",
                    "cost-type",
                    "cost-types",
                    "cost-mode",
                    "cost-metric",
                    "dependent-vtags",
                    "uri",
                    "media-type",
                    "capabilities",
                    "cost-type-names",
                    "uses",
                    "multi-cost-types",
                    "calendar-response-attributes",
                    "property-map",
                    "endpoint-properties",
                    "endpoint-cost-map",
                    "code",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=24,
)


@settings(deadline=None)
@given(json_values, json_values)
def test_no_document_of_a_server_breaks_the_checker(document: Any, network_map: Any) -> None:
    list(checking.check_directory(document, "directory", root=True))
    for resource in RESOURCES.values():
        list(checking.check_get(document, resource, {rfc.MAP_ID: network_map}))
    list(checking.check_endpoint_costs(document, RESOURCES["endpoint-cost"]))
    list(checking.check_endpoint_properties(document, RESOURCES["endpoint-property"], {"x": ["y.pid"]}, {}))
    list(checking.check_property_map(document, RESOURCES["endpoint-property"]))
    list(checking.check_error(document, rfc.ERROR, 400, "it"))
    try:
        directory = read_entries(document, ROOT_URI)
    except AltoError:
        return
    list(checking.check_closure([directory]))


def test_the_longest_prefix_decides() -> None:
    table = pid_table(prefixes_of(rfc.LONGEST_MATCH_GROUPS))  # RFC 7285, section 11.2.2
    assert table.lookup("192.0.2.1") == "PID3"
    assert table.lookup("198.51.100.1") == "PID2"
    assert table.lookup("2001:db8::1") == "PID0"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"NaN", b'{"a": Infinity}', b"[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(AltoError):
        read_json(body)


@pytest.mark.parametrize(
    ("text", "typed"),
    [("192.0.2.1", "ipv4:192.0.2.1"), ("ipv6:2001:db8::1", "ipv6:2001:db8::1"), ("::1", "ipv6:::1")],
)
def test_an_address_gets_its_type(text: str, typed: str) -> None:
    assert typed_address(text) == typed
    assert checking.is_typed_address(typed)


@pytest.mark.parametrize("text", ["", "x", "192.0.2.0/24", "ipv6:192.0.2.1", "ipv4:", "mac:00:11"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        typed_address(text)


def test_entries_without_uri_are_left_out_and_the_rest_is_read() -> None:
    document = changed(rfc.ROOT_DIRECTORY, lambda it: it["resources"].update(bad={"uri": 5}, worse=None))
    assert read_entries(document, ROOT_URI) == ROOT
    assert isinstance(ROOT.resources[0], Resource)
