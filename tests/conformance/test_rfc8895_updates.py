"""RFC 8895 against a portal that publishes new maps: streams of updates, and their control."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from real_portal import Portal, Reply

from testbed.portal.alto.watching import Event, EventReader, patched

STREAM = "text/event-stream"
PARAMS = "application/alto-updatestreamparams+json"
CONTROL = "application/alto-updatestreamcontrol+json"
PATCH = "application/merge-patch+json"
NETWORK_MAP = "application/alto-networkmap+json"
COST_MAP = "application/alto-costmap+json"
COSTS = "costmap-num-routingcost"


class Stream:
    """An open update stream."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        assert response.status == 200, response.read()
        assert (response.headers["Content-Type"] or "").partition(";")[0] == STREAM
        self._response = response
        self._reader = EventReader()
        self._ready: list[Event] = []

    def event(self) -> Event:
        """The next one. Raises EOFError where the stream has ended."""
        while not self._ready:
            chunk = self._response.read1(65536)
            if not chunk:
                raise EOFError
            self._ready += self._reader.feed(chunk)
        return self._ready.pop(0)

    def control(self) -> Any:
        """The data of the next event, which is a control event."""
        event = self.event()
        assert event.name == CONTROL
        return json.loads(event.data)

    def data(self, media_type: str, substream: str) -> Any:
        """The data of the next event, which is one of this type for this substream."""
        event = self.event()
        assert event.name == f"{media_type},{substream}"
        return json.loads(event.data)


@contextmanager
def stream(portal: Portal, add: dict[str, Any], **more: Any) -> Iterator[Stream]:
    made = http.client.HTTPConnection(*portal.address, timeout=20)
    uri = portal.entry(STREAM, PARAMS)["uri"]
    try:
        made.request("POST", urlsplit(uri).path, json.dumps({"add": add, **more}), {"Content-Type": PARAMS})
        yield Stream(made.getresponse())
    finally:
        made.close()


def control(portal: Portal, uri: str, request: Any) -> Reply:
    return portal.request("POST", uri, json.dumps(request).encode(), {"Content-Type": PARAMS})


@pytest.fixture
def portal(changing: Portal) -> Iterator[Portal]:
    """One whose maps change in the test, and are as they were afterwards."""
    yield changing
    changing.put_faults({})


def test_6_3_the_directory_offers_merge_patches_and_control(full: Portal) -> None:
    entry = full.entry(STREAM, PARAMS)
    assert entry["capabilities"]["support-stream-control"] is True
    assert entry["capabilities"]["incremental-change-media-types"][COSTS] == PATCH


def test_6_4_the_directory_says_what_can_be_watched(full: Portal) -> None:
    assert {"networkmap", COSTS} <= set(full.entry(STREAM, PARAMS)["uses"])


def test_5_3_the_first_event_has_the_control_uri(full: Portal) -> None:
    with stream(full, {"1": {"resource-id": "networkmap"}}) as opened:
        uri = opened.control()["control-uri"]
    assert uri.startswith(full.uri)


def test_7_1_every_stream_has_a_control_uri_of_its_own(full: Portal) -> None:
    add = {"1": {"resource-id": "networkmap"}}
    with stream(full, add) as one, stream(full, add) as other:
        assert one.control() != other.control()


def test_6_7_1_each_resource_begins_whole(full: Portal) -> None:
    with stream(full, {"a-1": {"resource-id": "networkmap"}}) as opened:
        opened.control()
        assert opened.data(NETWORK_MAP, "a-1") == full.document("networkmap")


def test_6_7_1_the_network_map_comes_before_the_cost_map_that_needs_it(full: Portal) -> None:
    add = {"1": {"resource-id": COSTS}, "2": {"resource-id": "networkmap"}}
    with stream(full, add) as opened:
        opened.control()
        network_map = opened.data(NETWORK_MAP, "2")
        cost_map = opened.data(COST_MAP, "1")
    assert cost_map["meta"]["dependent-vtags"] == [network_map["meta"]["vtag"]]


def test_6_5_a_resource_whose_tag_is_current_is_not_sent(full: Portal) -> None:
    tag = full.document("networkmap")["meta"]["vtag"]["tag"]
    add = {"1": {"resource-id": "networkmap", "tag": tag}, "2": {"resource-id": COSTS, "tag": "older"}}
    with stream(full, add) as opened:
        opened.control()
        opened.data(COST_MAP, "2")


def test_6_5_a_resource_with_a_body_is_watched_with_its_input(full: Portal) -> None:
    add = {"1": {"resource-id": "filtered-networkmap", "input": {"pids": ["south"]}}}
    with stream(full, add) as opened:
        opened.control()
        assert set(opened.data(NETWORK_MAP, "1")["network-map"]) == {"south"}


def test_5_2_a_change_comes_as_a_patch_that_makes_the_new_map(portal: Portal) -> None:
    with stream(portal, {"1": {"resource-id": COSTS}}) as opened:
        opened.control()
        before = opened.data(COST_MAP, "1")
        portal.put_faults({"selfish": 3.0})
        after = patched(before, opened.data(PATCH, "1"))
    assert after != before
    assert after == portal.document(COSTS)


def test_6_5_without_incremental_changes_the_whole_map_comes(portal: Portal) -> None:
    add = {"1": {"resource-id": COSTS, "incremental-changes": False}}
    with stream(portal, add) as opened:
        opened.control()
        opened.data(COST_MAP, "1")
        portal.put_faults({"selfish": 3.0})
        assert opened.data(COST_MAP, "1") == portal.document(COSTS)


