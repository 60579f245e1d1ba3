"""Any body to every service: never a 500, but one ALTO error or a valid answer (RFC 7285, section 8.5)."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import alto_examples as rfc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from real_portal import Portal, Reply

from testbed.portal.alto import checking
from testbed.portal.alto.reading import Resource

PROPERTY_MAP = "application/alto-propmap+json"
STREAM = "text/event-stream"
STREAM_PARAMS = "application/alto-updatestreamparams+json"
SERVICES = {
    "filtered network map": (rfc.NETWORK_MAP, rfc.NETWORK_MAP_FILTER),
    "filtered cost map": (rfc.COST_MAP, rfc.COST_MAP_FILTER),
    "endpoint properties": (rfc.ENDPOINT_PROPERTY, rfc.ENDPOINT_PROPERTY_PARAMS),
    "endpoint costs": (rfc.ENDPOINT_COST, rfc.ENDPOINT_COST_PARAMS),
    "entity properties": (PROPERTY_MAP, "application/alto-propmapparams+json"),
}

# Words that the services know, so that many bodies come far before they are wrong.
texts = st.sampled_from(
    [
        "north",
        "south",
        "north:inner@1",
        "empty_one",
        "world",
        "no-such",
        "",
        "ipv4",
        "ipv6",
        "mac48",
        "ipv4:10.1.0.1",
        "ipv4:10.2.0.0/24",
        "ipv4:300.1.1.1",
        "ipv6:2001:db8:1::1",
        "ipv6:::/0",
        "ipv6:fe80::1%lo",
        "networkmap.pid",
        "coarse-1.pid",
        "networkmap.pid:south",
        "priv:p4p-asn",
        "numerical",
        "ordinal",
        "routingcost",
        "hopcount",
        "tput",
        "le 5",
        "[0] ge 1",
        "[1] eq 1e400",
        "gt -5.5",
        "networkmap",
        "costmap-num-routingcost",
        "filtered-costmap",
    ]
) | st.text(max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**400, max_value=10**401)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
lists = st.lists(texts, max_size=4) | st.lists(values, max_size=3)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects that may lack each of these fields, or have it of any other type."""
    return st.fixed_dictionaries(
        {}, optional={key.replace("_", "-"): field | values for key, field in fields.items()}
    )


cost_types = st.fixed_dictionaries(
    {
        "cost-mode": st.sampled_from(["numerical", "ordinal"]),
        "cost-metric": st.sampled_from(["routingcost", "hopcount", "delay-ow"]),
    }
) | objects(cost_mode=texts, cost_metric=texts, description=texts)
cost_fields: dict[str, st.SearchStrategy[Any]] = {
    "cost_type": cost_types,
    "multi_cost_types": st.lists(cost_types, max_size=3),
    "testable_cost_types": st.lists(cost_types, max_size=3),
    "constraints": lists,
    "or_constraints": st.lists(lists, max_size=3),
    "calendared": st.lists(st.booleans(), max_size=3),
}
BODIES: dict[str, st.SearchStrategy[Any]] = {
    "filtered network map": objects(pids=lists, address_types=lists),
    "filtered cost map": objects(**cost_fields, pids=objects(srcs=lists, dsts=lists)),
    "endpoint properties": objects(properties=lists, endpoints=lists),
    "endpoint costs": objects(**cost_fields, endpoints=objects(srcs=lists, dsts=lists)),
    "entity properties": objects(entities=lists, properties=lists),
}
WATCHED = [
    "networkmap",
    "costmap-num-routingcost",
    *(f"filtered-{kind}" for kind in ("networkmap", "costmap")),
]
WATCHED += ["endpointprop", "endpointcost", "propmap", "filtered-propmap", "updates"]
additions = objects(
    resource_id=st.sampled_from(WATCHED) | texts,
    tag=texts,
    incremental_changes=st.booleans(),
    input=st.one_of(*BODIES.values()) | values,
)
substreams = st.sampled_from(["1", "2", "three"]) | texts
UPDATES = objects(
    add=st.dictionaries(substreams, additions, max_size=3), remove=st.lists(substreams, max_size=2) | lists
)

often = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_one_error(reply: Reply) -> None:
    assert reply.status == 400, reply
    found = list(checking.check_error(reply.document, reply.media_type, reply.status, "it"))
    assert found == []
    assert set(reply.document) == {"meta"}


