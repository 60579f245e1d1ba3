"""The other side of ALTO (RFC 7285): what a client makes of the documents that a server sends.

In come parsed JSON documents and the URI that they came from, out come the resources' URIs, a map from
address to PID and the distances between PIDs. Unknown fields are ignored (section 8.3.7); what is wrong
raises `AltoError`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from testbed.portal.alto.documents import COST_MAP_TYPE, NETWORK_MAP_TYPE, ROUTINGCOST
from testbed.portal.prefixes import PrefixTable


class AltoError(ValueError):
    """A server's answer that is no valid ALTO document, or that lacks what we need."""


@dataclass(frozen=True)
class MapUris:
    """Where the default network map and its numerical routingcost map are."""

    network_map: str
    cost_map: str


@dataclass(frozen=True)
class NetworkMap:
    """The PID of every address, and the tag that a cost map refers to."""

    tag: str
    pids: PrefixTable[str]


@dataclass(frozen=True)
class CostMap:
    """`costs[source PID][destination PID]`, and the tag of the network map whose PIDs these are."""

    network_map_tag: str
    costs: Mapping[str, Mapping[str, float]]


def read_directory(document: Any, directory_uri: str) -> MapUris:
    """The URIs of the default network map and of its cost map; relative ones count from `directory_uri`."""
    meta = _mapping(document, "meta")
    resources = _mapping(document, "resources")
    map_id = _text(meta, "default-alto-network-map")
    cost_types = _mapping(meta, "cost-types")
    wanted = {name for name, kind in cost_types.items() if _is_routingcost(kind)}
    network_map = _entry(resources, map_id, NETWORK_MAP_TYPE)
    for resource_id in resources:
        entry = _mapping(resources, resource_id)
        if _is_cost_map_of(entry, map_id, wanted):
            return MapUris(
                urljoin(directory_uri, _text(network_map, "uri")), urljoin(directory_uri, _text(entry, "uri"))
            )
    raise AltoError(f"the directory has no numerical routingcost map of network map {map_id!r}")


def read_network_map(document: Any) -> NetworkMap:
    """The network map of section 11.2.1; address types other than ipv4 and ipv6 are ignored."""
    tag = _text(_mapping(_mapping(document, "meta"), "vtag"), "tag")
    entries: list[tuple[str, str]] = []
    groups = _mapping(document, "network-map")
    for pid in groups:
        addresses = _mapping(groups, pid)
        for kind in ("ipv4", "ipv6"):
            prefixes = addresses.get(kind, [])
            if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
                raise AltoError(f"{kind} of PID {pid!r} is not a list of prefixes")
            entries += [(prefix, pid) for prefix in prefixes]
    try:
        return NetworkMap(tag, PrefixTable(entries))
    except ValueError as error:
        raise AltoError(f"the network map is wrong: {error}") from error


def read_cost_map(document: Any) -> CostMap:
    """The cost map of section 11.2.3; costs are finite numbers >= 0."""
    meta = _mapping(document, "meta")
    tags = meta.get("dependent-vtags")
    if not isinstance(tags, list) or len(tags) != 1:
        raise AltoError("a cost map has one dependent-vtags entry")
    if not _is_routingcost(meta.get("cost-type")):
        raise AltoError("the cost map is not numerical routingcost")
    rows = _mapping(document, "cost-map")
    costs = {
        source: {target: _cost(source, target, value) for target, value in _mapping(rows, source).items()}
        for source in rows
    }
    return CostMap(_text(tags[0], "tag"), costs)


def _cost(source: str, target: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise AltoError(f"the cost from {source!r} to {target!r} is not a number >= 0")
    return float(value)


def _is_routingcost(kind: Any) -> bool:
    return isinstance(kind, Mapping) and all(kind.get(key) == value for key, value in ROUTINGCOST.items())


def _is_cost_map_of(entry: Mapping[str, Any], map_id: str, wanted: set[str]) -> bool:
    """An entry with `accepts` is a filtered map, which takes POST alone (section 11.3.2)."""
    capabilities = entry.get("capabilities")
    names = capabilities.get("cost-type-names") if isinstance(capabilities, Mapping) else None
    return (
        entry.get("media-type") == COST_MAP_TYPE
        and "accepts" not in entry
        and entry.get("uses") == [map_id]
        and isinstance(names, list)
        and any(name in wanted for name in names)
    )


def _entry(resources: Mapping[str, Any], resource_id: str, media_type: str) -> Mapping[str, Any]:
    entry = _mapping(resources, resource_id)
    if entry.get("media-type") != media_type:
        raise AltoError(f"resource {resource_id!r} is not {media_type}")
    return entry


def _mapping(parent: Any, key: str) -> Mapping[str, Any]:
    value = parent.get(key) if isinstance(parent, Mapping) else None
    if not isinstance(value, Mapping):
        raise AltoError(f"the field {key!r} is missing or no object")
    return value


def _text(parent: Any, key: str) -> str:
    value = parent.get(key) if isinstance(parent, Mapping) else None
    if not isinstance(value, str):
        raise AltoError(f"the field {key!r} is missing or no string")
    return value
