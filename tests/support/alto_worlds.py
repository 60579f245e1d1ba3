"""A small publication for tests of ALTO: the maps of RFC 7285's examples, and how to ask for what it has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from testbed.portal.alto import documents
from testbed.portal.alto.model import (
    Calendar,
    CostType,
    Document,
    Entry,
    Matrix,
    ProtocolError,
    Published,
    Query,
)

NAN = float("nan")
CLIENT = "198.51.100.7"
NOW_S = 1_700_000_000.0

RFC_PREFIXES = {  # section 11.2.1.7
    "PID1": ["192.0.2.0/24", "198.51.100.0/25"],
    "PID2": ["198.51.100.128/25"],
    "PID3": ["0.0.0.0/0", "::/0"],
}
RFC_COSTS = [[1, 5, 10], [5, 1, 15], [20, 15, NAN]]  # section 11.2.3.7
HOPS = [[0, 2, 3], [2, 0, NAN], [3, 4, NAN]]

ROUTINGCOST = CostType("num-routingcost", "numerical", "routingcost", "for people")
RANKED = CostType("ord-routingcost", "ordinal", "routingcost")
HOPCOUNT = CostType("num-hopcount", "numerical", "hopcount", context={"cost-source": "nominal"})

ROUTINGCOST_JSON = {"cost-mode": "numerical", "cost-metric": "routingcost"}
RANKED_JSON = {"cost-mode": "ordinal", "cost-metric": "routingcost"}
HOPCOUNT_JSON = {"cost-mode": "numerical", "cost-metric": "hopcount"}


def published(
    prefixes: Mapping[str, Sequence[str]] = RFC_PREFIXES,
    costs: Sequence[tuple[CostType, Any]] = ((ROUTINGCOST, RFC_COSTS), (HOPCOUNT, HOPS)),
    *,
    id: str = "my-default-network-map",
    calendars: Mapping[str, Calendar] | None = None,
    **more: Any,
) -> Published:
    """One network map with its costs, by default those of the RFC and made-up hops."""
    return Published(
        isp="example",
        asn=64500,
        network_maps=(documents.network_map(id, prefixes),),
        cost_types=tuple(kind for kind, _ in costs),
        costs={(id, kind.name): np.array(matrix, float) for kind, matrix in costs},
        calendars=calendars or {},
        **more,
    )


def with_second_map(
    first: Published, id: str, prefixes: Mapping[str, Sequence[str]], costs: Matrix
) -> Published:
    """The same with a further network map, which has num-routingcost alone."""
    return replace(
        first,
        network_maps=(*first.network_maps, documents.network_map(id, prefixes)),
        costs={**first.costs, (id, ROUTINGCOST.name): costs},
    )


def entry(world: Published, id: str) -> Entry:
    return next(entry for entry in documents.entries(world) if entry.id == id)


def get(world: Published, id: str) -> Any:
    """The document of a resource that answers GET."""
    return read(entry(world, id).answer(Query(b"", CLIENT, NOW_S)))


def post(world: Published, id: str, body: Any, *, client: str = CLIENT, now_s: float = NOW_S) -> Any:
    """The answer to a body, which is JSON or bytes as they are. Raises ProtocolError."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(entry(world, id).answer(Query(raw, client, now_s)))


def error(world: Published, id: str, body: Any) -> dict[str, Any]:
    """The meta of the error that a body leads to."""
    try:
        answered = post(world, id, body)
    except ProtocolError as refused:
        meta: dict[str, Any] = json.loads(documents.error_document(refused).body)["meta"]
        return meta
    raise AssertionError(f"no error but {answered}")


def read(document: Document) -> Any:
    return json.loads(document.body)