def is_valid(portal: Portal, reply: Reply, service: str, name: str, entry: Any) -> None:
    resource = Resource(
        name, entry["uri"], entry["media-type"], entry["accepts"], uses=tuple(entry.get("uses", ()))
    )
    assert reply.media_type == resource.media_type
    document = reply.document
    if service == "filtered network map":
        found = list(checking.check_network_map(document, resource, full=portal.document(*resource.uses)))
    elif service == "filtered cost map":
        found = list(checking.check_cost_map(document, resource))
    elif service == "endpoint costs":
        found = list(checking.check_endpoint_costs(document, resource))
    elif service == "entity properties":
        found = list(checking.check_property_map(document, resource))
    else:
        found = []
        assert isinstance(document["endpoint-properties"], dict)
    assert found == []


def is_one_answer(full: Portal, service: str, body: bytes) -> Reply:
    name, entry = next(iter(full.entries(*SERVICES[service]).items()))
    reply = full.ask(entry, body)
    if reply.status == 200:
        is_valid(full, reply, service, name, entry)
    else:
        is_one_error(reply)
    return reply


@pytest.mark.parametrize("service", BODIES)
def test_a_request_of_about_the_right_shape(full: Portal, service: str) -> None:
    @often
    @given(BODIES[service])
    def fuzz(body: Any) -> None:
        is_one_answer(full, service, json.dumps(body).encode())

    fuzz()


@pytest.mark.parametrize("service", BODIES)
def test_any_json(full: Portal, service: str) -> None:
    @often
    @given(values)
    def fuzz(body: Any) -> None:
        is_one_answer(full, service, json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    fuzz()


@pytest.mark.parametrize("service", BODIES)
def test_any_bytes(full: Portal, service: str) -> None:
    @often
    @given(st.binary(max_size=64))
    def fuzz(body: bytes) -> None:
        reply = is_one_answer(full, service, body)
        try:
            json.loads(body)  # RFC 7159, which RFC 7285 refers to, has UTF-16 and UTF-32 too
        except (ValueError, RecursionError):
            assert reply.code == "E_SYNTAX"

    fuzz()


@contextmanager
def begun(portal: Portal, body: Any) -> Iterator[Reply | str]:
    """The control URI of the stream that a request begins, for as long as the context lasts; or the error."""
    entry = portal.entry(STREAM, STREAM_PARAMS)
    headers = {"Content-Type": STREAM_PARAMS}
    for _ in range(100):
        made = http.client.HTTPConnection(*portal.address, timeout=20)
        with closing(made):
            made.request("POST", urlsplit(entry["uri"]).path, json.dumps(body), headers)
            answer = made.getresponse()
            if answer.status == 503:  # the portal has not seen yet that those before have ended
                time.sleep(0.02)
                continue
            if answer.status != 200:
                told = {name.lower(): value for name, value in answer.getheaders()}
                yield Reply(answer.status, told, answer.read())
                return
            assert answer.headers["Content-Type"] == STREAM
            kind, data, end = (answer.readline() for _ in range(3))
            assert (kind, end) == (b"event: application/alto-updatestreamcontrol+json\n", b"\n")
            yield str(json.loads(data.removeprefix(b"data: "))["control-uri"])
            return
    pytest.fail("there are too many streams all the time")


@pytest.mark.parametrize("bodies", [UPDATES, values], ids=["about the right shape", "any JSON"])
def test_a_request_for_updates(full: Portal, bodies: st.SearchStrategy[Any]) -> None:
    """Each begins a stream, of which the first event is read, or gets one error."""
    seen: set[bool] = set()

    @often
    @given(bodies)
    @example({"add": {"1": {"resource-id": "networkmap"}}})
    @example({"add": {"1": {"resource-id": "filtered-networkmap", "input": {"pids": ["south"]}}}})
    @example({"add": {"1": {"resource-id": "filtered-networkmap", "input": {"pids": 5}}}})
    def fuzz(body: Any) -> None:
        with begun(full, body) as found:
            if isinstance(found, Reply):
                is_one_error(found)
            seen.add(isinstance(found, str))

    fuzz()
    assert seen == {False, True}


def test_a_request_to_a_control_uri(full: Portal) -> None:
    """It is done, or gets one error; a stream that it has ended is not found any more."""
    seen: set[int] = set()

    @often
    @given(st.lists(UPDATES | values, min_size=1, max_size=4))
    @example([{"add": {"2": {"resource-id": "networkmap"}}}, {"remove": ["1", "2"]}, {}])
    @example([{"add": {"2": {"resource-id": "filtered-costmap", "input": {}}}}])
    def fuzz(bodies: list[Any]) -> None:
        with begun(full, {"add": {"1": {"resource-id": "networkmap"}}}) as uri:
            assert isinstance(uri, str)
            for body in bodies:
                reply = full.request("POST", uri, json.dumps(body).encode(), {"Content-Type": STREAM_PARAMS})
                seen.add(reply.status)
                if reply.status not in (204, 404):
                    is_one_error(reply)

    fuzz()
    assert seen == {204, 400, 404}
