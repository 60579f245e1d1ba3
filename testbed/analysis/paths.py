"""Links, hosts and paths as numbers: what the kernels need of a network and its routes.

In go a `Network` and the `History` of its links; out come a `Codes` with host, PoP and ISP codes (their order
in the network) and codes of link directions, and for each period of time in which routes stayed as they were
the path of every pair of PoPs as a CSR array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.topology.model import Link, Network
from testbed.topology.routes import Routes
from testbed.topology.routing import Paths, all_paths, compute_routes

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Codes:
    """A network in numbers. The direction of link i that leaves its end `a` has code 2 i, the other 2 i + 1.

    Core links are numbered before access links, so that the steps of `Paths` are codes of directions.
    """

    host: dict[str, int]
    isp: dict[str, int]
    direction: dict[tuple[str, str], int]
    pop_of_host: Int32
    isp_of_host: Int32
    pid_of_host: Int32


def encode(network: Network) -> Codes:
    """Number everything in a network."""
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
    return Codes(
        host={host.id: code for code, host in enumerate(network.hosts)},
        isp=isp,
        direction=direction,
        pop_of_host=pop_of_host,
        isp_of_host=np.array([isp[host.isp] for host in network.hosts], np.int32),
        pid_of_host=np.array(pid_of_pop, np.int32)[pop_of_host],
    )


def paths_over_time(
    network: Network, routes: Routes, failed: Sequence[tuple[int, frozenset[str]]]
) -> tuple[tuple[int, Paths], ...]:
    """The paths from each time on, ns since the trial's start, of links that failed from each time on.

    `routes` are those of the whole network, which the trial's record has.
    """
    known: dict[frozenset[str], Paths] = {frozenset(): all_paths(routes)}
    for _, links in failed:
        if links not in known:
            known[links] = all_paths(compute_routes(network, links))
    return tuple((at_ns, known[links]) for at_ns, links in failed)


def directions_of(link: Link, codes: Codes) -> tuple[int, int]:
    """Codes of the two directions of a link: leaving `a`, leaving `b`."""
    return codes.direction[link.id, link.a], codes.direction[link.id, link.b]
