"""Whatever is posted, the answer is a valid document or exactly one ALTO error of the right code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alto_worlds import (
    CLIENT,
    HOPCOUNT_JSON,
    NOW_S,
    ROUTINGCOST_JSON,
    published,
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.alto import documents
from testbed.portal.alto.model import Calendar, ProtocolError, Query

MAP_ID = "my-default-network-map"
WORLD = published(calendars={"num-routingcost": Calendar(0.0, 3600.0, (1.0, 0.3))}, own=frozenset({"PID1"}))
POSTED = {entry.id: entry for entry in documents.entries(WORLD) if entry.accepts}
DATA = {
    "filtered-networkmap": "network-map",
    "filtered-costmap": "cost-map",
    "endpointprop": "endpoint-properties",
    "endpointcost": "endpoint-cost-map",
    "filtered-propmap": "property-map",
}

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def some(*likely: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(likely) | junk


cost_type = some(
    ROUTINGCOST_JSON, HOPCOUNT_JSON, {"cost-mode": "numerical"}, {**HOPCOUNT_JSON, "cost-mode": "x"}
)
constraint = some("ge 5", "[0] lt 10", "[1] eq 0", "[999999999] gt 1e999", "gt", "le -1")
pids = st.lists(some("PID1", "PID2", "nowhere"), max_size=4) | junk
endpoints = st.lists(some("ipv4:192.0.2.1", "ipv6:2001:db8::1", "ipv4:1", "mac:1"), max_size=4) | junk
entities = st.lists(some("ipv4:0.0.0.0/0", "ipv6:::/3", f"{MAP_ID}.pid:PID1", "ipv4:x"), max_size=4) | junk
fields = {
    "cost-type": cost_type,
    "multi-cost-types": st.lists(cost_type, max_size=3) | junk,
    "testable-cost-types": st.lists(cost_type, max_size=3) | junk,
    "constraints": st.lists(constraint, max_size=3) | junk,
    "or-constraints": st.lists(st.lists(constraint, max_size=2) | junk, max_size=3) | junk,
    "calendared": st.lists(some(True, False), max_size=2) | junk,
    "pids": pids | st.fixed_dictionaries({}, optional={"srcs": pids, "dsts": pids}),
    "address-types": st.lists(some("ipv4", "ipv6", "mac"), max_size=3) | junk,
    "endpoints": endpoints | st.fixed_dictionaries({}, optional={"srcs": endpoints, "dsts": endpoints}),
    "properties": st.lists(some(f"{MAP_ID}.pid", "pid", "priv:p4p-asn"), max_size=3) | junk,
    "entities": entities,
    "unknown": junk,
}
bodies = (
    st.binary(max_size=40)
    | junk.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({}, optional=fields).map(lambda value: json.dumps(value).encode())
)


def values_at(body: Any, path: str) -> list[Any]:
    """What a body has at the path of a field; an array on the way stands for each of its elements."""
    found = [body]
    for key in path.split("/"):
        found = [item for one in found for item in (one if isinstance(one, list) else [one])]
        found = [one[key] for one in found if isinstance(one, dict) and key in one]
    return found


@pytest.mark.parametrize("id", POSTED)
@given(body=bodies)
@settings(deadline=None, max_examples=400)
def test_any_body_gets_a_valid_answer_or_one_right_error(id: str, body: bytes) -> None:
    try:
        answer = POSTED[id].answer(Query(body, CLIENT, NOW_S))
    except ProtocolError as error:
        check_error(id, json.loads(documents.error_document(error).body), body)
        return
    assert answer.media_type == POSTED[id].answers
    content = read(answer)
    assert content.keys() == {"meta", DATA[id]}
    assert isinstance(content[DATA[id]], dict)


def check_error(id: str, document: Any, body: bytes) -> None:
    assert document.keys() == {"meta"}
    meta = document["meta"]
    assert meta.keys() <= {"code", "syntax-error", "field", "value"}
    try:
        posted = json.loads(body)
    except (ValueError, RecursionError):
        posted = None
    if meta["code"] == "E_SYNTAX":
        assert not isinstance(posted, dict) or b"NaN" in body or b"Infinity" in body
        return
    assert isinstance(posted, dict)
    there = values_at(posted, meta["field"])
    if meta["code"] == "E_MISSING_FIELD":
        parents = values_at({"": posted}, "/".join(["", *meta["field"].split("/")[:-1]]))
        assert len(there) < len([one for parent in parents for one in flat(parent)])
        assert "value" not in meta
        return
    assert there
    assert isinstance(meta.get("value", ""), str)
    if meta["code"] == "E_INVALID_FIELD_TYPE":
        assert any(not isinstance(one, right_type(id, meta["field"])) for one in there)
    else:
        assert meta["code"] == "E_INVALID_FIELD_VALUE"


def right_type(id: str, field: str) -> type:
    if field.endswith(("cost-metric", "cost-mode")):
        return str
    objects = {("filtered-costmap", "pids"), ("endpointcost", "endpoints")}
    return dict if field == "cost-type" or (id, field) in objects else list


def flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("depth", range(300, 1100, 25))
def test_a_value_that_can_just_be_read_is_refused_like_any_other(depth: int) -> None:
    body = b'{"pids":[' + b"[" * depth + b"]" * depth + b"]}"
    with pytest.raises(ProtocolError) as refused:
        POSTED["filtered-networkmap"].answer(Query(body, CLIENT, NOW_S))
    assert refused.value.code in ("E_SYNTAX", "E_INVALID_FIELD_VALUE")
