"""RFC 8895 without a network: requests and their errors, what a stream sends and in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portal_site import HOPS, NUMERICAL, published

from testbed.portal.alto.model import (
    COST_MAP_TYPE,
    NETWORK_MAP_TYPE,
    Calendar,
    Document,
    Entry,
    ProtocolError,
    Published,
    Query,
)
from testbed.portal.alto.updates import (
    MERGE_PATCH_TYPE,
    STREAM_CONTROL_TYPE,
    Addition,
    Content,
    Event,
    Stream,
    StreamRequest,
    _cost_map_patch,
    _NoPatch,
    merge_patch,
    parse_control_request,
    parse_stream_request,
)
from testbed.portal.site import Snapshot

URI = "http://127.0.0.1/updates/control/x"
NET = {"resource-id": "networkmap"}
COST = {"resource-id": "costmap-num-routingcost"}
FILTERED = {
    "resource-id": "filtered-costmap",
    "input": {
        "cost-type": {"cost-mode": "numerical", "cost-metric": "routingcost"},
        "pids": {"srcs": ["a"], "dsts": ["b", "far"]},
        "constraints": ["lt 6"],
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)


def patched(target: Any, patch: Any) -> Any:
    """MergePatch as RFC 7396 section 2 writes it."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = patched(target.get(name), value)
    return target


def stream(add: dict[str, Any], said: Published | None = None) -> tuple[Stream, Snapshot]:
    snapshot = Snapshot(said or published())
    body = json.dumps({"add": add}).encode()
    return Stream(parse_stream_request(body), snapshot, "10.1.0.1", URI, 0.0), snapshot


def told(events: list[Event]) -> list[tuple[str, Any]]:
    return [(event.kind, json.loads(event.data)) for event in events]


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


@settings(deadline=None)
@given(before=JSON, after=JSON)
def test_a_patch_turns_the_one_into_the_other_or_there_is_none(before: Any, after: Any) -> None:
    try:
        patch = merge_patch(before, after)
    except _NoPatch:
        assert "null" in json.dumps(after)
    else:
        # JSON tells true from 1, which Python does not: what was not told apart need not be sent.
        assert patched(before, patch) == after


def test_the_example_of_rfc_8895_section_8_2_reproduces() -> None:
    before = {
        "meta": {"vtag": {"tag": "3ee2"}},
        "cost-map": {
            "PID1": {"PID1": 1, "PID2": 5, "PID3": 10},
            "PID2": {"PID1": 5, "PID2": 1, "PID3": 15},
            "PID3": {"PID1": 20, "PID2": 15},
        },
    }
    after = {
        "meta": {"vtag": {"tag": "c0ce"}},
        "cost-map": {
            "PID1": {"PID1": 1, "PID2": 9, "PID3": 10},
            "PID2": {"PID1": 5, "PID2": 1, "PID3": 15},
            "PID3": {"PID2": 15, "PID3": 1},
        },
    }
    assert merge_patch(before, after) == {
        "meta": {"vtag": {"tag": "c0ce"}},
        "cost-map": {"PID1": {"PID2": 9}, "PID3": {"PID1": None, "PID3": 1}},
    }


def test_null_that_means_null_is_sent_in_a_full_replacement() -> None:
    before = Content(Document("application/json", b'{"a":1,"filler":"filler filler filler"}'))
    after = Content(Document("application/json", b'{"a":null,"filler":"filler filler filler"}'))
    assert after.patch_from(before) is None


def test_a_stream_begins_with_its_control_uri_and_the_network_map_before_what_uses_it() -> None:
    events, snapshot = stream({"costs": COST, "net": NET})
    found = told(events.events(snapshot, 0.0))
    assert [kind for kind, _ in found] == [
        STREAM_CONTROL_TYPE,
        f"{NETWORK_MAP_TYPE},net",
        f"{COST_MAP_TYPE},costs",
    ]
    assert found[0][1] == {"control-uri": URI}
    assert events.events(snapshot, 0.0) == []


def test_changes_come_as_patches_and_what_did_not_change_does_not_come() -> None:
    events, snapshot = stream({"costs": COST, "net": NET})
    full = json.loads(events.events(snapshot, 0.0)[2].data)
    after = Snapshot(published(((0, 2, 5), (1, 0, 7), (5, 7, 3))))
    ((kind, patch),) = told(events.events(after, 0.0))
    assert kind == f"{MERGE_PATCH_TYPE},costs"
    assert patch == {"cost-map": {"a": {"b": 2}, "far": {"far": 3}}}
    assert patched(full, patch) == json.loads(
        after.content(after.streamed["costmap-num-routingcost"]).document.body
    )


