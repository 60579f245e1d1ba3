"""What is wrong with the documents of an ALTO server, any server: each finding names its RFC and section.

In come parsed JSON documents and what the directory says of them, out come `Finding`s; none means that
nothing is wrong. What a server answers to requests with a body is looked at by `probing`.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.portal.alto.model import (
    COST_MAP_FILTER_TYPE,
    COST_MAP_TYPE,
    DIRECTORY_TYPE,
    ENDPOINT_COST_TYPE,
    ENDPOINT_PROPERTY_TYPE,
    ERROR_TYPE,
    NETWORK_MAP_TYPE,
)
from testbed.portal.alto.reading import ADDRESS_TYPES, Closure, CostKind, Directory, Resource

PROPERTY_MAP_TYPE = "application/alto-propmap+json"
PROPERTY_MAP_PARAMS_TYPE = "application/alto-propmapparams+json"
UPDATE_STREAM_TYPE = "text/event-stream"
UPDATE_STREAM_PARAMS_TYPE = "application/alto-updatestreamparams+json"
UPDATE_STREAM_CONTROL_TYPE = "application/alto-updatestreamcontrol+json"

ERROR_CODES = ("E_SYNTAX", "E_MISSING_FIELD", "E_INVALID_FIELD_TYPE", "E_INVALID_FIELD_VALUE")

_PID = re.compile(r"[A-Za-z0-9\-:@_.]{1,64}")
_METRIC = re.compile(r"[A-Za-z0-9\-:_.]{1,32}")
_MODE = re.compile(r"[A-Za-z0-9\-:_]{1,32}")  # RFC 9274 takes modes beyond numerical and ordinal
_PROPERTY = re.compile(r"(?:[A-Za-z0-9\-:@_.]{0,64}\.)?[A-Za-z0-9\-:_]{1,32}")
_TAG = re.compile(r"[\x21-\x7e]{1,64}")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9]+")

_MOST_NAMED = 3  # of many things that are wrong in the same way


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `must` tells a violation from what a server only should not do."""

    section: str
    """Such as `RFC 7285, 11.2.1.6`."""
    where: str
    """The resource, and the field in it."""
    what: str
    must: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.section})"


def check_directory(document: Any, where: str, *, root: bool) -> Iterator[Finding]:
    """One directory, as far as it can be seen alone (section 9.2.2). A `root` names the default map."""
    if not isinstance(document, Mapping) or not isinstance(document.get("resources"), Mapping):
        yield Finding(base("9.2.2"), where, "there is no object 'resources'")
        return
    meta = document.get("meta")
    if not isinstance(meta, Mapping):
        yield Finding(base("8.4"), where, "there is no object 'meta'")
        meta = {}
    if root and not isinstance(meta.get("default-alto-network-map"), str):
        yield Finding(base("9.2.2"), f"{where}: meta", "a root directory has 'default-alto-network-map'")
    named = meta.get("cost-types", {})
    if not isinstance(named, Mapping):
        yield Finding(base("9.2.2"), f"{where}: meta/cost-types", "it is no object")
        named = {}
    for name, kind in named.items():
        yield from check_cost_type(kind, f"{where}: meta/cost-types/{name}")
    for name, entry in document["resources"].items():
        yield from _check_entry(name, entry, named, f"{where}: resources/{name}")


def check_closure(directories: Iterable[Directory]) -> Iterator[Finding]:
    """What all directories have to say together (sections 8.3.1, 9 and 11)."""
    read = list(directories)
    closure = Closure.of(read)
    for name, times in Counter(entry.id for directory in read for entry in directory.resources).items():
        if times > 1:
            yield Finding(base("9.1.1"), name, f"{times} resources have this id")
    network_maps = closure.of_type(NETWORK_MAP_TYPE)
    if not network_maps:
        yield Finding(base("11.2.1"), "directory", "there is no network map")
    if closure.default_network_map and closure.default_network_map not in {x.id for x in network_maps}:
        what = f"'{closure.default_network_map}' is no network map of the directory"
        yield Finding(base("9.2.2"), "directory: meta/default-alto-network-map", what)
    for entry in closure.resources.values():
        for used in entry.uses:
            if used not in closure.resources:
                yield Finding(base("9.2.2"), f"{entry.id}: uses", f"there is no resource '{used}'")
    cost_maps = closure.of_type(COST_MAP_TYPE)
    if not any(kind.metric == "routingcost" for entry in cost_maps for kind in entry.cost_types.values()):
        yield Finding(base("11.2.3"), "directory", "there is no cost map for routingcost")
    keys = Counter((kind, entry.uses) for entry in cost_maps for kind in entry.cost_types.values())
    for (kind, uses), times in keys.items():
        if times > 1:
            what = f"{times} cost maps for {kind.mode} {kind.metric} of {', '.join(uses)}"
            yield Finding(base("11.2.3.5"), "directory", what)
    offered = {
        name
        for entry in closure.resources.values()
        if entry.media_type == ENDPOINT_PROPERTY_TYPE
        for name in _list_of_text(entry.capabilities.get("prop-types"))
    }
    for entry in network_maps:
        if f"{entry.id}.pid" not in offered:
            what = f"no endpoint property service offers '{entry.id}.pid'"
            yield Finding(base("11.4.1.4"), "directory", what)


