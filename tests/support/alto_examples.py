"""The worked examples of RFC 7285 as facts, each with its section; what is odd in the RFC is said here.

Tags are those of the RFC's different moments, so that its documents do not fit together as they stand.
"""

from __future__ import annotations

import copy
from typing import Any

DIRECTORY = "application/alto-directory+json"
NETWORK_MAP = "application/alto-networkmap+json"
NETWORK_MAP_FILTER = "application/alto-networkmapfilter+json"
COST_MAP = "application/alto-costmap+json"
COST_MAP_FILTER = "application/alto-costmapfilter+json"
ENDPOINT_PROPERTY = "application/alto-endpointprop+json"
ENDPOINT_PROPERTY_PARAMS = "application/alto-endpointpropparams+json"
ENDPOINT_COST = "application/alto-endpointcost+json"
ENDPOINT_COST_PARAMS = "application/alto-endpointcostparams+json"
ERROR = "application/alto-error+json"

MAP_ID = "my-default-network-map"
TAG = "da65eca2eb7a10ce8b059740b0b2e3f8eb1d4785"

COST_TYPES = {
    "num-routing": {"cost-mode": "numerical", "cost-metric": "routingcost", "description": "My default"},
    "num-hop": {"cost-mode": "numerical", "cost-metric": "hopcount"},
    "ord-routing": {"cost-mode": "ordinal", "cost-metric": "routingcost"},
    "ord-hop": {"cost-mode": "ordinal", "cost-metric": "hopcount"},
}
ROUTINGCOST = {"cost-mode": "numerical", "cost-metric": "routingcost"}

ROOT_DIRECTORY: dict[str, Any] = {  # 9.2.3, without its comma too many, its URIs relative
    "meta": {"cost-types": COST_TYPES, "default-alto-network-map": MAP_ID},
    "resources": {
        MAP_ID: {"uri": "/networkmap", "media-type": NETWORK_MAP},
        "numerical-routing-cost-map": {
            "uri": "/costmap/num/routingcost",
            "media-type": COST_MAP,
            "capabilities": {"cost-type-names": ["num-routing"]},
            "uses": [MAP_ID],
        },
        "numerical-hopcount-cost-map": {
            "uri": "/costmap/num/hopcount",
            "media-type": COST_MAP,
            "capabilities": {"cost-type-names": ["num-hop"]},
            "uses": [MAP_ID],
        },
        "custom-maps-resources": {"uri": "/maps", "media-type": DIRECTORY},
        "endpoint-property": {
            "uri": "/endpointprop/lookup",
            "media-type": ENDPOINT_PROPERTY,
            "accepts": ENDPOINT_PROPERTY_PARAMS,
            "capabilities": {"prop-types": [f"{MAP_ID}.pid", "priv:ietf-example-prop"]},
        },
        "endpoint-cost": {
            "uri": "/endpointcost/lookup",
            "media-type": ENDPOINT_COST,
            "accepts": ENDPOINT_COST_PARAMS,
            "capabilities": {
                "cost-constraints": True,
                "cost-type-names": ["num-routing", "num-hop", "ord-routing", "ord-hop"],
            },
        },
    },
}

DELEGATED_DIRECTORY: dict[str, Any] = {  # 9.2.4, its URIs relative
    "meta": {"cost-types": COST_TYPES},
    "resources": {
        "filtered-network-map": {
            "uri": "/networkmap/filtered",
            "media-type": NETWORK_MAP,
            "accepts": NETWORK_MAP_FILTER,
            "uses": [MAP_ID],
        },
        "filtered-cost-map": {
            "uri": "/costmap/filtered",
            "media-type": COST_MAP,
            "accepts": COST_MAP_FILTER,
            "capabilities": {
                "cost-constraints": True,
                "cost-type-names": ["num-routing", "num-hop", "ord-routing", "ord-hop"],
            },
            "uses": [MAP_ID],
        },
        "ordinal-routing-cost-map": {
            "uri": "/ord/routingcost",
            "media-type": COST_MAP,
            "capabilities": {"cost-type-names": ["ord-routing"]},
            "uses": [MAP_ID],
        },
        "ordinal-hopcount-cost-map": {
            "uri": "/ord/hopcount",
            "media-type": COST_MAP,
            "capabilities": {"cost-type-names": ["ord-hop"]},
            "uses": [MAP_ID],
        },
    },
}

GROUPS: dict[str, Any] = {  # 11.2.1.7
    "PID1": {"ipv4": ["192.0.2.0/24", "198.51.100.0/25"]},
    "PID2": {"ipv4": ["198.51.100.128/25"]},
    "PID3": {"ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"]},
}
NETWORK_MAP_DOCUMENT: dict[str, Any] = {
    "meta": {"vtag": {"resource-id": MAP_ID, "tag": TAG}},
    "network-map": GROUPS,
}

COSTS: dict[str, dict[str, float]] = {  # 11.2.3.7: no cost from PID3 to itself
    "PID1": {"PID1": 1, "PID2": 5, "PID3": 10},
    "PID2": {"PID1": 5, "PID2": 1, "PID3": 15},
    "PID3": {"PID1": 20, "PID2": 15},
}

LONGEST_MATCH_GROUPS: dict[str, Any] = {  # 11.2.2: 192.0.2.1 is in PID3
    "PID0": {"ipv6": ["::/0"]},
    "PID1": {"ipv4": ["0.0.0.0/0"]},
    "PID2": {"ipv4": ["192.0.2.0/24", "198.51.100.0/24"]},
    "PID3": {"ipv4": ["192.0.2.0/25", "192.0.2.128/25"]},
}

FILTERED_GROUPS: dict[str, Any] = {  # 11.3.1.7: the second PID's prefix has bits of the host and is PID1's
    "PID1": {"ipv4": ["192.0.2.0/24", "198.51.100.0/24"]},
    "PID2": {"ipv4": ["198.51.100.128/24"]},
}

FILTERED_COSTS: dict[str, dict[str, float]] = {"PID1": {"PID1": 0, "PID2": 1, "PID3": 2}}  # 11.3.2.7

ENDPOINT_COST_REQUEST: dict[str, Any] = {  # 11.5.1.7
    "cost-type": {"cost-mode": "ordinal", "cost-metric": "routingcost"},
    "endpoints": {
        "srcs": ["ipv4:192.0.2.2"],
        "dsts": ["ipv4:192.0.2.89", "ipv4:198.51.100.34", "ipv4:203.0.113.45"],
    },
}
ENDPOINT_COSTS: dict[str, dict[str, float]] = {
    "ipv4:192.0.2.2": {"ipv4:192.0.2.89": 1, "ipv4:198.51.100.34": 2, "ipv4:203.0.113.45": 3}
}

ENDPOINT_PROPERTIES: dict[str, Any] = {  # 11.4.1.7; its request spells the map's id in another way
    "ipv4:192.0.2.34": {f"{MAP_ID}.pid": "PID1", "priv:ietf-example-prop": "1"},
    "ipv4:203.0.113.129": {f"{MAP_ID}.pid": "PID3"},
}


def cost_map(costs: Any, kind: dict[str, str] | None = None, tag: str = TAG) -> dict[str, Any]:
    """A cost map that belongs to the example's network map."""
    return {
        "meta": {
            "dependent-vtags": [{"resource-id": MAP_ID, "tag": tag}],
            "cost-type": dict(kind or ROUTINGCOST),
        },
        "cost-map": copy.deepcopy(costs),
    }
