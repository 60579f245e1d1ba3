"""RFC 9240 against a portal: property maps of entities, whole and filtered."""

from __future__ import annotations

from typing import Any

import pytest
from real_portal import Portal

PROPERTY_MAP = "application/alto-propmap+json"
PARAMS = "application/alto-propmapparams+json"
PID = "networkmap.pid"


def ask(full: Portal, entities: list[Any], properties: list[Any] | None = None) -> Any:
    body = {"entities": entities, **({} if properties is None else {"properties": properties})}
    reply = full.ask(full.entry(PROPERTY_MAP, PARAMS), body)
    assert (reply.status, reply.media_type) == (200, PROPERTY_MAP), reply
    return reply.document


def refused(full: Portal, body: Any) -> tuple[str, Any, Any]:
    return full.ask(full.entry(PROPERTY_MAP, PARAMS), body).error


def test_7_2_the_whole_map_comes_with_get_and_its_media_type(full: Portal) -> None:
    reply = full.get(full.entry(PROPERTY_MAP)["uri"])
    assert (reply.status, reply.media_type) == (200, PROPERTY_MAP)


def test_7_4_the_directory_says_which_properties_which_domain_has(full: Portal) -> None:
    for entry in (full.entry(PROPERTY_MAP), full.entry(PROPERTY_MAP, PARAMS)):
        mappings = entry["capabilities"]["mappings"]
        assert {"ipv4", "ipv6"} <= set(mappings)
        assert PID in mappings["ipv4"]
        assert "networkmap" in entry["uses"]


def test_7_6_only_entities_and_properties_that_were_announced_are_there(full: Portal) -> None:
    entry = full.entry(PROPERTY_MAP)
    mappings = entry["capabilities"]["mappings"]
    for entity, properties in full.get(entry["uri"]).document["property-map"].items():
        domain = entity.partition(":")[0]
        assert set(properties) <= set(mappings[domain])


def test_7_6_the_version_tags_of_the_network_maps_are_there(full: Portal) -> None:
    tags = [full.document(name)["meta"]["vtag"] for name in ("networkmap", "coarse-1")]
    for document in (full.get(full.entry(PROPERTY_MAP)["uri"]).document, ask(full, ["ipv4:10.1.0.1"])):
        found = document["meta"]["dependent-vtags"]
        assert sorted(found, key=lambda tag: tag["resource-id"]) == sorted(
            tags, key=lambda tag: tag["resource-id"]
        )


def test_7_6_the_blocks_of_the_network_map_have_its_pids(full: Portal) -> None:
    found = full.get(full.entry(PROPERTY_MAP)["uri"]).document["property-map"]
    for pid, group in full.document("networkmap")["network-map"].items():
        for kind, prefixes in group.items():
            for prefix in prefixes:
                assert found[f"{kind}:{prefix}"][PID] == pid


@pytest.mark.parametrize(
    ("entity", "pid"),
    [
        ("ipv4:10.1.2.1", "north:inner@1"),
        ("ipv4:10.1.2.0/25", "north:inner@1"),
        ("ipv4:10.1.3.1", "north"),
        ("ipv4:8.8.8.8", "world"),
        ("ipv6:2001:db8:1:2::1", "north:inner@1"),
        ("ipv6:2001:db8:1:2::/65", "north:inner@1"),
    ],
)
def test_3_3_the_longest_block_that_holds_an_entity_hands_its_property_down(
    full: Portal, entity: str, pid: str
) -> None:
    assert ask(full, [entity], [PID])["property-map"] == {entity: {PID: pid}}


def test_8_3_no_properties_or_an_empty_list_are_all_of_them(full: Portal) -> None:
    every = ask(full, ["ipv4:10.1.2.1"])
    assert every == ask(full, ["ipv4:10.1.2.1"], [])
    assert every["property-map"] == {"ipv4:10.1.2.1": {PID: "north:inner@1", "coarse-1.pid": "own"}}


def test_8_6_only_properties_that_were_asked_for_are_there(full: Portal) -> None:
    found = ask(full, ["ipv4:10.1.2.1"], ["coarse-1.pid"])["property-map"]
    assert found == {"ipv4:10.1.2.1": {"coarse-1.pid": "own"}}


def test_8_6_a_block_comes_with_the_blocks_in_it_that_have_other_values(full: Portal) -> None:
    found = ask(full, ["ipv4:10.1.0.0/16"], [PID])["property-map"]
    assert found == {"ipv4:10.1.0.0/16": {PID: "north"}, "ipv4:10.1.2.0/24": {PID: "north:inner@1"}}


def test_8_3_entities_that_are_missing_are_a_missing_field(full: Portal) -> None:
    assert refused(full, {"properties": [PID]}) == ("E_MISSING_FIELD", "entities", None)


@pytest.mark.parametrize(
    "entity",
    [
        "ipv4",
        "ipv4:",
        "ipv4:10.1.0.1/8",
        "ipv4:10.0.0.0/33",
        "ipv6:10.0.0.1",
        "mac48:0",
        ":x",
        "no.such:PID1",
    ],
)
def test_8_6_an_entity_that_is_none_is_a_wrong_value(full: Portal, entity: str) -> None:
    wrong = refused(full, {"entities": ["ipv4:10.1.0.1", entity]})
    assert wrong == ("E_INVALID_FIELD_VALUE", "entities", entity)


@pytest.mark.parametrize("name", ["pid", "no-such.pid", "priv:no-such"])
def test_8_6_a_property_that_is_not_offered_is_a_wrong_value(full: Portal, name: str) -> None:
    wrong = refused(full, {"entities": ["ipv4:10.1.0.1"], "properties": [PID, name]})
    assert wrong == ("E_INVALID_FIELD_VALUE", "properties", name)
