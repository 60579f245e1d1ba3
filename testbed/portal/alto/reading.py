"""The other side of ALTO (RFC 7285): what a client makes of the documents that a server sends.

In come parsed JSON documents and the URI that they came from, out come the resources of a directory, a map
from address to PID and the distances between PIDs. Unknown fields are ignored (section 8.3.7); what is wrong
raises `AltoError`. `checking` says of a document all that is wrong with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any
from urllib.parse import urljoin

from testbed.portal.alto.model import COST_MAP_TYPE, DIRECTORY_TYPE, NETWORK_MAP_TYPE
from testbed.portal.prefixes import PrefixTable

ADDRESS_TYPES = {"ipv4": 4, "ipv6": 6}


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


@dataclass(frozen=True)
class CostKind:
    """A cost type without its name (section 10.7): names are local to one directory (section 9.2.2)."""

    mode: str
    metric: str

    def to_json(self) -> dict[str, str]:
        return {"cost-mode": self.mode, "cost-metric": self.metric}


ROUTINGCOST = CostKind("numerical", "routingcost")


@dataclass(frozen=True)
class Resource:
    """One entry of a directory (section 9.2.2), its URI absolute. `accepts` is empty with GET."""

    id: str
    uri: str
    media_type: str
    accepts: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    cost_types: Mapping[str, CostKind] = field(default_factory=dict)
    """Those that its capabilities name, by name."""


@dataclass(frozen=True)
class Directory:
    """A directory, as far as it can be read. The default network map is named by a root directory only."""

    uri: str
    default_network_map: str
    resources: tuple[Resource, ...]

    @property
    def delegated(self) -> tuple[Resource, ...]:
        """The directories that this one leads to (section 9.2.4)."""
        return tuple(entry for entry in self.resources if entry.media_type == DIRECTORY_TYPE)


@dataclass(frozen=True)
class Closure:
    """All resources that a root directory leads to (section 8.3.1), by id."""

    default_network_map: str
    resources: Mapping[str, Resource]

    @classmethod
    def of(cls, directories: Sequence[Directory]) -> Closure:
        """The root first. Where an id is there twice, which is wrong (section 9.1.1), the first counts."""
        resources: dict[str, Resource] = {}
        for directory in directories:
            for entry in directory.resources:
                if entry.media_type != DIRECTORY_TYPE:
                    resources.setdefault(entry.id, entry)
        return cls(directories[0].default_network_map if directories else "", resources)

    def of_type(self, media_type: str, accepts: str = "") -> tuple[Resource, ...]:
        """The resources that answer with `media_type` to requests of the type `accepts`, "" for GET."""
        return tuple(
            entry
            for entry in self.resources.values()
            if (entry.media_type, entry.accepts) == (media_type, accepts)
        )

    def default_maps(self) -> tuple[Resource | None, Resource | None]:
        """The default network map and its map of numerical routingcost, else its first cost map."""
        network_map = self.resources.get(self.default_network_map)
        its_costs = [
            entry for entry in self.of_type(COST_MAP_TYPE) if entry.uses == (self.default_network_map,)
        ]
        its_costs.sort(key=lambda entry: ROUTINGCOST not in entry.cost_types.values())
        return network_map, its_costs[0] if its_costs else None


def read_json(body: bytes) -> Any:
    """The document in an answer's body (RFC 8259). Raises AltoError where it is none."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise AltoError("the answer is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise AltoError(f"the answer is no JSON: {error}") from None


def read_entries(document: Any, directory_uri: str) -> Directory:
    """All entries of a directory that can be used; relative URIs count from `directory_uri`.

    Entries without URI or media type are left out. Raises AltoError where the document is no directory.
    """
    entries = _mapping(document, "resources")
    meta = _object(document.get("meta"))
    cost_types = {
        name: CostKind(kind["cost-mode"], kind["cost-metric"])
        for name, kind in _object(meta.get("cost-types")).items()
        if isinstance(kind, Mapping)
        and isinstance(kind.get("cost-mode"), str)
        and isinstance(kind.get("cost-metric"), str)
    }
    default = meta.get("default-alto-network-map")
    return Directory(
        directory_uri,
        default if isinstance(default, str) else "",
        tuple(
            _read_entry(name, entry, directory_uri, cost_types)
            for name, entry in entries.items()
            if isinstance(entry, Mapping)
            and isinstance(entry.get("uri"), str)
            and isinstance(entry.get("media-type"), str)
        ),
    )