def test_6_7_1_a_new_network_map_comes_before_the_costs_of_its_pids(portal: Portal) -> None:
    add = {"1": {"resource-id": COSTS}, "2": {"resource-id": "networkmap"}}
    with stream(portal, add) as opened:
        opened.control()
        network_map, cost_map = opened.data(NETWORK_MAP, "2"), opened.data(COST_MAP, "1")
        portal.put_faults({"missing": 1.0})
        documents = {"1": cost_map, "2": network_map}
        order = []
        for _ in range(2):
            event = opened.event()
            kind, _, substream = event.name.partition(",")
            data = json.loads(event.data)
            documents[substream] = patched(documents[substream], data) if kind == PATCH else data
            order.append(substream)
    assert order == ["2", "1"]
    assert documents["2"]["meta"]["vtag"] != network_map["meta"]["vtag"]
    assert documents["1"]["meta"]["dependent-vtags"] == [documents["2"]["meta"]["vtag"]]


def test_7_5_a_resource_is_added_to_a_stream_that_runs(full: Portal) -> None:
    with stream(full, {"1": {"resource-id": "networkmap"}}) as opened:
        uri = opened.control()["control-uri"]
        opened.data(NETWORK_MAP, "1")
        reply = control(full, uri, {"add": {"2": {"resource-id": COSTS}}})
        assert (reply.status, reply.body) == (204, b"")
        assert opened.control() == {"started": ["2"]}
        opened.data(COST_MAP, "2")


def test_7_5_a_resource_is_taken_away(portal: Portal) -> None:
    add = {"1": {"resource-id": "costmap-ord-routingcost"}, "2": {"resource-id": COSTS}}
    with stream(portal, add) as opened:
        uri = opened.control()["control-uri"]
        opened.event(), opened.event()
        assert control(portal, uri, {"remove": ["1"]}).status == 204
        assert opened.control()["stopped"] == ["1"]
        portal.put_faults({"inverted": True})
        assert opened.event().name.endswith(",2")


def test_7_5_an_empty_list_to_remove_ends_the_stream(full: Portal) -> None:
    with stream(full, {"1": {"resource-id": "networkmap"}}) as opened:
        uri = opened.control()["control-uri"]
        opened.data(NETWORK_MAP, "1")
        assert control(full, uri, {"remove": []}).status == 204
        assert opened.control()["stopped"] == ["1"]
        with pytest.raises(EOFError):
            opened.event()
        assert control(full, uri, {"add": {"2": {"resource-id": COSTS}}}).status == 404


def test_7_6_a_stream_that_its_client_closed_is_404(full: Portal) -> None:
    with stream(full, {"1": {"resource-id": "networkmap"}}) as opened:
        uri = opened.control()["control-uri"]
        opened.data(NETWORK_MAP, "1")
    for _ in range(200):
        if control(full, uri, {"add": {"2": {"resource-id": COSTS}}}).status == 404:
            return
    pytest.fail("the control URI of a closed stream still answers")


def test_7_6_a_control_uri_that_never_was_is_404(full: Portal) -> None:
    with stream(full, {"1": {"resource-id": "networkmap"}}) as opened:
        uri = opened.control()["control-uri"]
    guessed = re.sub(r"[^/]+$", "0" * 22, uri)
    assert control(full, guessed, {"remove": []}).status == 404


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, "E_MISSING_FIELD"),
        ({"add": {"1": {"resource-id": COSTS}}}, "E_INVALID_FIELD_VALUE"),
        ({"add": {"2": {"resource-id": "no-such"}}}, "E_INVALID_FIELD_VALUE"),
        ({"remove": ["7"]}, "E_INVALID_FIELD_VALUE"),
        ({"remove": "1"}, "E_INVALID_FIELD_TYPE"),
        ({"remove": [1]}, "E_INVALID_FIELD_VALUE"),
    ],
)
def test_7_6_a_wrong_request_for_control_changes_nothing(full: Portal, request_: Any, code: str) -> None:
    with stream(full, {"1": {"resource-id": "networkmap"}}) as opened:
        uri = opened.control()["control-uri"]
        opened.data(NETWORK_MAP, "1")
        reply = control(full, uri, request_)
        assert (reply.status, reply.code) == (400, code)
        assert control(full, uri, {"add": {"9": {"resource-id": COSTS}}}).status == 204
        assert opened.control() == {"started": ["9"]}


@pytest.mark.parametrize(
    ("add", "code"),
    [
        ({}, "E_MISSING_FIELD"),
        ({"1": {"resource-id": "no-such"}}, "E_INVALID_FIELD_VALUE"),
        ({"1": {"resource-id": "filtered-networkmap"}}, "E_MISSING_FIELD"),
        ({"1": {"resource-id": "filtered-networkmap", "input": []}}, "E_INVALID_FIELD_TYPE"),
        ({"1": {"resource-id": "filtered-networkmap", "input": {"pids": 5}}}, "E_INVALID_FIELD_TYPE"),
        ({"1": {"resource-id": COSTS, "incremental-changes": "yes"}}, "E_INVALID_FIELD_TYPE"),
        ({"a,b": {"resource-id": COSTS}}, "E_INVALID_FIELD_VALUE"),
        ({"a\nevent: x": {"resource-id": COSTS}}, "E_INVALID_FIELD_VALUE"),
    ],
)
def test_6_5_a_wrong_request_begins_no_stream(full: Portal, add: Any, code: str) -> None:
    reply = full.ask(full.entry(STREAM, PARAMS), {"add": add})
    assert reply.status == 400
    assert reply.media_type == "application/alto-error+json"
    assert reply.code == code
