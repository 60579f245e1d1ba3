"""Links, hosts and paths as numbers: what the kernels need of a network and its routes.

In go a `Network` and its `Routes`; out comes a `Codes` with host, PoP and ISP codes (their order in the
network), codes of link directions, and the path of every pair of PoPs as a CSR array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.topology.model import Link, Network
from testbed.topology.routes import Routes
from testbed.topology.routing import all_paths

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Codes:
    """A network in numbers. The direction of link i that leaves its end `a` has code 2 i, the other 2 i + 1.

    Core links are numbered before access links, so that the steps of `Paths`, whose `start` and `step` are
    here `path_start` and `path_step`, are codes of directions.
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
    access = [link for link in network.links if link.kind == "access"]
    pids: dict[str, int] = {}
    pid_of_pop = [pids.setdefault(item.pid or item.id, len(pids)) for item in network.pops]
    direction = {
        (link.id, end): 2 * code + side
        for code, link in enumerate((*network.core_links, *access))
        for side, end in enumerate((link.a, link.b))
    }
    pop_of_host = np.array([pop[host.pop] for host in network.hosts], np.int32)
    paths = all_paths(routes)
    return Codes(
        host={host.id: code for code, host in enumerate(network.hosts)},
        isp=isp,
        direction=direction,
        pop_of_host=pop_of_host,
        isp_of_host=np.array([isp[host.isp] for host in network.hosts], np.int32),
        pid_of_host=np.array(pid_of_pop, np.int32)[pop_of_host],
        path_start=paths.start,
        path_step=paths.step,
    )


def directions_of(link: Link, codes: Codes) -> tuple[int, int]:
    """Codes of the two directions of a link: leaving `a`, leaving `b`."""
    return codes.direction[link.id, link.a], codes.direction[link.id, link.b]