def test_a_new_network_map_comes_before_the_cost_map_of_it() -> None:
    events, snapshot = stream({"a-costs": COST, "net": NET})
    events.events(snapshot, 0.0)
    renamed = published(prefixes={"a": ["10.1.0.0/16"], "c": ["10.2.0.0/16"], "far": ["10.3.0.0/16"]})
    found = told(events.events(Snapshot(renamed), 0.0))
    assert [kind.partition(",")[2] for kind, _ in found] == ["net", "a-costs"]
    tag = renamed.network_maps[0].tag
    assert found[0][1]["meta"]["vtag"]["tag"] == tag
    assert found[1][1]["meta"]["dependent-vtags"][0]["tag"] == tag


def test_who_wants_no_patches_gets_full_replacements() -> None:
    events, snapshot = stream({"costs": COST | {"incremental-changes": False}})
    events.events(snapshot, 0.0)
    after = Snapshot(published(((0, 2, 5), (1, 0, 7), (5, 7, 3))))
    assert kinds(events.events(after, 0.0)) == [f"{COST_MAP_TYPE},costs"]


def test_a_patch_longer_than_the_document_is_not_sent() -> None:
    names = {f"pid-{number:02d}": [f"10.{number}.0.0/16"] for number in range(20)}
    one = published([[1] * 20] * 20, prefixes=names)
    fewer = published([[2] * 2] * 2, prefixes=dict(list(names.items())[:2]))
    events, snapshot = stream({"costs": COST}, one)
    events.events(snapshot, 0.0)
    assert kinds(events.events(Snapshot(fewer), 0.0)) == [f"{COST_MAP_TYPE},costs"]


@pytest.mark.parametrize("resource", ["networkmap", "costmap-num-routingcost"])
def test_a_client_that_has_the_current_version_is_sent_changes_alone(resource: str) -> None:
    snapshot = Snapshot(published())
    tag = snapshot.content(snapshot.streamed[resource]).document.tag
    events, snapshot = stream({"x": {"resource-id": resource, "tag": tag}})
    assert kinds(events.events(snapshot, 0.0)) == [STREAM_CONTROL_TYPE]
    events, snapshot = stream({"x": {"resource-id": resource, "tag": "old"}})
    assert len(events.events(snapshot, 0.0)) == 2


def test_a_filtered_map_is_updated_for_its_own_input_and_constraints() -> None:
    """A pair that no longer passes the constraint goes with null (RFC 8895 section 9.3)."""
    events, snapshot = stream({"mine": FILTERED})
    (_, (kind, full)) = told(events.events(snapshot, 0.0))
    assert (kind, full["cost-map"]) == (f"{COST_MAP_TYPE},mine", {"a": {"b": 1, "far": 5}})
    after = Snapshot(published(((0, 1, 6), (9, 9, 9), (9, 9, 9))))
    ((kind, patch),) = told(events.events(after, 0.0))
    assert (kind, patch) == (f"{MERGE_PATCH_TYPE},mine", {"cost-map": {"a": {"far": None}}})
    unseen = Snapshot(published(((0, 1, 8), (3, 3, 3), (3, 3, 3))))
    assert events.events(unseen, 0.0) == []


def test_a_resource_that_goes_is_stopped_and_the_rest_goes_on() -> None:
    events, snapshot = stream(
        {"hops": {"resource-id": "costmap-num-hopcount"}, "net": NET}, published(kinds=(NUMERICAL, HOPS))
    )
    events.events(snapshot, 0.0)
    ((kind, content),) = told(events.events(Snapshot(published()), 0.0))
    assert (kind, content["stopped"]) == (STREAM_CONTROL_TYPE, ["hops"])
    assert not events.over


def control(**fields: Any) -> Any:
    return parse_control_request(json.dumps(fields).encode())


def test_more_can_be_added_and_some_removed_add_first() -> None:
    events, snapshot = stream({"net": NET})
    events.events(snapshot, 0.0)
    events.change(control(add={"costs": COST}, remove=["net"]), snapshot, 0.0)
    found = told(events.events(snapshot, 0.0))
    assert found[0] == (STREAM_CONTROL_TYPE, {"started": ["costs"]})
    assert found[1][1]["stopped"] == ["net"]
    assert found[2][0] == f"{COST_MAP_TYPE},costs"
    assert not events.over


