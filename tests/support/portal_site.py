"""A portal over HTTP in the test's own event loop, with maps that a test makes by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np

from testbed.portal.alto import documents
from testbed.portal.alto.model import CostType, Published
from testbed.portal.config import AccessConfig, FaultsConfig
from testbed.portal.server import Service
from testbed.portal.site import Site

NUMERICAL = CostType("num-routingcost", "numerical", "routingcost")
ORDINAL = CostType("ord-routingcost", "ordinal", "routingcost")
HOPS = CostType("num-hopcount", "numerical", "hopcount")
RATE = CostType("num-tput", "numerical", "tput")
PREFIXES = {"a": ["10.1.0.0/16"], "b": ["10.2.0.0/16"], "far": ["10.3.0.0/16"]}
COSTS = ((0, 1, 5), (1, 0, 7), (5, 7, np.nan))


def published(
    costs: Sequence[Sequence[float]] = COSTS,
    kinds: Sequence[CostType] = (NUMERICAL,),
    prefixes: dict[str, list[str]] = PREFIXES,
) -> Published:
    """PIDs a and b of the ISP's own, far, and world; every cost type has the same costs."""
    network_map = documents.network_map("networkmap", prefixes)
    size = len(network_map.prefixes)
    matrix = np.full((size, size), np.nan)
    matrix[: len(costs), : len(costs)] = costs
    return Published(
        isp="cablenet",
        asn=65001,
        network_maps=(network_map,),
        cost_types=tuple(kinds),
        costs={("networkmap", kind.name): matrix for kind in kinds},
        own=frozenset({"a", "b"}),
    )


@asynccontextmanager
async def serving(
    said: Published | None = None, access: AccessConfig | None = None, faults: FaultsConfig | None = None
) -> AsyncIterator[Service]:
    """The server, on a free port of the loopback."""
    async with AsyncExitStack() as stack:
        service = Service(Site(said or published(), faults), access or AccessConfig())
        await service.listen("127.0.0.1:0", stack)
        yield service
