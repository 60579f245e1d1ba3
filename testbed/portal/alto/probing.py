"""Requests that show whether an ALTO server keeps the rules for requests with a body.

In come a resource and the maps that are known of the server, out come `Probe`s: a body to post, and the
function that makes `Finding`s of the answer. Nothing is sent from here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from testbed.portal.alto import checking
from testbed.portal.alto.checking import Finding, base
from testbed.portal.alto.model import (
    COST_MAP_FILTER_TYPE,
    ENDPOINT_COST_PARAMS_TYPE,
    ENDPOINT_PROPERTY_PARAMS_TYPE,
    NETWORK_MAP_FILTER_TYPE,
)
from testbed.portal.alto.reading import (
    AltoError,
    CostKind,
    Resource,
    pid_table,
    prefixes_of,
    read_json,
)

_NO_SUCH_PID = "no-such-pid"
_NO_SUCH_METRIC = "priv:no-such-metric"
_MOST_ENDPOINTS = 8


@dataclass(frozen=True)
class Answer:
    """What came back, whoever fetched it."""

    uri: str
    status: int
    media_type: str
    body: bytes


Judge = Callable[[Answer, str], Iterator[Finding]]


@dataclass(frozen=True)
class Known:
    """What was fetched of a server before: whole network and cost maps, by resource id."""

    network_maps: Mapping[str, Any]
    cost_maps: Mapping[str, Any]

    def pids(self, map_id: str) -> list[str]:
        document = self.network_maps.get(map_id)
        groups = document.get("network-map") if isinstance(document, Mapping) else None
        return list(groups) if isinstance(groups, Mapping) else []


@dataclass(frozen=True)
class Probe:
    """One request to a resource, in words, and who says what is wrong with the answer."""

    resource: Resource
    what: str
    body: bytes
    judge: Judge
    of_maps: bool = False
    """Whether the answer is held against maps that may be of another time than it."""

    def findings(self, answer: Answer) -> list[Finding]:
        """What is wrong with this answer to it."""
        return list(self.judge(answer, f"{self.resource.id}: {self.what}"))


def probes(resource: Resource, known: Known) -> Iterator[Probe]:
    """Those for a resource that takes a body, by the type of that body; none for a type that is not known."""
    makers: Mapping[str, Callable[[Resource, Known], Iterator[Probe]]] = {
        NETWORK_MAP_FILTER_TYPE: _network_map_probes,
        COST_MAP_FILTER_TYPE: _cost_map_probes,
        ENDPOINT_PROPERTY_PARAMS_TYPE: _property_probes,
        ENDPOINT_COST_PARAMS_TYPE: _endpoint_cost_probes,
        checking.PROPERTY_MAP_PARAMS_TYPE: _property_map_probes,
        checking.UPDATE_STREAM_PARAMS_TYPE: _stream_probes,
    }
    maker = makers.get(resource.accepts)
    if maker is not None:
        yield _wrong(resource, "a body that is no JSON", b'{"pids": [', "8.5.2", "E_SYNTAX")
        yield from maker(resource, known)


def _network_map_probes(resource: Resource, known: Known) -> Iterator[Probe]:
    full = known.network_maps.get(resource.uses[0]) if len(resource.uses) == 1 else None
    pids = known.pids(resource.uses[0]) if full else []
    yield from _errors(
        resource,
        [
            ("no pids", {}, "11.3.1.3", "E_MISSING_FIELD"),
            ("pids that are no array", {"pids": "PID1"}, "8.5.2", "E_INVALID_FIELD_TYPE"),
            ("a PID that is a number", {"pids": [5]}, "8.5.2", "E_INVALID_FIELD_VALUE"),
        ],
    )
    if full is None or not pids:
        return
    groups = full["network-map"]
    two = pids[:2]

    def gives(expected: Mapping[str, Any], section: str) -> Judge:
        def judge(document: Any, where: str) -> Iterator[Finding]:
            yield from checking.check_network_map(document, resource, full=full)
            answered = document.get("network-map") if isinstance(document, Mapping) else None
            if isinstance(answered, Mapping) and _sets(answered) != _sets(expected):
                yield Finding(base(section), where, _difference(answered, expected))

        return _document(resource, judge)

    yield _probe(resource, "an empty list of PIDs", {"pids": []}, gives(groups, "11.3.1.3"))
    yield _probe(
        resource,
        "a PID twice, one that does not exist, an unknown field",
        {"pids": [*two, two[0], _NO_SUCH_PID], "x-unknown": [1]},
        gives({pid: groups[pid] for pid in two}, "11.3.1.6"),
    )
    yield _probe(
        resource,
        "one address type",
        {"pids": two, "address-types": ["ipv4", "ipv4"]},
        gives({pid: {"ipv4": groups[pid].get("ipv4", [])} for pid in two}, "11.3.1.6"),
    )


def _cost_map_probes(resource: Resource, known: Known) -> Iterator[Probe]:
    if not resource.cost_types:
        return
    kind = next(iter(resource.cost_types.values()))
    yield from _errors(resource, _cost_type_errors(kind, "11.3.2.3", {}))
    wrong_pids = {"cost-type": kind.to_json(), "pids": {"srcs": [5], "dsts": []}}
    yield from _errors(resource, [("a PID that is a number", wrong_pids, "8.5.2", "E_INVALID_FIELD_VALUE")])
    network_map = known.network_maps.get(resource.uses[0]) if len(resource.uses) == 1 else None
    pids = known.pids(resource.uses[0]) if network_map else []
    if not pids:
        return
    full = _known_costs(resource, kind, known)
    two = pids[:2]

    def gives(expected: Mapping[str, Mapping[str, Any]] | None, section: str) -> Judge:
        def judge(document: Any, where: str) -> Iterator[Finding]:
            yield from checking.check_cost_map(document, resource, network_map, [kind])
            if expected is None or not isinstance(document, Mapping):
                return
            answered = document.get("cost-map")
            if isinstance(answered, Mapping) and set(_pairs(answered)) != set(_pairs(expected)):
                yield Finding(
                    base(section), where, "the source and destination pairs are not those asked for"
                )

        return _document(resource, judge)

    def ask(**more: Any) -> dict[str, Any]:
        return {"cost-type": kind.to_json(), **more}

    yield _probe(resource, "no PIDs named", ask(), gives(full, "11.3.2.3"))
    empty: dict[str, list[str]] = {"srcs": [], "dsts": []}
    yield _probe(resource, "empty lists of PIDs", ask(pids=empty), gives(full, "11.3.2.3"))
    asked = {"srcs": [two[0], two[0], _NO_SUCH_PID], "dsts": [*two, _NO_SUCH_PID]}
    part = None if full is None else _part(full, lambda s, d, _: s == two[0] and d in two)
    yield _probe(
        resource,
        "a PID twice, one that does not exist, unknown fields",
        {
            "cost-type": {**kind.to_json(), "description": "ours", "x-unknown": 1},
            "pids": {**asked, "x-unknown": 1},
            "x-unknown": {},
        },
        gives(part, "11.3.2.6"),
    )
    costs = [] if full is None else sorted(cost for row in full.values() for cost in row.values())
    if resource.capabilities.get("cost-constraints") is True and costs and kind.mode == "numerical":
        middle = costs[len(costs) // 2]
        for operator, holds in _OPERATORS.items():
            met = _met(full or {}, holds, middle)
            yield _probe(
                resource,
                f"the constraint '{operator} {middle}'",
                ask(constraints=[f"{operator} {middle}", f"ge {costs[0]}"]),
                gives(met, "11.3.2.6"),
            )
        wrong = ask(constraints=["about 5"])
        yield from _errors(resource, [("a constraint that is none", wrong, "8.5.2", "E_INVALID_FIELD_VALUE")])
    yield from _multi_cost_probes(resource, network_map)


def _multi_cost_probes(resource: Resource, network_map: Any) -> Iterator[Probe]:
    """RFC 8189: arrays of costs in the order that was asked for."""
    most = resource.capabilities.get("max-cost-types", 0)
    kinds = list(resource.cost_types.values())[:2]
    if not isinstance(most, int) or most < 2 or len(kinds) < 2:
        return

    def judge(document: Any, where: str) -> Iterator[Finding]:
        yield from checking.check_cost_map(document, resource, network_map)
        meta = document.get("meta") if isinstance(document, Mapping) else None
        listed = meta.get("multi-cost-types") if isinstance(meta, Mapping) else None
        answered = [
            CostKind(one["cost-mode"], one["cost-metric"])
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, Mapping) and {"cost-mode", "cost-metric"} <= set(one)
        ]
        if answered != kinds[::-1]:
            yield Finding("RFC 8189, 4.1.3", where, "meta/multi-cost-types are not those asked for, in order")

    body = {"multi-cost-types": [kind.to_json() for kind in kinds[::-1]]}
    yield _probe(resource, "two cost types", body, _document(resource, judge))
    both = {**body, "cost-type": kinds[0].to_json()}
    codes = ("E_INVALID_FIELD_VALUE", "E_INVALID_FIELD_TYPE")
    yield _wrong(resource, "cost-type and multi-cost-types", both, "RFC 8189, 4.1.2", *codes)


def _property_probes(resource: Resource, known: Known) -> Iterator[Probe]:
    offered: Any = resource.capabilities.get("prop-types")
    names = [name for name in offered if isinstance(name, str)] if isinstance(offered, list) else []
    yield from _errors(
        resource,
        [
            ("no endpoints", {"properties": names[:1]}, "11.4.1.3", "E_MISSING_FIELD"),
            ("no properties", {"endpoints": ["ipv4:192.0.2.1"]}, "11.4.1.3", "E_MISSING_FIELD"),
            (
                "endpoints that are no array",
                {"properties": names[:1], "endpoints": "ipv4:192.0.2.1"},
                "8.5.2",
                "E_INVALID_FIELD_TYPE",
            ),
            (
                "an endpoint that is none",
                {"properties": names[:1], "endpoints": ["ipv4:300.0.2.1"]},
                "8.5.2",
                "E_INVALID_FIELD_VALUE",
            ),
            (
                "a property that is not offered",
                {"properties": ["priv:no-such-property"], "endpoints": ["ipv4:192.0.2.1"]},
                "11.4.1.3",
                "E_INVALID_FIELD_VALUE",
            ),
        ],
    )
    for name in names:
        map_id, _, kind = name.rpartition(".")
        document = known.network_maps.get(map_id)
        if kind == "pid" and document is not None and known.pids(map_id):
            yield _pid_probe(resource, name, document, known)


def _pid_probe(resource: Resource, name: str, network_map: Any, known: Known) -> Probe:
    """The longest prefix decides (section 11.2.2), also in what a server says of its own map."""
    entries = _prefixes(network_map)
    table = pid_table(entries)
    ends = [_first_address(prefix) for prefix, _ in entries][:_MOST_ENDPOINTS]

    def judge(document: Any, where: str) -> Iterator[Finding]:
        asked = {end: [name] for end in ends}
        yield from checking.check_endpoint_properties(document, resource, asked, known.network_maps)
        rows = document.get("endpoint-properties") if isinstance(document, Mapping) else None
        for end in ends:
            row = rows.get(end) if isinstance(rows, Mapping) else None
            answered = row.get(name) if isinstance(row, Mapping) else None
            expected = table.lookup(end.partition(":")[2])
            if answered != expected:
                what = f"{end} is in {answered!r}, its longest prefix in the map in {expected!r}"
                yield Finding(base("11.2.2"), where, what)

    body = {"properties": [name, name], "endpoints": [*ends, *ends[:1]], "x-unknown": 1}
    return _probe(resource, f"'{name}' of {len(ends)} addresses", body, _document(resource, judge))


def _endpoint_cost_probes(resource: Resource, known: Known) -> Iterator[Probe]:
    if not resource.cost_types:
        return
    kind = next(iter(resource.cost_types.values()))
    some = {"endpoints": {"srcs": ["ipv4:192.0.2.1"], "dsts": ["ipv4:192.0.2.2"]}}
    yield from _errors(resource, _cost_type_errors(kind, "11.5.1.3", some))
    cost_type = {"cost-type": kind.to_json()}
    bad = {"srcs": ["ipv4:192.0.2.300"], "dsts": ["ipv4:192.0.2.2"]}
    yield from _errors(
        resource,
        [
            ("no endpoints", cost_type, "11.5.1.3", "E_MISSING_FIELD"),
            ("an endpoint that is none", {**cost_type, "endpoints": bad}, "8.5.2", "E_INVALID_FIELD_VALUE"),
        ],
    )
    both: tuple[tuple[str, dict[str, list[str]]], ...] = (("no", {}), ("empty", {"srcs": [], "dsts": []}))
    for what, endpoints in both:
        yield _wrong(
            resource,
            f"{what} lists of sources and of destinations",
            {**cost_type, "endpoints": endpoints},
            "11.5.1.3",
            "E_INVALID_FIELD_VALUE",
            "E_MISSING_FIELD",
        )
    ends = [
        _first_address(prefix)
        for document in list(known.network_maps.values())[:1]
        for prefix, _ in _prefixes(document)
    ][:_MOST_ENDPOINTS]
    if not ends:
        return

    def within(sources: list[str], targets: list[str]) -> Judge:
        def judge(document: Any, where: str) -> Iterator[Finding]:
            yield from checking.check_endpoint_costs(document, resource, [kind])
            rows = document.get("endpoint-cost-map") if isinstance(document, Mapping) else None
            pairs = set(_pairs(rows)) if isinstance(rows, Mapping) else set()
            if sources and pairs - {(source, target) for source in sources for target in targets}:
                yield Finding(base("11.5.1.6"), where, "there are pairs that were not asked for")

        return _document(resource, judge)

    asked = {"srcs": [ends[0], ends[0]], "dsts": ends, "x-unknown": 1}
    body = {**cost_type, "endpoints": asked, "x-unknown": 1}
    yield _probe(resource, f"one source and {len(ends)} destinations", body, within(ends[:1], ends))
    body = {**cost_type, "endpoints": {"dsts": ends}}
    yield _probe(resource, "no source, which is then the client", body, within([], ends))


def _property_map_probes(resource: Resource, _: Known) -> Iterator[Probe]:
    """RFC 9240, section 8."""
    mappings = resource.capabilities.get("mappings")
    domains: Mapping[str, Any] = mappings if isinstance(mappings, Mapping) else {}
    yield _wrong(resource, "no entities", {}, "RFC 9240, 8.3", "E_MISSING_FIELD")
    wrong = {"entities": ["no-such-domain:x"]}
    refused = ("RFC 9240, 8.6", "E_INVALID_FIELD_VALUE")
    yield _wrong(resource, "an entity of no domain", wrong, *refused)
    for domain in domains:
        if domain.rpartition(".")[2] not in ("ipv4", "ipv6"):
            continue
        address = "192.0.2.1" if domain.endswith("4") else "2001:db8::1"
        entity = f"{domain}:{address}"

        def gives(document: Any, where: str, entity: str = entity) -> Iterator[Finding]:
            yield from checking.check_property_map(document, resource)
            rows = document.get("property-map") if isinstance(document, Mapping) else None
            more = set(rows) - {entity} if isinstance(rows, Mapping) else set()
            if more:
                yield Finding("RFC 9240, 8.6", where, "there are entities that were not asked for")

        body = {"entities": [entity], "x-unknown": 1}
        yield _probe(resource, f"the entity {entity}", body, _document(resource, gives))
        body = {"entities": [entity], "properties": ["no-such-map.no-such-property"]}
        yield _wrong(resource, "a property that is not offered", body, *refused)
        return


def _stream_probes(resource: Resource, _: Known) -> Iterator[Probe]:
    """RFC 8895, section 6.5: requests after which no stream may begin."""
    for what, body, code in (
        ("no 'add'", {}, "E_MISSING_FIELD"),
        ("an 'add' that is no object", {"add": []}, "E_INVALID_FIELD_TYPE"),
        ("a resource that is not there", {"add": {"1": {"resource-id": "no-such"}}}, "E_INVALID_FIELD_VALUE"),
        ("no resource-id", {"add": {"1": {"tag": "x"}}}, "E_MISSING_FIELD"),
    ):
        yield _wrong(resource, what, body, "RFC 8895, 6.5", code)


_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "gt": lambda cost, limit: cost > limit,
    "lt": lambda cost, limit: cost < limit,
    "ge": lambda cost, limit: cost >= limit,
    "le": lambda cost, limit: cost <= limit,
    "eq": lambda cost, limit: cost == limit,
}


def _cost_type_errors(
    kind: CostKind, section: str, more: Mapping[str, Any]
) -> list[tuple[str, Any, str, str]]:
    """What both cost services refuse in the same way."""
    unknown = {"cost-mode": kind.mode, "cost-metric": _NO_SUCH_METRIC}
    missing = {"cost-mode": kind.mode}
    return [
        ("no cost-type", {**more}, section, "E_MISSING_FIELD"),
        ("no cost-metric", {**more, "cost-type": missing}, section, "E_MISSING_FIELD"),
        ("a cost-type that is text", {**more, "cost-type": "routingcost"}, "8.5.2", "E_INVALID_FIELD_TYPE"),
        ("a metric that is not offered", {**more, "cost-type": unknown}, section, "E_INVALID_FIELD_VALUE"),
    ]


def _errors(resource: Resource, cases: list[tuple[str, Any, str, str]]) -> Iterator[Probe]:
    for what, body, section, code in cases:
        yield _wrong(resource, what, body, section, code)


def _probe(resource: Resource, what: str, body: Any, judge: Judge) -> Probe:
    """One whose answer is held against the maps that are known."""
    return Probe(resource, what, json.dumps(body).encode(), judge, of_maps=True)


def _wrong(resource: Resource, what: str, body: Any, section: str, *codes: str) -> Probe:
    """One that must be refused with one of these codes, whatever the maps are."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Probe(resource, what, encoded, _error(section, *codes))


