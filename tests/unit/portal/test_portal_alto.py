"""ALTO documents: what we publish has RFC 7285's form, and what others publish is read or refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from testbed.portal.alto import documents as alto
from testbed.portal.alto.reading import AltoError, read_cost_map, read_directory, read_network_map
from testbed.portal.prefixes import PrefixTable
from testbed.portal.pricing import PDistances

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


def test_our_network_map_covers_every_address_and_reads_back() -> None:
    resource = alto.network_map({"a": ["10.1.0.0/24", "2001:db8::/48"], "x": ["10.2.0.0/16"]})
    assert resource.media_type == "application/alto-networkmap+json"
    read = read_network_map(json.loads(resource.body))
    addresses = ("10.1.0.7", "2001:db8::7", "10.2.9.9", "8.8.8.8", "fe80::1")
    assert [read.pids.lookup(address) for address in addresses] == ["a", "a", "x", "world", "world"]
    assert read.tag == resource.tag


def test_a_pid_that_has_everything_itself_needs_no_world() -> None:
    document = json.loads(alto.network_map({"all": ["0.0.0.0/0", "::/0"]}).body)
    assert set(document["network-map"]) == {"all"}


def test_our_cost_map_names_the_network_map_and_leaves_out_what_is_unknown() -> None:
    distances = PDistances(("a", "x"), 1, np.array([[0.0, 7.5], [np.nan, np.nan]]))
    document = json.loads(alto.cost_map(distances, "tag-1").body)
    assert document["cost-map"] == {"a": {"a": 0.0, "x": 7.5}}
    assert document["meta"]["dependent-vtags"] == [{"resource-id": "networkmap", "tag": "tag-1"}]
    assert document["meta"]["cost-type"] == {"cost-mode": "numerical", "cost-metric": "routingcost"}


def test_tags_change_with_the_content_alone_and_have_the_allowed_form() -> None:
    first = alto.network_map({"a": ["10.0.0.0/8"], "b": ["11.0.0.0/8"]}).tag
    assert first == alto.network_map({"b": ["11.0.0.0/8"], "a": ["10.0.0.0/8"]}).tag
    assert first != alto.network_map({"a": ["10.0.0.0/9"], "b": ["11.0.0.0/8"]}).tag
    assert len(first) <= 64
    assert all(0x21 <= ord(character) <= 0x7E for character in first)


def test_our_directory_has_what_section_9_2_demands() -> None:
    document = json.loads(alto.directory("http://10.0.0.1:8080").body)
    assert document["meta"]["default-alto-network-map"] in document["resources"]
    assert len(document["resources"]["costmap-routingcost"]["capabilities"]["cost-type-names"]) == 1
    uris = read_directory(document, "http://10.0.0.1:8080/")
    assert uris.network_map == "http://10.0.0.1:8080/networkmap"
    assert uris.cost_map == "http://10.0.0.1:8080/costmap/routingcost"


def test_a_table_without_a_default_knows_nothing_of_other_addresses() -> None:
    table = PrefixTable([("10.0.0.0/8", "wide"), ("10.1.0.0/16", "narrow"), ("10.1.1.1/32", "host")])
    addresses = ("10.1.1.1", "10.1.1.2", "10.2.0.0", "11.0.0.0", "::a01:101")
    assert [table.lookup(address) for address in addresses] == ["host", "narrow", "wide", None, None]
