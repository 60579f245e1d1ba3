"""Links, hosts and paths as numbers: what the kernels need of a network and its routes.

In go a `Network` and its `Routes`; out comes a `Codes` with host, PoP and ISP codes (their order in the
network), codes of link directions, and the path of every pair of PoPs as a CSR array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.topology.model import Link, Network
from testbed.topology.routing import Routes

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Codes:
    """A network in numbers. The direction of link i that leaves its end `a` has code 2 i, the other 2 i + 1.

    `path_start` and `path_step` hold, for the PoP pair (i, j), the direction codes of the core links from i
    to j in CSR row i * PoPs + j; the row is empty for i = j and where j cannot be reached.
    """

    host: dict[str, int]
    isp: dict[str, int]
    direction: dict[tuple[str, str], int]
    pop_of_host: Int32
    isp_of_host: Int32
    pid_of_host: Int32
    path_start: Int64
    path_step: Int32


def encode(network: Network, routes: Routes) -> Codes:
    """Number everything in a network. Routes are those that the trial started with."""
    pop = {item.id: code for code, item in enumerate(network.pops)}
    isp = {item.name: code for code, item in enumerate(network.isps)}
    pids: dict[str, int] = {}
    pid_of_pop = [pids.setdefault(item.pid or item.id, len(pids)) for item in network.pops]
    direction = {
        (link.id, end): 2 * code + side
        for code, link in enumerate(network.links)
        for side, end in enumerate((link.a, link.b))
    }
    pop_of_host = np.array([pop[host.pop] for host in network.hosts], np.int32)
    path_start, path_step = _csr_paths(network, routes, direction)
    return Codes(
        host={host.id: code for code, host in enumerate(network.hosts)},
        isp=isp,
        direction=direction,
        pop_of_host=pop_of_host,
        isp_of_host=np.array([isp[host.isp] for host in network.hosts], np.int32),
        pid_of_host=np.array(pid_of_pop, np.int32)[pop_of_host],
        path_start=path_start,
        path_step=path_step,
    )


def directions_of(link: Link, codes: Codes) -> tuple[int, int]:
    """Codes of the two directions of a link: leaving `a`, leaving `b`."""
    return codes.direction[link.id, link.a], codes.direction[link.id, link.b]


def _csr_paths(
    network: Network, routes: Routes, direction: dict[tuple[str, str], int]
) -> tuple[Int64, Int32]:
    starts = [0]
    steps: list[int] = []
    for source in network.pops:
        for destination in network.pops:
            steps.extend(_steps(routes, direction, source.id, destination.id))
            starts.append(len(steps))
    return np.array(starts, np.int64), np.array(steps, np.int32)


def _steps(
    routes: Routes, direction: dict[tuple[str, str], int], source: str, destination: str
) -> Iterator[int]:
    try:
        path = routes.path(source, destination)
    except KeyError:  # no route
        return
    for link, pop in zip(path, routes.pops_on_path(source, destination), strict=False):
        yield direction[link, pop]