@pytest.mark.parametrize("remove", [[], ["net", "costs"]])
def test_a_stream_without_substreams_ends(remove: list[str]) -> None:
    events, snapshot = stream({"net": NET, "costs": COST})
    events.events(snapshot, 0.0)
    events.change(control(remove=remove), snapshot, 0.0)
    ((_, content),) = told(events.events(snapshot, 0.0))
    assert content["stopped"] == ["net", "costs"]
    assert events.over


def test_removing_twice_is_no_error_and_told_once() -> None:
    events, snapshot = stream({"net": NET, "costs": COST})
    events.events(snapshot, 0.0)
    for _ in range(2):
        events.change(control(remove=["net"]), snapshot, 0.0)
    assert len(events.events(snapshot, 0.0)) == 1


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"remove": ["other"]}, "remove", "other"),
        ({"add": {"new": NET}, "remove": ["new"]}, "remove", "new"),
        ({"add": {"new": NET}, "remove": []}, "remove", "[]"),
        ({"add": {"net": NET}}, "add", "net"),
        ({"add": {"gone": NET}}, "add", "gone"),
        ({"add": {"new": NET, "newer": {"resource-id": "none"}}}, "add/newer/resource-id", "none"),
    ],
)
def test_a_wrong_control_request_changes_nothing(fields: dict[str, Any], field: str, value: str) -> None:
    events, snapshot = stream({"net": NET, "gone": COST})
    events.change(control(remove=["gone"]), snapshot, 0.0)
    events.events(snapshot, 0.0)
    with pytest.raises(ProtocolError) as error:
        events.change(control(**fields), snapshot, 0.0)
    assert error.value.to_json()["meta"] == {"code": "E_INVALID_FIELD_VALUE", "field": field, "value": value}
    assert events.events(snapshot, 0.0) == []


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "E_SYNTAX", None),
        (b"[]", "E_SYNTAX", None),
        (b"[" * 100_000, "E_SYNTAX", None),
        (b"{}", "E_MISSING_FIELD", "add"),
        (b'{"add": {}}', "E_MISSING_FIELD", "add"),
        (b'{"remove": ["a"]}', "E_MISSING_FIELD", "add"),
        (b'{"add": []}', "E_INVALID_FIELD_TYPE", "add"),
        (b'{"add": {"a": 1}}', "E_INVALID_FIELD_TYPE", "add/a"),
        (b'{"add": {"a b": {"resource-id": "networkmap"}}}', "E_INVALID_FIELD_VALUE", "add"),
        (b'{"add": {"": {"resource-id": "networkmap"}}}', "E_INVALID_FIELD_VALUE", "add"),
        (b'{"add": {"a": {}}}', "E_MISSING_FIELD", "add/a/resource-id"),
        (b'{"add": {"a": {"resource-id": 1}}}', "E_INVALID_FIELD_TYPE", "add/a/resource-id"),
        (b'{"add": {"a": {"resource-id": "none"}}}', "E_INVALID_FIELD_VALUE", "add/a/resource-id"),
        (b'{"add": {"a": {"resource-id": "updates"}}}', "E_INVALID_FIELD_VALUE", "add/a/resource-id"),
        (b'{"add": {"a": {"resource-id": "networkmap", "tag": 1}}}', "E_INVALID_FIELD_TYPE", "add/a/tag"),
        (
            b'{"add": {"a": {"resource-id": "networkmap", "incremental-changes": "no"}}}',
            "E_INVALID_FIELD_TYPE",
            "add/a/incremental-changes",
        ),
    ],
)
def test_a_wrong_request_makes_no_stream(body: bytes, code: str, field: str | None) -> None:
    with pytest.raises(ProtocolError) as error:
        Stream(parse_stream_request(body), Snapshot(published()), "10.1.0.1", URI, 0.0)
    assert (error.value.code, error.value.field or None) == (code, field)


