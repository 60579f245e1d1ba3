"""Update streams from the client's side (RFC 8895): events however they arrive, patches, what is wrong."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import alto_examples as rfc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.alto.reading import Resource
from testbed.portal.alto.watching import Event, EventReader, Watch, patched

CONTROL = "application/alto-updatestreamcontrol+json"
PATCH = "application/merge-patch+json"
RESOURCES = {
    "1": Resource(rfc.MAP_ID, "http://x/networkmap", rfc.NETWORK_MAP),
    "2": Resource("costs", "http://x/costs", rfc.COST_MAP, uses=(rfc.MAP_ID,)),
}
EXAMPLE = (
    b'event: application/alto-updatestreamcontrol+json\ndata: {"control-uri":\ndata: "/1"}\n\n'
    b": keep-alive\n\nevent: application/alto-networkmap+json,1\nid: 5\ndata:{}\n\n\n"
    b"event: without data\n\ndata: \xc3\xa9\n\n"
)
EVENTS = [
    Event(CONTROL, '{"control-uri":\n"/1"}'),
    Event("application/alto-networkmap+json,1", "{}"),
    Event("", "é"),
]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_three_ways(ending: bytes) -> None:
    reader = EventReader()
    found = [*reader.feed(EXAMPLE.replace(b"\n", ending)), *reader.feed(b"\n")]
    assert found == EVENTS
    assert reader.comments == 1


@settings(deadline=None)
@given(st.lists(st.integers(0, len(EXAMPLE)), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_events_are_the_same_however_the_bytes_arrive(cuts: list[int], ending: bytes) -> None:
    stream = EXAMPLE.replace(b"\n", ending)
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    reader = EventReader()
    chunks = [stream[start:end] for start, end in itertools.pairwise(places)]
    assert [event for chunk in chunks for event in reader.feed(chunk)] == EVENTS


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_its_rfc_says(target: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy(target)
    assert patched(target, patch) == result
    assert target == before


def event(name: str, data: Any) -> Event:
    return Event(name, json.dumps(data))


def begun() -> Watch:
    """A watch that has both maps."""
    watch = Watch(RESOURCES, controlled=True)
    for one in (
        event(CONTROL, {"control-uri": "/1"}),
        event(f"{rfc.NETWORK_MAP},1", rfc.NETWORK_MAP_DOCUMENT),
        event(f"{rfc.COST_MAP},2", rfc.cost_map(rfc.COSTS)),
    ):
        assert watch.take(one).findings == ()
    return watch


def test_a_patch_changes_the_document_that_is_kept() -> None:
    watch = begun()
    update = watch.take(event(f"{PATCH},2", {"cost-map": {"PID1": {"PID2": 7, "PID3": None}}}))
    assert (update.kind, update.id, update.changed, update.findings) == ("patch", "2", 2, ())
    assert watch.documents["2"]["cost-map"]["PID1"] == {"PID1": 1, "PID2": 7}
    assert watch.control_uri == "/1"


@pytest.mark.parametrize(
    ("first", "section"),
    [
        (event(f"{rfc.NETWORK_MAP},1", rfc.NETWORK_MAP_DOCUMENT), "RFC 8895, 6.6"),
        (event(CONTROL, {"started": []}), "RFC 8895, 5.3"),
    ],
)
def test_a_stream_that_does_not_begin_with_its_control_uri_is_found(first: Event, section: str) -> None:
    findings = Watch(RESOURCES, controlled=True).take(first).findings
    assert [finding.section for finding in findings] == [section]


@pytest.mark.parametrize(
    ("wrong", "section"),
    [
        (event(f"{PATCH},3", {}), "RFC 8895, 5.2"),
        (event(rfc.COST_MAP, {}), "RFC 8895, 5.2"),
        (event(f"{rfc.COST_MAP},1", {}), "RFC 8895, 5.2"),
        (Event(f"{rfc.COST_MAP},2", "{"), "RFC 8895, 5.2"),
        (event(f"{PATCH},2", {"meta": {"dependent-vtags": None}}), "RFC 7285, 11.2.3.6"),
        (event(f"{rfc.COST_MAP},2", rfc.cost_map(rfc.COSTS, tag="of-another-time")), "RFC 8895, 6.7.1"),
    ],
)
def test_what_is_wrong_with_an_event_is_found_and_the_stream_goes_on(wrong: Event, section: str) -> None:
    watch = begun()
    assert [finding.section for finding in watch.take(wrong).findings] == [section]
    assert watch.take(event(f"{rfc.COST_MAP},2", rfc.cost_map(rfc.COSTS))).findings == ()


def test_a_change_before_the_whole_is_found() -> None:
    watch = Watch(RESOURCES)
    (finding,) = watch.take(event(f"{PATCH},1", {})).findings
    assert finding.section == "RFC 8895, 6.7.1"