def check_cost_type(kind: Any, where: str) -> Iterator[Finding]:
    """A cost type (section 10.7), with the cost-context of RFC 9439."""
    if not isinstance(kind, Mapping):
        yield Finding(base("10.7"), where, "it is no object")
        return
    metric, mode, context = kind.get("cost-metric"), kind.get("cost-mode"), kind.get("cost-context")
    if not isinstance(metric, str) or not _METRIC.fullmatch(metric) or metric == "priv:":
        what = f"{_shown(metric)} is no cost metric: at most 32 characters of A-Z a-z 0-9 - : _"
        yield Finding(base("10.6"), f"{where}/cost-metric", what)
    if not isinstance(mode, str) or not _MODE.fullmatch(mode):
        yield Finding(base("10.5"), f"{where}/cost-mode", f"{_shown(mode)} is neither numerical nor ordinal")
    if not isinstance(kind.get("description", ""), str):
        yield Finding(base("10.7"), f"{where}/description", "it is no string")
    if context is not None:
        source = context.get("cost-source") if isinstance(context, Mapping) else None
        if source not in ("nominal", "sla", "estimation"):
            what = f"{_shown(source)} is none of nominal, sla and estimation"
            yield Finding("RFC 9439, 3.1", f"{where}/cost-context/cost-source", what)


