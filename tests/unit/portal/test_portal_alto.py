"""ALTO documents of others are read or refused, and ours read back."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from alto_worlds import NAN, ROUTINGCOST, get, published

from testbed.portal.alto import documents
from testbed.portal.alto.reading import AltoError, read_cost_map, read_directory, read_network_map
from testbed.portal.prefixes import PrefixTable

# RFC 7285 sections 9.2.3 (shortened), 11.2.1.7 and 11.2.3.7.
RFC_DIRECTORY: dict[str, Any] = {
    "meta": {
        "cost-types": {
            "num-routing": {
                "cost-mode": "numerical",
                "cost-metric": "routingcost",
                "description": "My default",
            },
            "num-hop": {"cost-mode": "numerical", "cost-metric": "hopcount"},
            "ord-routing": {"cost-mode": "ordinal", "cost-metric": "routingcost"},
        },
        "default-alto-network-map": "my-default-network-map",
    },
    "resources": {
        "my-default-network-map": {
            "uri": "http://alto.example.com/networkmap",
            "media-type": "application/alto-networkmap+json",
        },
        "filtered-cost-map": {
            "uri": "http://alto.example.com/costmap/filtered",
            "media-type": "application/alto-costmap+json",
            "accepts": "application/alto-costmapfilter+json",
            "capabilities": {"cost-type-names": ["num-routing"]},
            "uses": ["my-default-network-map"],
        },
        "numerical-hopcount-cost-map": {
            "uri": "http://alto.example.com/costmap/num/hopcount",
            "media-type": "application/alto-costmap+json",
            "capabilities": {"cost-type-names": ["num-hop"]},
            "uses": ["my-default-network-map"],
        },
        "numerical-routing-cost-map": {
            "uri": "http://alto.example.com/costmap/num/routingcost",
            "media-type": "application/alto-costmap+json",
            "capabilities": {"cost-type-names": ["num-routing"]},
            "uses": ["my-default-network-map"],
        },
    },
}
RFC_NETWORK_MAP: dict[str, Any] = {
    "meta": {
        "vtag": {"resource-id": "my-default-network-map", "tag": "da65eca2eb7a10ce8b059740b0b2e3f8eb1d4785"}
    },
    "network-map": {
        "PID1": {"ipv4": ["192.0.2.0/24", "198.51.100.0/25"]},
        "PID2": {"ipv4": ["198.51.100.128/25"]},
        "PID3": {"ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"]},
    },
}
RFC_COST_MAP: dict[str, Any] = {
    "meta": {
        "dependent-vtags": [
            {"resource-id": "my-default-network-map", "tag": "3ee2cb7e8d63d9fab71b9b34cbf764436315542e"}
        ],
        "cost-type": {"cost-mode": "numerical", "cost-metric": "routingcost"},
    },
    "cost-map": {
        "PID1": {"PID1": 1, "PID2": 5, "PID3": 10},
        "PID2": {"PID1": 5, "PID2": 1, "PID3": 15},
        "PID3": {"PID1": 20, "PID2": 15},
    },
}


def changed(document: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    """A copy of `document` in which the field at `path` has another value."""
    copied = copy.deepcopy(document)
    place: Any = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copied


def test_the_rfc_network_map_gives_every_address_its_longest_prefix() -> None:
    pids = read_network_map(RFC_NETWORK_MAP).pids
    assert pids.lookup("192.0.2.1") == "PID1"
    assert pids.lookup("198.51.100.127") == "PID1"
    assert pids.lookup("198.51.100.128") == "PID2"
    assert pids.lookup("203.0.113.1") == "PID3"
    assert pids.lookup("2001:db8::1") == "PID3"


def test_the_rfc_cost_map_is_read_with_the_tag_that_it_depends_on() -> None:
    cost_map = read_cost_map(RFC_COST_MAP)
    assert cost_map.network_map_tag == "3ee2cb7e8d63d9fab71b9b34cbf764436315542e"
    assert cost_map.costs["PID2"]["PID3"] == 15
    assert "PID3" not in cost_map.costs["PID3"]


def test_the_directory_leads_to_the_numerical_routingcost_map_and_not_to_a_filtered_one() -> None:
    uris = read_directory(RFC_DIRECTORY, "http://alto.example.com/")
    assert uris.network_map == "http://alto.example.com/networkmap"
    assert uris.cost_map == "http://alto.example.com/costmap/num/routingcost"


def test_relative_uris_count_from_the_directory() -> None:
    relative = changed(RFC_DIRECTORY, "resources", "my-default-network-map", "uri", value="maps/network")
    assert read_directory(relative, "http://h:1/alto/").network_map == "http://h:1/alto/maps/network"


@pytest.mark.parametrize(
    ("read", "document"),
    [
        (read_network_map, []),
        (read_network_map, changed(RFC_NETWORK_MAP, "meta", "vtag", value="tag")),
        (read_network_map, changed(RFC_NETWORK_MAP, "network-map", "PID1", "ipv4", value="192.0.2.0/24")),
        (read_network_map, changed(RFC_NETWORK_MAP, "network-map", "PID1", "ipv4", value=["192.0.2.0/33"])),
        (read_network_map, changed(RFC_NETWORK_MAP, "network-map", "PID1", "ipv4", value=["0.0.0.0/0"])),
        (read_cost_map, changed(RFC_COST_MAP, "cost-map", "PID1", "PID2", value=-1)),
        (read_cost_map, changed(RFC_COST_MAP, "cost-map", "PID1", "PID2", value="5")),
        (read_cost_map, changed(RFC_COST_MAP, "cost-map", "PID1", "PID2", value=float("nan"))),
        (read_cost_map, changed(RFC_COST_MAP, "cost-map", "PID1", "PID2", value=True)),
        (read_cost_map, changed(RFC_COST_MAP, "cost-map", "PID1", value=7)),
        (read_cost_map, changed(RFC_COST_MAP, "meta", "dependent-vtags", value=[])),
        (read_cost_map, changed(RFC_COST_MAP, "meta", "cost-type", "cost-mode", value="ordinal")),
    ],
)
def test_a_wrong_map_is_refused(read: Any, document: Any) -> None:
    with pytest.raises(AltoError):
        read(document)


def test_a_directory_without_what_we_need_is_refused() -> None:
    without = copy.deepcopy(RFC_DIRECTORY)
    del without["resources"]["numerical-routing-cost-map"]
    with pytest.raises(AltoError, match="no numerical routingcost map"):
        read_directory(without, "http://h/")


def test_what_we_publish_reads_back() -> None:
    world = published(
        {"a": ["10.1.0.0/24"], "x": ["0.0.0.0/0", "::/0"]}, [(ROUTINGCOST, [[0, 7.5], [NAN, NAN]])]
    )
    directory = documents.directory("http://10.0.0.1:8080", world, documents.entries(world))
    uris = read_directory(json.loads(directory.body), "http://10.0.0.1:8080/")
    assert uris.network_map == "http://10.0.0.1:8080/networkmap"
    assert uris.cost_map == "http://10.0.0.1:8080/costmap/num-routingcost"
    network_map = read_network_map(get(world, "my-default-network-map"))
    cost_map = read_cost_map(get(world, "costmap-num-routingcost"))
    assert [network_map.pids.lookup(address) for address in ("10.1.0.7", "8.8.8.8", "fe80::1")] == [
        "a",
        "x",
        "x",
    ]
    assert cost_map.network_map_tag == network_map.tag == world.network_maps[0].tag
    assert cost_map.costs == {"a": {"a": 0.0, "x": 7.5}}


def test_a_table_without_a_default_knows_nothing_of_other_addresses() -> None:
    table = PrefixTable([("10.0.0.0/8", "wide"), ("10.1.0.0/16", "narrow"), ("10.1.1.1/32", "host")])
    addresses = ("10.1.1.1", "10.1.1.2", "10.2.0.0", "11.0.0.0", "::a01:101")
    assert [table.lookup(address) for address in addresses] == ["host", "narrow", "wide", None, None]
