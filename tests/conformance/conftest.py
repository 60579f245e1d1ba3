"""The portals that tests of the protocol talk to, each a process of its own for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import alto_examples as rfc
import pytest
from real_portal import Portal, portal

LINK = {"capacity_bps": 1e9, "background_bps": 1e8, "delay_s": 0.002, "loss": 0.001}

FULL: dict[str, Any] = {
    # Nested prefixes, both IP versions, a second network map, links whose nature is known, a calendar.
    "isp": "example",
    "asn": 64500,
    "pids": [
        {"pid": "north", "prefixes": ["10.1.0.0/16", "2001:db8:1::/48"]},
        {"pid": "north:inner@1", "prefixes": ["10.1.2.0/24", "2001:db8:1:2::/64"]},
        {"pid": "south", "prefixes": ["10.2.0.0/16", "192.0.2.0/24"]},
        {"pid": "empty_one", "prefixes": []},
    ],
    "links": [
        {"id": "a", "a": "north", "b": "north:inner@1", "weight": [2, 3], **LINK},
        {"id": "b", "a": "north", "b": "south", "weight": 5, **LINK},
        {"id": "c", "a": "south", "b": "empty_one", "weight": 0.5, **LINK},
    ],
    "external": [
        {"pid": "transit", "prefixes": ["198.51.0.0/16"], "exit": "north", "weight": 50, "price": 2, **LINK},
        {"pid": "peer", "prefixes": ["203.0.113.0/24", "2001:db8:f::/48"], "exit": "south", **LINK},
    ],
    "aggregations": {"coarse-1": {"own": ["north", "north:inner@1", "south"]}},
    "policy": {"time_of_day": {"factors": [1, 0.5, 0.5, 2]}},
    "capabilities": [{"kind": "cache", "pid": "south", "address": "10.2.0.9", "capacity_bps": 1e8}],
    "faults": {},
}

EXAMPLE: dict[str, Any] = {
    # The network map and the costs of RFC 7285, sections 11.2.1.7 and 11.2.3.7.
    "isp": "example",
    "pids": [
        {"pid": pid, "prefixes": [prefix for prefixes in group.values() for prefix in prefixes]}
        for pid, group in rfc.GROUPS.items()
    ],
    "costs": rfc.COSTS,
}


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal that offers everything. Its maps do not change."""
    with portal(FULL, tmp_path_factory.mktemp("full")) as found:
        yield found


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with the maps of the RFC's examples."""
    with portal(EXAMPLE, tmp_path_factory.mktemp("example")) as found:
        yield found


@pytest.fixture(scope="session")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """As `full`, for tests that have new maps published. Each leaves it without faults."""
    with portal(FULL, tmp_path_factory.mktemp("changing")) as found:
        yield found