def check_network_map(
    document: Any, entry: Resource, *, full: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """A network map (section 11.2.1), or with `full`, the whole map, one that was filtered from it."""
    meta, groups, found = _parts(document, entry.id, "network-map", "11.2.1.6")
    yield from found
    if groups is None:
        return
    tag_of = full["meta"]["vtag"] if full else None
    vtag = meta.get("vtag")
    yield from _check_vtag(vtag, f"{entry.id}: meta/vtag", "11.2.1.6")
    if isinstance(vtag, Mapping):
        if tag_of is None and vtag.get("resource-id") != entry.id:
            what = f"it is '{vtag.get('resource-id')}' and not the map's own id"
            yield Finding(base("11.2.1.6"), f"{entry.id}: meta/vtag/resource-id", what)
        if tag_of is not None and vtag != tag_of:
            yield Finding(base("11.3.1.6"), f"{entry.id}: meta/vtag", "it is not that of the full map")
    yield from _check_groups(groups, entry.id, whole=full is None)


def check_cost_map(
    document: Any, entry: Resource, network_map: Any = None, kinds: Iterable[CostKind] = ()
) -> Iterator[Finding]:
    """A cost map (section 11.2.3), filtered or not, of one of the cost types `kinds`, by default those that
    the directory names. `network_map` is the whole document of the map that it uses.
    """
    meta, rows, found = _parts(document, entry.id, "cost-map", "11.2.3.6")
    yield from found
    if rows is None:
        return
    tags = meta.get("dependent-vtags")
    where = f"{entry.id}: meta/dependent-vtags"
    if not isinstance(tags, list) or len(tags) != 1:
        yield Finding(base("11.2.3.6"), where, "it is no array of exactly one version tag")
    else:
        yield from _check_vtag(tags[0], f"{where}[0]", "11.2.3.6")
        if network_map is not None and tags[0] != _get(network_map, "meta", "vtag"):
            yield Finding(base("11.2.3.6"), where, "it is not the version tag of the network map")
    yield from _check_answered_kind(meta, entry, tuple(kinds), "11.2.3.6")
    pids = _get(network_map, "network-map") if network_map is not None else None
    if isinstance(pids, Mapping):
        ends = dict.fromkeys(
            [*rows, *(end for row in rows.values() if isinstance(row, Mapping) for end in row)]
        )
        unknown = [pid for pid in ends if pid not in pids]
        yield from _each(base("11.2.3"), f"{entry.id}: cost-map", "is no PID of the network map", unknown)
    yield from check_costs(rows, f"{entry.id}: cost-map", meta, "11.2.3.6")


def check_endpoint_costs(document: Any, entry: Resource, kinds: Iterable[CostKind] = ()) -> Iterator[Finding]:
    """An answer of the endpoint cost service (section 11.5.1.6)."""
    meta, rows, found = _parts(document, entry.id, "endpoint-cost-map", "11.5.1.6")
    yield from found
    if rows is None:
        return
    yield from _check_answered_kind(meta, entry, tuple(kinds), "11.5.1.6")
    ends = dict.fromkeys([*rows, *(end for row in rows.values() if isinstance(row, Mapping) for end in row)])
    wrong = [end for end in ends if not is_typed_address(end)]
    yield from _each(base("10.4.1"), f"{entry.id}: endpoint-cost-map", "is no typed address", wrong)
    yield from check_costs(rows, f"{entry.id}: endpoint-cost-map", meta, "11.5.1.6")


def check_endpoint_properties(
    document: Any, entry: Resource, asked: Mapping[str, Iterable[str]], network_maps: Mapping[str, Any]
) -> Iterator[Finding]:
    """An answer of the endpoint property service (section 11.4.1.6).

    `asked` are the properties by endpoint, `network_maps` whole documents by id, those that are known.
    """
    meta, rows, found = _parts(document, entry.id, "endpoint-properties", "11.4.1.6")
    yield from found
    if rows is None:
        return
    where = f"{entry.id}: endpoint-properties"
    yield from _each(
        base("11.4.1.6"), where, "was asked for and has no member", [x for x in asked if x not in rows]
    )
    yield from _each(base("11.4.1.6"), where, "was not asked for", [x for x in rows if x not in asked])
    wanted = {name for names in asked.values() for name in names}
    for end, properties in rows.items():
        if not isinstance(properties, Mapping):
            yield Finding(base("11.4.1.6"), f"{where}/{end}", "it is no object")
            continue
        more = [name for name in properties if name not in wanted]
        yield from _each(base("11.4.1.6"), f"{where}/{end}", "was not asked for", more)
    tags = meta.get("dependent-vtags")
    for name in wanted:
        resource_id, dot, kind = name.rpartition(".")
        if not dot or kind != "pid":
            continue
        its = [x for x in tags if _get(x, "resource-id") == resource_id] if isinstance(tags, list) else []
        if not its:
            what = f"the version tag of '{resource_id}' is missing, whose pid was asked for"
            yield Finding(base("11.4.1.6"), f"{entry.id}: meta/dependent-vtags", what)
        elif resource_id in network_maps and its[0] != _get(network_maps[resource_id], "meta", "vtag"):
            what = f"it is not the version tag of '{resource_id}'"
            yield Finding(base("11.4.1.6"), f"{entry.id}: meta/dependent-vtags", what)


def check_property_map(document: Any, entry: Resource) -> Iterator[Finding]:
    """A property map (RFC 9240, sections 7.6 and 8.6)."""
    meta, rows, found = _parts(document, entry.id, "property-map", "7.6", rfc="RFC 9240")
    yield from found
    if rows is None:
        return
    where = f"{entry.id}: property-map"
    wrong = [entity for entity in rows if not re.fullmatch(r"[^:]+:.+", entity)]
    yield from _each("RFC 9240, 5.1.3", where, "is no entity: domain:name", wrong)
    flat = [entity for entity, properties in rows.items() if not isinstance(properties, Mapping)]
    yield from _each("RFC 9240, 7.6", where, "has no object of properties", flat)
    tags = meta.get("dependent-vtags", [])
    if not isinstance(tags, list):
        yield Finding("RFC 9240, 7.6", f"{entry.id}: meta/dependent-vtags", "it is no array")
        return
    for number, tag in enumerate(tags):
        yield from _check_vtag(tag, f"{entry.id}: meta/dependent-vtags[{number}]", "10.3")


def check_error(document: Any, media_type: str, status: int, where: str) -> Iterator[Finding]:
    """An error (section 8.5): its code, its fields, and the HTTP status that it came with."""
    if not 400 <= status <= 599:
        yield Finding(base("8.5"), where, f"HTTP status {status} is none of an error")
    if media_type != ERROR_TYPE:
        yield Finding(base("8.5.1"), where, f"an error of type {media_type or 'none'} and not {ERROR_TYPE}")
        return
    meta = _get(document, "meta")
    if not isinstance(meta, Mapping) or meta.get("code") not in ERROR_CODES:
        what = f"{_shown(_get(meta, 'code'))} is none of {', '.join(ERROR_CODES)}"
        yield Finding(base("8.5.2"), f"{where}: meta/code", what)
        return
    if "value" in meta and not isinstance(meta["value"], str):
        yield Finding(base("8.5.2"), f"{where}: meta/value", "it is no string")
    if "value" in meta and "field" not in meta:
        yield Finding(base("8.5.2"), f"{where}: meta/value", "it is there without 'field'")
    if "value" in meta and meta["code"] != "E_INVALID_FIELD_VALUE":
        what = f"it belongs to E_INVALID_FIELD_VALUE and not to {meta['code']}"
        yield Finding(base("8.5.2"), f"{where}: meta/value", what, must=False)


def check_media_type(entry: Resource, media_type: str) -> Iterator[Finding]:
    """What came back against what the directory says of it (sections 8.3.3 and 9.2.2)."""
    if not media_type:
        yield Finding(base("8.3.3"), entry.id, "the answer has no Content-Type")
    elif media_type != entry.media_type:
        what = f"the answer is {media_type}, the directory says {entry.media_type}"
        yield Finding(base("8.3.3"), entry.id, what)


def check_get(document: Any, entry: Resource, network_maps: Mapping[str, Any]) -> Iterator[Finding]:
    """What a GET of this resource brought, by its media type; of a type that is not known, nothing."""
    if entry.media_type == NETWORK_MAP_TYPE:
        yield from check_network_map(document, entry)
    elif entry.media_type == COST_MAP_TYPE:
        used = entry.uses[0] if len(entry.uses) == 1 else ""
        yield from check_cost_map(document, entry, network_maps.get(used))
    elif entry.media_type == PROPERTY_MAP_TYPE:
        yield from check_property_map(document, entry)


def check_costs(
    rows: Mapping[str, Any], where: str, meta: Mapping[str, Any], section: str
) -> Iterator[Finding]:
    """The costs of a map or of endpoints: numbers, unless an extension says other (sections 6.1.2, 11.2.3.6).

    RFC 8189 has an array of each cost type's, RFC 8896 one of each interval's.
    """
    flat = [source for source, row in rows.items() if not isinstance(row, Mapping)]
    yield from _each(base(section), where, "has no object of costs", flat)
    several, calendar = "multi-cost-types" in meta, "calendar-response-attributes" in meta
    if several:
        count = len(meta["multi-cost-types"]) if isinstance(meta["multi-cost-types"], list) else 0
        short = [
            f"{source} to {target}"
            for source, target, cost in _pairs(rows)
            if not isinstance(cost, list) or len(cost) != count
        ]
        yield from _each("RFC 8189, 4.1.3", where, f"has no array of {count} costs", short)
        return
    if calendar:
        yield from check_calendar(rows, where, meta)
        return
    numeric = _get(meta, "cost-type", "cost-mode") in ("numerical", "ordinal")
    wrong = [f"{source} to {target}" for source, target, cost in _pairs(rows) if not _is_number(cost)]
    if numeric:
        yield from _each(base(section), where, "has a cost that is no number", wrong)


def check_calendar(rows: Mapping[str, Any], where: str, meta: Mapping[str, Any]) -> Iterator[Finding]:
    """An answer with a calendar (RFC 8896, section 5.1.2): as many values as there are intervals."""
    attributes = meta["calendar-response-attributes"]
    first = attributes[0] if isinstance(attributes, list) and attributes else attributes
    count = _get(first, "number-of-intervals")
    place = f"{where.partition(':')[0]}: meta/calendar-response-attributes"
    start = _get(first, "calendar-start-time")
    if not isinstance(start, str) or not re.fullmatch(
        r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", start
    ):
        yield Finding("RFC 8896, 5.1.2", f"{place}/calendar-start-time", f"{_shown(start)} is no IMF-fixdate")
    size = _get(first, "time-interval-size")
    if not _is_number(size) or size <= 0:
        yield Finding("RFC 8896, 4.1", f"{place}/time-interval-size", "it is no number above 0")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        yield Finding("RFC 8896, 4.1", f"{place}/number-of-intervals", "it is no whole number from 1")
        return
    short = [
        f"{source} to {target}"
        for source, target, cost in _pairs(rows)
        if not isinstance(cost, list) or len(cost) != count
    ]
    yield from _each("RFC 8896, 5.1.2", where, f"has no array of {count} values", short)


def is_typed_address(text: str) -> bool:
    """Whether `ipv4:192.0.2.1` or the like (section 10.4); types of other registrations pass."""
    kind, colon, address = text.partition(":")
    if not colon or not _ADDRESS_TYPE.fullmatch(kind):
        return False
    if kind not in ADDRESS_TYPES:
        return bool(address)
    try:
        return ipaddress.ip_address(address).version == ADDRESS_TYPES[kind]
    except ValueError:
        return False


def base(section: str) -> str:
    """A section of the base protocol."""
    return f"RFC 7285, {section}"


def _check_entry(name: str, entry: Any, cost_types: Mapping[str, Any], where: str) -> Iterator[Finding]:
    if not _PID.fullmatch(name) or "." in name:
        what = "no resource id: at most 64 characters of A-Z a-z 0-9 - : @ _"
        yield Finding(base("10.2"), where, what)
    if not isinstance(entry, Mapping):
        yield Finding(base("9.2.2"), where, "it is no object")
        return
    for key in ("uri", "media-type"):
        if not isinstance(entry.get(key), str):
            yield Finding(base("9.2.2"), f"{where}/{key}", "it is missing or no string")
    if not isinstance(entry.get("accepts", ""), str):
        yield Finding(base("9.2.2"), f"{where}/accepts", "it is no string")
    if not isinstance(entry.get("capabilities", {}), Mapping):
        yield Finding(base("9.2.2"), f"{where}/capabilities", "it is no object")
        return
    uses = entry.get("uses", [])
    if not isinstance(uses, list) or not all(isinstance(used, str) for used in uses):
        yield Finding(base("9.2.2"), f"{where}/uses", "it is no array of resource ids")
        return
    yield from _check_capabilities(entry, entry.get("capabilities", {}), uses, cost_types, where)


def _check_capabilities(
    entry: Mapping[str, Any],
    capabilities: Mapping[str, Any],
    uses: list[str],
    cost_types: Mapping[str, Any],
    where: str,
) -> Iterator[Finding]:
    kind, accepts = entry.get("media-type"), entry.get("accepts", "")
    if kind == DIRECTORY_TYPE and accepts:
        yield Finding(base("9.2"), f"{where}/accepts", "a directory is fetched with GET")
    if kind in (COST_MAP_TYPE, ENDPOINT_COST_TYPE):
        yield from _check_cost_capabilities(capabilities, cost_types, where, whole=not accepts)
    if kind == COST_MAP_TYPE and len(uses) != 1:
        section = "11.3.2.5" if accepts == COST_MAP_FILTER_TYPE else "11.2.3.5"
        yield Finding(base(section), f"{where}/uses", "a cost map uses exactly one network map")
    if kind == NETWORK_MAP_TYPE and accepts and len(uses) != 1:
        yield Finding(
            base("11.3.1.5"), f"{where}/uses", "a filtered map uses the map that it is filtered from"
        )
    if kind == NETWORK_MAP_TYPE and not accepts and uses:
        yield Finding(base("11.2.1.5"), f"{where}/uses", "a network map uses nothing", must=False)
    if kind == ENDPOINT_COST_TYPE and "uses" in entry:
        yield Finding(base("11.5.1.5"), f"{where}/uses", "an endpoint cost service must not say what it uses")
    if kind == ENDPOINT_PROPERTY_TYPE:
        names = _list_of_text(capabilities.get("prop-types"))
        if not names:
            yield Finding(base("11.4.1.4"), f"{where}/capabilities/prop-types", "no property is named")
        wrong = [name for name in names if not _PROPERTY.fullmatch(name)]
        yield from _each(base("10.8"), f"{where}/capabilities/prop-types", "is no property", wrong)
    if kind == PROPERTY_MAP_TYPE and not isinstance(capabilities.get("mappings"), Mapping):
        yield Finding("RFC 9240, 7.4", f"{where}/capabilities/mappings", "it is missing or no object")
    if kind == UPDATE_STREAM_TYPE:
        media = capabilities.get("incremental-change-media-types", {})
        if not isinstance(media, Mapping):
            yield Finding(
                "RFC 8895, 6.3", f"{where}/capabilities/incremental-change-media-types", "no object"
            )
        if not uses:
            yield Finding("RFC 8895, 6.4", f"{where}/uses", "no resource is named that could be watched")
    yield from _check_calendar_capabilities(capabilities, where)


def _check_cost_capabilities(
    capabilities: Mapping[str, Any], cost_types: Mapping[str, Any], where: str, *, whole: bool
) -> Iterator[Finding]:
    names = _list_of_text(capabilities.get("cost-type-names"))
    place = f"{where}/capabilities/cost-type-names"
    if whole and len(names) != 1:
        yield Finding(base("11.2.3.4"), place, f"{len(names)} names; a cost map has exactly one")
    elif not names:
        yield Finding(base("11.3.2.4"), place, "no cost type is named")
    unknown = [name for name in names if name not in cost_types]
    yield from _each(base("11.2.3.4"), place, "is not in meta/cost-types", unknown)
    if not isinstance(capabilities.get("cost-constraints", False), bool):
        yield Finding(
            base("11.3.2.4"), f"{where}/capabilities/cost-constraints", "it is neither true nor false"
        )
    most = capabilities.get("max-cost-types", 0)
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        yield Finding(
            "RFC 8189, 4.1.1", f"{where}/capabilities/max-cost-types", "it is no whole number from 0"
        )
    testable = _list_of_text(capabilities.get("testable-cost-type-names", []))
    unknown = [name for name in testable if name not in cost_types]
    place = f"{where}/capabilities/testable-cost-type-names"
    yield from _each("RFC 8189, 4.1.1", place, "is not in meta/cost-types", unknown)


def _check_calendar_capabilities(capabilities: Mapping[str, Any], where: str) -> Iterator[Finding]:
    attributes = capabilities.get("calendar-attributes", [])
    where = f"{where}/capabilities/calendar-attributes"
    if not isinstance(attributes, list):
        yield Finding("RFC 8896, 4.1", where, "it is no array")
        return
    offered = _list_of_text(capabilities.get("cost-type-names"))
    for number, one in enumerate(attributes):
        place = f"{where}[{number}]"
        names = _list_of_text(_get(one, "cost-type-names"))
        if not names:
            yield Finding("RFC 8896, 4.1", f"{place}/cost-type-names", "no cost type is named")
        unknown = [name for name in names if name not in offered]
        yield from _each("RFC 8896, 4.1", f"{place}/cost-type-names", "is not offered here", unknown)
        size, count = _get(one, "time-interval-size"), _get(one, "number-of-intervals")
        if not _is_number(size) or size <= 0:
            yield Finding("RFC 8896, 4.1", f"{place}/time-interval-size", "it is no number above 0")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            yield Finding("RFC 8896, 4.1", f"{place}/number-of-intervals", "it is no whole number from 1")


def _check_vtag(vtag: Any, where: str, section: str) -> Iterator[Finding]:
    if not isinstance(vtag, Mapping):
        yield Finding(base(section), where, "there is no version tag")
        return
    resource_id, tag = vtag.get("resource-id"), vtag.get("tag")
    if not isinstance(resource_id, str) or not _PID.fullmatch(resource_id):
        yield Finding(base("10.3"), f"{where}/resource-id", f"{_shown(resource_id)} is no resource id")
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        what = f"{_shown(tag)} is no tag: at most 64 characters from 0x21 to 0x7E"
        yield Finding(base("10.3"), f"{where}/tag", what)


def _check_groups(groups: Mapping[str, Any], where: str, *, whole: bool) -> Iterator[Finding]:
    wrong = [pid for pid in groups if not _PID.fullmatch(pid) or "." in pid]
    what = "is no PID: at most 64 characters of A-Z a-z 0-9 - : @ _"
    yield from _each(base("10.1"), f"{where}: network-map", what, wrong)
    owners: dict[str, list[str]] = {}
    for pid, group in groups.items():
        place = f"{where}: network-map/{pid}"
        if not isinstance(group, Mapping):
            yield Finding(base("11.2.1.6"), place, "it is no object")
            continue
        kinds = [kind for kind in group if not _ADDRESS_TYPE.fullmatch(kind)]
        yield from _each(base("10.4.2"), place, "is no address type", kinds)
        for kind, version in ADDRESS_TYPES.items():
            yield from _check_prefixes(group.get(kind, []), version, f"{place}/{kind}", pid, owners)
    shared = {prefix: pids for prefix, pids in owners.items() if len(set(pids)) > 1}
    texts = [f"{prefix} ({', '.join(pids)})" for prefix, pids in shared.items()]
    yield from _each(base("11.2.2"), f"{where}: network-map", "is in more than one PID", texts)
    if whole:
        yield from _check_complete(owners, where)


def _check_prefixes(
    prefixes: Any, version: int, where: str, pid: str, owners: dict[str, list[str]]
) -> Iterator[Finding]:
    """Also notes whose each prefix is."""
    if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
        yield Finding(base("10.4.5"), where, "it is no array of prefixes")
        return
    for prefix in prefixes:
        try:
            network = ipaddress.ip_network(prefix, strict=False)
        except ValueError:
            yield Finding(base("10.4.4"), where, f"{_shown(prefix)} is no prefix")
            continue
        if network.version != version or "/" not in prefix:
            yield Finding(base("10.4.4"), where, f"{_shown(prefix)} is no prefix of IPv{version}")
        elif prefix.partition("/")[0] != str(network.network_address) and version == 4:
            what = f"{prefix} has bits beyond its length; {network} is meant"
            yield Finding(base("10.4.4.1"), where, what, must=False)
        owners.setdefault(str(network), []).append(pid)


def _check_complete(owners: Mapping[str, Any], where: str) -> Iterator[Finding]:
    """Every address of the kinds that are there has a PID (section 11.2.2)."""
    networks = [ipaddress.ip_network(prefix) for prefix in owners]
    for version, everything in ((4, "0.0.0.0/0"), (6, "::/0")):
        its: list[Any] = [network for network in networks if network.version == version]
        if its and [str(network) for network in ipaddress.collapse_addresses(its)] != [everything]:
            what = f"not every IPv{version} address has a PID: the prefixes do not add up to {everything}"
            yield Finding(base("11.2.2"), f"{where}: network-map", what)


def _check_answered_kind(
    meta: Mapping[str, Any], entry: Resource, kinds: tuple[CostKind, ...], section: str
) -> Iterator[Finding]:
    if "multi-cost-types" in meta:
        listed = meta["multi-cost-types"]
        if not isinstance(listed, list) or any(True for one in listed for _ in check_cost_type(one, "")):
            yield Finding("RFC 8189, 4.1.3", f"{entry.id}: meta/multi-cost-types", "no array of cost types")
        return
    kind = meta.get("cost-type")
    if kind is None:
        yield Finding(base(section), f"{entry.id}: meta/cost-type", "it is missing")
        return
    wrong = list(check_cost_type(kind, f"{entry.id}: meta/cost-type"))
    yield from wrong
    allowed = kinds or tuple(entry.cost_types.values())
    if not wrong and allowed and CostKind(kind["cost-mode"], kind["cost-metric"]) not in allowed:
        what = f"{kind['cost-mode']} {kind['cost-metric']} is not what was asked for"
        yield Finding(base(section), f"{entry.id}: meta/cost-type", what)


def _parts(
    document: Any, where: str, data: str, section: str, rfc: str = "RFC 7285"
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None, list[Finding]]:
    """The meta and the data of an answer, and what is wrong with having them (section 8.4)."""
    if not isinstance(document, Mapping):
        return {}, None, [Finding(base("8.4"), where, "the document is no object")]
    found = []
    meta, rows = document.get("meta"), document.get(data)
    if not isinstance(meta, Mapping):
        found.append(Finding(base("8.4"), where, "there is no object 'meta'"))
        meta = {}
    if not isinstance(rows, Mapping):
        found.append(Finding(f"{rfc}, {section}", where, f"there is no object '{data}'"))
        rows = None
    return meta, rows, found


def _each(section: str, where: str, what: str, names: list[str]) -> Iterator[Finding]:
    """Some findings of a kind; of many the first, and how many more there are."""
    for name in names[:_MOST_NAMED]:
        yield Finding(section, where, f"{_shown(name)} {what}")
    if len(names) > _MOST_NAMED:
        yield Finding(section, where, f"and {len(names) - _MOST_NAMED} more: {what}")


def _pairs(rows: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for source, row in rows.items():
        if isinstance(row, Mapping):
            for target, cost in row.items():
                yield source, target, cost


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _list_of_text(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
