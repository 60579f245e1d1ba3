"""ALTO resources (RFC 7285) as pure functions: the directory, the network map and the cost map.

In come prefixes by PID and p-distances, out come JSON documents with their media type and tag. The tag is a
digest of the content, so that it changes with the content and with nothing else (section 10.3).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # SciPy takes its time, and a client of ALTO does not need it
    from testbed.portal.pricing import PDistances

DIRECTORY_TYPE = "application/alto-directory+json"
NETWORK_MAP_TYPE = "application/alto-networkmap+json"
COST_MAP_TYPE = "application/alto-costmap+json"

NETWORK_MAP_ID = "networkmap"
COST_MAP_ID = "costmap-routingcost"
NETWORK_MAP_PATH = "/networkmap"
COST_MAP_PATH = "/costmap/routingcost"

ROUTINGCOST_NAME = "num-routingcost"
ROUTINGCOST: Mapping[str, str] = {"cost-mode": "numerical", "cost-metric": "routingcost"}

WORLD_PID = "world"  # what no other PID covers: a network map is complete (section 5.1)
_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True)
class Resource:
    """One document as it goes over the wire; `tag` serves as its ETag."""

    media_type: str
    body: bytes
    tag: str


def directory(base_uri: str) -> Resource:
    """The information resource directory (section 9.2) of a server whose resources start with `base_uri`."""
    return _resource(
        DIRECTORY_TYPE,
        {
            "meta": {
                "cost-types": {ROUTINGCOST_NAME: dict(ROUTINGCOST)},
                "default-alto-network-map": NETWORK_MAP_ID,
            },
            "resources": {
                NETWORK_MAP_ID: {"uri": base_uri + NETWORK_MAP_PATH, "media-type": NETWORK_MAP_TYPE},
                COST_MAP_ID: {
                    "uri": base_uri + COST_MAP_PATH,
                    "media-type": COST_MAP_TYPE,
                    "capabilities": {"cost-type-names": [ROUTINGCOST_NAME]},
                    "uses": [NETWORK_MAP_ID],
                },
            },
        },
    )


def network_map(pid_prefixes: Mapping[str, Sequence[str]]) -> Resource:
    """The network map (section 11.2.1): by longest prefix, every address is in exactly one PID."""
    groups = {pid: _by_version(prefixes) for pid, prefixes in _completed(pid_prefixes).items()}
    tag = _digest(groups)
    document = {
        "meta": {"vtag": {"resource-id": NETWORK_MAP_ID, "tag": tag}},
        "network-map": groups,
    }
    return Resource(NETWORK_MAP_TYPE, _encoded(document), tag)


def cost_map(distances: PDistances, network_map_tag: str) -> Resource:
    """The numerical `routingcost` map (section 11.2.3); a pair without a distance does not appear."""
    costs: dict[str, dict[str, float]] = {}
    for source, target, distance in distances.rows():
        costs.setdefault(source, {})[target] = distance
    return _resource(
        COST_MAP_TYPE,
        {
            "meta": {
                "dependent-vtags": [{"resource-id": NETWORK_MAP_ID, "tag": network_map_tag}],
                "cost-type": dict(ROUTINGCOST),
            },
            "cost-map": costs,
        },
    )


def _completed(pid_prefixes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The same PIDs and `world`, which has 0.0.0.0/0 and ::/0 where no other PID has them."""
    completed = {pid: list(prefixes) for pid, prefixes in pid_prefixes.items()}
    given = {prefix for prefixes in pid_prefixes.values() for prefix in prefixes}
    missing = [prefix for prefix in _EVERYTHING.values() if prefix not in given]
    if missing:
        completed[WORLD_PID] = completed.get(WORLD_PID, []) + missing
    return completed


def _by_version(prefixes: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for prefix in prefixes:
        groups.setdefault(f"ipv{ip_network(prefix).version}", []).append(prefix)
    return groups


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


def _digest(content: Any) -> str:
    """64 hexadecimal digits: the longest tag that section 10.3 allows."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _resource(media_type: str, document: Mapping[str, Any]) -> Resource:
    return Resource(media_type, _encoded(document), _digest(document))