def read_directory(document: Any, directory_uri: str) -> MapUris:
    """The URIs of the default network map and of its cost map; relative ones count from `directory_uri`."""
    _text(_mapping(document, "meta"), "default-alto-network-map")
    closure = Closure.of([read_entries(document, directory_uri)])
    network_map, cost_map = closure.default_maps()
    if network_map is None or network_map.media_type != NETWORK_MAP_TYPE:
        raise AltoError(f"resource {closure.default_network_map!r} is not {NETWORK_MAP_TYPE}")
    if cost_map is None or ROUTINGCOST not in cost_map.cost_types.values():
        name = closure.default_network_map
        raise AltoError(f"the directory has no numerical routingcost map of network map {name!r}")
    return MapUris(network_map.uri, cost_map.uri)


def read_network_map(document: Any) -> NetworkMap:
    """The network map of section 11.2.1; address types other than ipv4 and ipv6 are ignored."""
    tag = _text(_mapping(_mapping(document, "meta"), "vtag"), "tag")
    try:
        return NetworkMap(tag, PrefixTable(prefixes_of(_mapping(document, "network-map"))))
    except AltoError:
        raise
    except ValueError as error:
        raise AltoError(f"the network map is wrong: {error}") from error


def prefixes_of(groups: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(prefix, PID) of a network map's data. Raises AltoError where a PID's prefixes are no list of them."""
    entries: list[tuple[str, str]] = []
    for pid in groups:
        addresses = _mapping(groups, pid)
        for kind in ADDRESS_TYPES:
            prefixes = addresses.get(kind, [])
            if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
                raise AltoError(f"{kind} of PID {pid!r} is not a list of prefixes")
            entries += [(prefix, pid) for prefix in prefixes]
    return entries


def pid_table(entries: Iterable[tuple[str, str]]) -> PrefixTable[str]:
    """Longest-prefix match over (prefix, PID) of any server: bits of the host are cut, as RFC 7285 section
    11.3.1.7 has some, what is no prefix is left out, and the first PID of a prefix counts.
    """
    table: dict[str, str] = {}
    for prefix, pid in entries:
        try:
            table.setdefault(str(ip_network(prefix, strict=False)), pid)
        except ValueError:
            continue
    return PrefixTable(table.items())


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


def error_text(document: Any) -> str:
    """An error document (section 8.5) in one line, "" where it is none."""
    meta = _object(document.get("meta")) if isinstance(document, Mapping) else {}
    if not isinstance(meta.get("code"), str):
        return ""
    text = str(meta["code"])
    if "field" in meta:
        text += f" in {meta['field']}"
    if "value" in meta:
        text += f": {meta['value']!r}"
    if "syntax-error" in meta:
        text += f": {meta['syntax-error']}"
    return text


def typed_address(address: str) -> str:
    """`ipv4:192.0.2.1` of `192.0.2.1`, and the same of what has its type. ValueError where it is none."""
    kind, _, rest = address.partition(":")
    plain = rest if kind in ADDRESS_TYPES else address
    version = ip_network(plain).version
    if "/" in plain or (kind in ADDRESS_TYPES and ADDRESS_TYPES[kind] != version):
        raise ValueError(f"{address!r} is no address")
    return f"ipv{version}:{plain}"


def _read_entry(
    name: str, entry: Mapping[str, Any], base: str, cost_types: Mapping[str, CostKind]
) -> Resource:
    accepts, uses = entry.get("accepts"), entry.get("uses")
    capabilities = _object(entry.get("capabilities"))
    named = capabilities.get("cost-type-names")
    try:
        uri = urljoin(base, entry["uri"])
    except ValueError:
        uri = entry["uri"]
    return Resource(
        name,
        uri,
        entry["media-type"],
        accepts if isinstance(accepts, str) else "",
        capabilities,
        tuple(other for other in uses if isinstance(other, str)) if isinstance(uses, list) else (),
        {
            kind: cost_types[kind]
            for kind in (named if isinstance(named, list) else ())
            if isinstance(kind, str) and kind in cost_types
        },
    )


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _cost(source: str, target: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise AltoError(f"the cost from {source!r} to {target!r} is not a number >= 0")
    return float(value)


def _is_routingcost(kind: Any) -> bool:
    return isinstance(kind, Mapping) and all(
        kind.get(key) == value for key, value in ROUTINGCOST.to_json().items()
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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
