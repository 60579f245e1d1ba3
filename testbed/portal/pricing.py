"""p-distances: what one unit of traffic from PID to PID costs the ISP.

In come the ISP's PIDs, its links with a routing weight and a price each, and its exits; out comes the full
mesh of distances. Routes follow the weights, distances sum the prices: the two differ once prices move and
routes do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from testbed.portal.config import PortalConfig

Matrix = npt.NDArray[np.float64]
_NO_ROUTE = -9999  # what SciPy writes as the predecessor of a node that has none


@dataclass(frozen=True)
class PidLink:
    """One direction of a link inside the ISP. `weight` decides the route, `price` is p_e of the link."""

    source: str
    target: str
    weight: float
    price: float


@dataclass(frozen=True)
class Exit:
    """A way from the ISP's own PID `source` to the external PID `target`."""

    source: str
    target: str
    weight: float
    price: float


@dataclass(frozen=True)
class PDistances:
    """`matrix[i, j]` is the p-distance from `pids[i]` to `pids[j]`; NaN where the ISP says nothing.

    `matrix` is (n, n) float64; the `own` first PIDs are the ISP's.
    """

    pids: tuple[str, ...]
    own: int
    matrix: Matrix

    def rows(self) -> list[tuple[str, str, float]]:
        """(source PID, destination PID, distance) of every pair that has one, in the order of `pids`."""
        known = np.argwhere(~np.isnan(self.matrix))
        return [(self.pids[i], self.pids[j], float(self.matrix[i, j])) for i, j in known]


def static_distances(config: PortalConfig) -> PDistances:
    """The distances of a portal whose prices are its routing weights."""
    return p_distances(
        pids=[entry.pid for entry in config.pids],
        links=[
            PidLink(*pair, weight, weight)
            for link in config.links
            for pair, weight in zip(((link.a, link.b), (link.b, link.a)), link.weight, strict=True)
        ],
        exits=[Exit(way.exit, way.pid, way.weight, way.weight) for way in config.external],
        intra_pid_distance=config.intra_pid_distance,
    )


def p_distances(
    pids: Sequence[str], links: Sequence[PidLink], exits: Sequence[Exit], intra_pid_distance: float
) -> PDistances:
    """p_ij = sum of the prices of the links on the route from i to j (Xie et al., P4P, SIGCOMM 2008).

    Routes are shortest by weight; of parallel links and of equal exits the first counts. Own -> external
    takes the exit where path weight + exit weight is least and adds its price; external -> own has the same
    distance, because an ISP does not choose where others enter. External -> external, and pairs without a
    route, stay NaN.
    """
    external = list(dict.fromkeys(way.target for way in exits))
    index = {pid: number for number, pid in enumerate([*pids, *external])}
    own = len(pids)
    weight, price = _own_mesh(index, own, links)
    matrix = np.full((len(index), len(index)), np.nan)
    matrix[:own, :own] = price
    for number, pid in enumerate(external, start=own):
        ways = [way for way in exits if way.target == pid]
        matrix[:own, number] = matrix[number, :own] = _cheapest_exit(index, weight, price, ways)
    # Last, so that a way out does not pay for staying inside its own PID.
    np.fill_diagonal(matrix[:own, :own], intra_pid_distance)
    return PDistances(pids=tuple(index), own=own, matrix=matrix)


def _own_mesh(index: dict[str, int], own: int, links: Sequence[PidLink]) -> tuple[Matrix, Matrix]:
    """Path weight (inf without a route) and path price (NaN without a route), both (own, own)."""
    best: dict[tuple[int, int], PidLink] = {}
    for link in links:
        pair = index[link.source], index[link.target]
        if pair not in best or link.weight < best[pair].weight:
            best[pair] = link
    sources = [pair[0] for pair in best]
    targets = [pair[1] for pair in best]
    graph = csr_array(
        ([link.weight for link in best.values()], (sources, targets)), shape=(own, own), dtype=float
    )
    weight, previous = dijkstra(graph, directed=True, return_predecessors=True)
    link_price = np.zeros((own, own))
    link_price[sources, targets] = [link.price for link in best.values()]
    price = _sum_back(previous, link_price)
    price[np.isinf(weight)] = np.nan
    return weight, price


def _sum_back(previous: npt.NDArray[np.int32], link_price: Matrix) -> Matrix:
    """Walk all routes back one hop at a time, together, and sum the prices of the links on them."""
    count = len(previous)
    rows = np.broadcast_to(np.arange(count)[:, None], (count, count))
    at = np.broadcast_to(np.arange(count)[None, :], (count, count)).copy()
    total = np.zeros((count, count))
    while True:
        before = previous[rows, at]
        moving = before != _NO_ROUTE
        if not moving.any():
            return total
        total[moving] += link_price[before[moving], at[moving]]
        at[moving] = before[moving]


def _cheapest_exit(index: dict[str, int], weight: Matrix, price: Matrix, ways: Sequence[Exit]) -> Matrix:
    """Distance from each own PID to one external PID by the exit of least weight, (own,)."""
    sources = [index[way.source] for way in ways]
    total_weight = weight[:, sources] + np.array([way.weight for way in ways])
    total_price = price[:, sources] + np.array([way.price for way in ways])
    chosen: Matrix = total_price[np.arange(len(weight)), np.argmin(total_weight, axis=1)]
    return chosen