@pytest.mark.parametrize("input", [{}, {"cost-type": 5}, {**FILTERED["input"], "pids": {"srcs": []}}])
def test_wrong_input_is_answered_as_the_resource_itself_does_with_the_way_to_the_field(input: Any) -> None:
    snapshot = Snapshot(published())
    with pytest.raises(ProtocolError) as itself:
        snapshot.streamed["filtered-costmap"].answer(Query(json.dumps(input).encode(), "10.1.0.1", 0.0))
    with pytest.raises(ProtocolError) as streamed:
        stream({"a": {"resource-id": "filtered-costmap", "input": input}})
    told = itself.value.to_json()
    told["meta"]["field"] = "add/a/input/" + told["meta"]["field"]
    assert streamed.value.to_json() == told


@pytest.mark.parametrize(
    ("given", "code"), [({}, "E_MISSING_FIELD"), ({"input": [FILTERED["input"]]}, "E_INVALID_FIELD_TYPE")]
)
def test_input_has_to_be_there_and_an_object(given: dict[str, Any], code: str) -> None:
    with pytest.raises(ProtocolError) as error:
        stream({"net": NET, "a": {"resource-id": "filtered-costmap", **given}})
    assert error.value.to_json()["meta"] == {"code": code, "field": "add/a/input"}


def test_input_is_taken_as_it_was_read() -> None:
    # 1e999 is a JSON number, of which Python's json makes an infinity that it could not read again.
    body = json.dumps({"add": {"a": FILTERED}}).replace('"input": {', '"input": {"unknown": 1e999, ')
    assert "1e999" in body
    events = Stream(parse_stream_request(body.encode()), Snapshot(published()), "10.1.0.1", URI, 0.0)
    assert len(events.events(Snapshot(published()), 0.0)) == 2


class Counted:
    """What a snapshot has, and how often it was asked for an answer to input."""

    def __init__(self, said: Published) -> None:
        self.content = Snapshot(said).content
        self.asked = 0
        self.streamed = {
            name: replace(entry, answer=partial(self._answer, entry)) if entry.accepts else entry
            for name, entry in Snapshot(said).streamed.items()
        }

    def _answer(self, entry: Entry, query: Query) -> Document:
        self.asked += 1
        return entry.answer(query)


def test_an_answer_to_input_is_made_again_only_for_what_is_new() -> None:
    first, second = Counted(published()), Counted(published(((0, 2, 5), (1, 0, 7), (5, 7, 3))))
    events = Stream(StreamRequest({"a": addition(FILTERED)}), first, "10.1.0.1", URI, 0.0)
    for now_s in (0.0, 15.0, 1e9):
        events.events(first, now_s)
    assert first.asked == 1
    assert len(events.events(second, 1e9)) == 1
    assert events.events(second, 1e9) == []
    assert second.asked == 1


def test_a_calendar_is_told_anew_when_its_interval_has_rolled_over() -> None:
    said = replace(published(), calendars={"num-routingcost": Calendar(0.0, 60.0, (1.0, 2.0, 3.0))})
    resources = Counted(said)
    wanted = {**FILTERED, "input": {**FILTERED["input"], "calendared": [True]}}
    events = Stream(StreamRequest({"a": addition(wanted)}), resources, "10.1.0.1", URI, 10.0)
    (first,) = told(events.events(resources, 10.0))[1:]
    assert first[1]["cost-map"]["a"]["b"] == [1, 2, 3]
    assert events.events(resources, 59.9) == []
    assert resources.asked == 1
    ((_, then),) = told(events.events(resources, 60.0))
    assert then["cost-map"]["a"]["b"] == [2, 3, 1]
    assert resources.asked == 2


def addition(given: dict[str, Any]) -> Addition:
    return parse_stream_request(json.dumps({"add": {"a": given}}).encode()).add["a"]


def test_a_stream_has_only_so_much_made_for_it() -> None:
    ends = [f"ipv4:10.1.{number // 250}.{number % 250}" for number in range(1000)]
    costs = {"cost-type": FILTERED["input"]["cost-type"], "constraints": ["ge 0"] * 999 + ["lt 0"]}
    work = {"resource-id": "endpointcost", "input": {**costs, "endpoints": {"srcs": ends, "dsts": ends}}}
    with pytest.raises(ProtocolError) as error:
        stream({f"s{number}": work for number in range(20)})
    assert error.value.to_json()["meta"] == {
        "code": "E_INVALID_FIELD_VALUE",
        "field": "add",
        "value": "s0",
    }
    less = {**work, "input": {**costs, "endpoints": {"srcs": ends[:600], "dsts": ends}}}
    events, snapshot = stream({"first": less})
    with pytest.raises(ProtocolError):
        events.change(control(add={"second": less}), snapshot, 0.0)
    events.change(control(add={"net": NET}, remove=["first"]), snapshot, 0.0)
    events.change(control(add={"second": less}), snapshot, 0.0)