def _error(section: str, *codes: str) -> Judge:
    """The answer must be one error with one of these codes."""
    rule = section if section.startswith("RFC") else base(section)

    def judge(answer: Answer, where: str) -> Iterator[Finding]:
        if answer.status < 400:
            yield Finding(rule, where, f"it was answered with {answer.status} and not with {codes[0]}")
            return
        try:
            document = read_json(answer.body)
        except AltoError as error:
            yield Finding(base("8.5"), where, f"the error of status {answer.status}: {error}", must=False)
            return
        wrong = list(checking.check_error(document, answer.media_type, answer.status, where))
        yield from wrong
        code = document["meta"]["code"] if not wrong else codes[0]
        if code not in codes:
            yield Finding(rule, where, f"the error is {code} and not {' or '.join(codes)}")

    return judge


def _document(resource: Resource, judge: Callable[[Any, str], Iterator[Finding]]) -> Judge:
    """The answer must be the resource's document, which `judge` then looks at."""

    def whole(answer: Answer, where: str) -> Iterator[Finding]:
        if answer.status != 200:
            what = f"a request without error was answered with status {answer.status}"
            yield Finding(base("8.3.3"), where, what)
            return
        yield from checking.check_media_type(resource, answer.media_type)
        try:
            document = read_json(answer.body)
        except AltoError as error:
            yield Finding(base("8.4"), where, str(error))
            return
        yield from judge(document, where)

    return whole


