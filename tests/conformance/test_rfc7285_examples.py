"""RFC 7285's worked examples over HTTP: the same maps give the same content, whatever ids and tags are."""

from __future__ import annotations

from typing import Any

import alto_examples as rfc
import pytest
from real_portal import Portal, portal

DEFAULT = "networkmap"
ORDINAL = {"cost-mode": "ordinal", "cost-metric": "routingcost"}


def costs(portal_: Portal, request: Any) -> Any:
    entry = portal_.entry(rfc.COST_MAP, rfc.COST_MAP_FILTER, DEFAULT)
    reply = portal_.ask(entry, request)
    assert reply.status == 200, reply
    return reply.document


def test_9_2_3_the_directory_has_the_resources_of_the_example(example: Portal) -> None:
    """And those of 9.2.4; but hopcount needs a network that is known, and we delegate nothing."""
    directory = example.directory
    assert directory["meta"]["default-alto-network-map"] == DEFAULT
    kinds = [
        {key: kind[key] for key in ("cost-mode", "cost-metric")}
        for kind in directory["meta"]["cost-types"].values()
    ]
    assert rfc.ROUTINGCOST in kinds
    assert ORDINAL in kinds
    offered = {(entry["media-type"], entry.get("accepts", "")) for entry in directory["resources"].values()}
    wanted = {
        (entry["media-type"], entry.get("accepts", ""))
        for ird in (rfc.ROOT_DIRECTORY, rfc.DELEGATED_DIRECTORY)
        for entry in ird["resources"].values()
    }
    assert wanted - offered == {(rfc.DIRECTORY, "")}


def test_11_2_1_7_the_network_map(example: Portal) -> None:
    document = example.document(DEFAULT)
    assert document["network-map"] == rfc.GROUPS
    assert document["meta"]["vtag"]["resource-id"] == DEFAULT


def test_11_2_3_7_the_cost_map(example: Portal) -> None:
    network_map = example.document(DEFAULT)
    name = next(
        name
        for name, entry in example.entries(rfc.COST_MAP).items()
        if entry["uses"] == [DEFAULT] and entry["capabilities"]["cost-type-names"] == ["num-routingcost"]
    )
    document = example.document(name)
    assert document["cost-map"] == rfc.COSTS
    assert document["meta"]["cost-type"]["cost-mode"] == "numerical"
    assert document["meta"]["cost-type"]["cost-metric"] == "routingcost"
    assert document["meta"]["dependent-vtags"] == [network_map["meta"]["vtag"]]


def test_11_3_1_7_the_filtered_network_map(example: Portal) -> None:
    """The example's own PIDs; the RFC's answer has a prefix that no map may have."""
    entry = example.entry(rfc.NETWORK_MAP, rfc.NETWORK_MAP_FILTER, DEFAULT)
    document = example.ask(entry, {"pids": ["PID1", "PID2"]}).document
    assert document == {
        "meta": example.document(DEFAULT)["meta"],
        "network-map": {pid: rfc.GROUPS[pid] for pid in ("PID1", "PID2")},
    }


def test_11_3_2_7_the_filtered_cost_map(example: Portal) -> None:
    """The example's request; its answer is that of other costs than the full map of section 11.2.3.7."""
    request = {
        "cost-type": {"cost-mode": "numerical", "cost-metric": "routingcost"},
        "pids": {"srcs": ["PID1"], "dsts": ["PID1", "PID2", "PID3"]},
    }
    assert costs(example, request)["cost-map"] == {"PID1": rfc.COSTS["PID1"]}


def test_11_3_2_7_with_the_costs_of_that_example(tmp_path_factory: pytest.TempPathFactory) -> None:
    pids = [{"pid": pid, "prefixes": group["ipv4"]} for pid, group in rfc.GROUPS.items()]
    config = {"isp": "example", "pids": pids, "costs": rfc.FILTERED_COSTS}
    with portal(config, tmp_path_factory.mktemp("filtered")) as found:
        request = {
            "cost-type": {"cost-mode": "numerical", "cost-metric": "routingcost"},
            "pids": {"srcs": ["PID1"], "dsts": ["PID1", "PID2", "PID3"]},
        }
        assert costs(found, request)["cost-map"] == rfc.FILTERED_COSTS


def test_11_4_1_7_the_endpoint_properties(example: Portal) -> None:
    """Without the private property, which is the example's own."""
    entry = example.entry(rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS)
    pid = f"{DEFAULT}.pid"
    request = {"properties": [pid], "endpoints": list(rfc.ENDPOINT_PROPERTIES)}
    document = example.ask(entry, request).document
    assert document["endpoint-properties"] == {
        end: {pid: values[f"{rfc.MAP_ID}.pid"]} for end, values in rfc.ENDPOINT_PROPERTIES.items()
    }
    assert document["meta"]["dependent-vtags"] == [example.document(DEFAULT)["meta"]["vtag"]]


def test_11_5_1_7_the_endpoint_costs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its three destinations are in three PIDs, which they are not in the map of section 11.2.1.7."""
    prefixes = {"near": "192.0.2.0/24", "middle": "198.51.100.0/24", "far": "203.0.113.0/24"}
    config = {
        "isp": "example",
        "pids": [{"pid": pid, "prefixes": [prefix]} for pid, prefix in prefixes.items()],
        "costs": {"near": {"near": 1, "middle": 5, "far": 10}},
    }
    with portal(config, tmp_path_factory.mktemp("endpoints")) as found:
        entry = found.entry(rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS)
        document = found.ask(entry, rfc.ENDPOINT_COST_REQUEST).document
    assert document["endpoint-cost-map"] == rfc.ENDPOINT_COSTS
    assert {key: document["meta"]["cost-type"][key] for key in ORDINAL} == ORDINAL


def test_11_2_2_the_longest_prefix_is_meant(tmp_path_factory: pytest.TempPathFactory) -> None:
    pids = [
        {"pid": pid, "prefixes": [prefix for prefixes in group.values() for prefix in prefixes]}
        for pid, group in rfc.LONGEST_MATCH_GROUPS.items()
    ]
    config = {"isp": "example", "pids": pids, "costs": {"PID1": {"PID1": 1}}}
    with portal(config, tmp_path_factory.mktemp("longest")) as found:
        assert found.document(DEFAULT)["network-map"] == rfc.LONGEST_MATCH_GROUPS
        entry = found.entry(rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS)
        request = {"properties": [f"{DEFAULT}.pid"], "endpoints": ["ipv4:192.0.2.1"]}
        answer = found.ask(entry, request).document["endpoint-properties"]
        assert answer == {"ipv4:192.0.2.1": {f"{DEFAULT}.pid": "PID3"}}