numbers = st.sampled_from([0.0, 1.0, 2.5, float("nan"), float("nan")])


@st.composite
def cost_maps(draw: st.DrawFn) -> Content:
    pids = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True))
    size = len(pids)
    costs = draw(st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=size, max_size=size))
    prefixes = {pid: [f"10.{ord(pid)}.0.0/16"] for pid in pids}
    snapshot = Snapshot(published(costs, prefixes=prefixes))
    return snapshot.content(snapshot.streamed["costmap-num-routingcost"])


@settings(deadline=None)
@given(before=cost_maps(), after=cost_maps())
def test_a_patch_made_of_matrices_is_the_one_that_the_texts_make(before: Content, after: Content) -> None:
    was, now = before.document.parts, after.document.parts
    assert was is not None
    assert now is not None
    patch = json.loads(_cost_map_patch(was, now))
    assert patch == merge_patch(before.parsed, after.parsed)
    assert patched(before.parsed, patch) == after.parsed


def test_the_texts_of_cost_maps_are_not_read_to_tell_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    events, snapshot = stream({"costs": COST})
    events.events(snapshot, 0.0)

    def fails(_content: Content) -> None:
        raise AssertionError("the text was read")

    monkeypatch.setattr(Content, "parsed", property(fails))
    ((kind, patch),) = told(events.events(Snapshot(published(((0, 2, 5), (1, 0, 7), (5, 7, 3)))), 0.0))
    assert (kind, patch) == (f"{MERGE_PATCH_TYPE},costs", {"cost-map": {"a": {"b": 2}, "far": {"far": 3}}})


def test_a_very_long_text_without_parts_is_sent_whole() -> None:
    before, after = (
        Content(Document("application/json", json.dumps({"a": "x" * 2**20, "b": b}).encode())) for b in (1, 2)
    )
    assert after.patch_from(before) is None


def test_a_stream_has_so_many_substreams_at_a_time() -> None:
    events, snapshot = stream({f"s{number}": NET for number in range(100)})
    with pytest.raises(ProtocolError):
        events.change(control(add={"last": NET}), snapshot, 0.0)
    events.change(control(remove=["s7"]), snapshot, 0.0)
    events.change(control(add={"last": NET}), snapshot, 0.0)


def test_a_stream_has_so_many_substreams_over_its_life() -> None:
    events, snapshot = stream({"net": NET})
    for turn in range(99):
        names = [f"s{turn}-{number}" for number in range(99)]
        events.change(control(add=dict.fromkeys(names, NET)), snapshot, 0.0)
        events.change(control(remove=names), snapshot, 0.0)
    many = {f"last{number}": NET for number in range(99)}
    events.change(control(add=many), snapshot, 0.0)
    events.change(control(remove=list(many)), snapshot, 0.0)
    with pytest.raises(ProtocolError):
        events.change(control(add={f"more{number}": NET for number in range(100)}), snapshot, 0.0)


def test_a_stream_keeps_only_so_much_of_answers_to_its_own_inputs() -> None:
    names = {f"pid-{number:03d}": [f"10.{number}.0.0/16"] for number in range(250)}
    whole = FILTERED | {"input": {**FILTERED["input"], "pids": {"srcs": [], "dsts": []}, "constraints": []}}
    said = published([[0.123456789] * 250] * 250, prefixes=names)
    stream({f"s{number}": COST for number in range(50)}, said)
    with pytest.raises(ProtocolError):
        stream({f"s{number}": whole for number in range(50)}, said)


def test_the_directory_offers_updates_of_all_and_an_id_that_is_free() -> None:
    snapshot = Snapshot(published())
    (entry,) = [entry for entry in snapshot.by_path.values() if entry.answers == "text/event-stream"]
    assert set(entry.uses) == set(snapshot.streamed)
    assert set(entry.capabilities["incremental-change-media-types"].values()) == {MERGE_PATCH_TYPE}
    assert entry.capabilities["support-stream-control"] is True


def test_an_event_with_line_ends_is_one_event() -> None:
    assert Event("x", b'{\n"a": 1\n}').encoded() == b'event: x\ndata: {\ndata: "a": 1\ndata: }\n\n'