def _known_costs(resource: Resource, kind: CostKind, known: Known) -> dict[str, dict[str, float]] | None:
    """The whole cost map of this cost type and network map, where one was fetched."""
    for document in known.cost_maps.values():
        meta = document.get("meta") if isinstance(document, Mapping) else None
        if not isinstance(meta, Mapping) or not isinstance(document.get("cost-map"), Mapping):
            continue
        tags, its = meta.get("dependent-vtags"), meta.get("cost-type")
        used = (
            tags[0].get("resource-id")
            if isinstance(tags, list) and tags and isinstance(tags[0], Mapping)
            else ""
        )
        if isinstance(its, Mapping) and used in resource.uses:
            if CostKind(its.get("cost-mode", ""), its.get("cost-metric", "")) != kind:
                continue
            return _part(document["cost-map"], lambda _s, _d, cost: math.isfinite(cost))
    return None


def _met(
    rows: Mapping[str, Mapping[str, float]], holds: Callable[[float, float], bool], limit: float
) -> dict[str, dict[str, float]]:
    """The pairs whose cost meets a constraint."""
    return _part(rows, lambda _s, _d, cost: holds(cost, limit))


def _part(
    rows: Mapping[str, Mapping[str, Any]], chosen: Callable[[str, str, float], bool]
) -> dict[str, dict[str, float]]:
    return {
        source: {
            target: cost
            for target, cost in row.items()
            if isinstance(cost, int | float) and chosen(source, target, cost)
        }
        for source, row in rows.items()
    }


def _pairs(rows: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for source, row in rows.items():
        if isinstance(row, Mapping):
            for target in row:
                yield source, target


def _prefixes(network_map: Any) -> list[tuple[str, str]]:
    try:
        return prefixes_of(network_map["network-map"])
    except (AltoError, KeyError, TypeError):
        return []


def _first_address(prefix: str) -> str:
    """The first address of a prefix, typed; of what is no prefix, one that every map has."""
    try:
        network = ip_network(prefix, strict=False)
    except ValueError:
        return "ipv4:192.0.2.1"
    return f"ipv{network.version}:{network.network_address}"


def _sets(groups: Mapping[str, Any]) -> dict[str, set[str]]:
    """The prefixes of each PID that has any; one without may be there or not."""
    found = {}
    for pid, group in groups.items():
        lists = group.values() if isinstance(group, Mapping) else ()
        found[pid] = {prefix for prefixes in lists if isinstance(prefixes, list) for prefix in prefixes}
    return {pid: prefixes for pid, prefixes in found.items() if prefixes}


def _difference(answered: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    if set(_sets(answered)) != set(_sets(expected)):
        return f"the answer has {len(answered)} PIDs and not the {len(expected)} that were asked for"
    return "the answer has other addresses than the full map has of what was asked for"
