"""Routes of a large ISP and of an Internet of 5,000 ISPs, against networkx and SciPy on the same graphs.

`all_pairs_754` is the next hop of every pair in an ISP of 754 PoPs and 895 links (the size of the largest
network in the Topology Zoo) against networkx's all-pairs Dijkstra, which gives distances and paths;
`all_pairs_754_paths` adds our paths, as CSR arrays. `internet_5000` is every ISP's route to every other under
Gao and Rexford's rules against networkx's shortest valley-free paths: breadth-first search in the graph of
(ISP, still climbing or already descending), which knows no preference for customers. What both must agree on
is compared: all distances inside the ISP, who reaches whom in the Internet.
"""

from __future__ import annotations

import os
from functools import partial
from random import Random

import bench
import networkx as nx
import numpy as np
import scipy.sparse.csgraph

from testbed.spec.topology import TopologySpec
from testbed.topology.compile import compile_network
from testbed.topology.generators import shapes
from testbed.topology.generators.internet import InternetOptions, generate_internet
from testbed.topology.generators.isp import IspOptions, generate_isp
from testbed.topology.model import Network
from testbed.topology.routing import all_paths, compute_routes

POPS, LINKS = 754, 895
KEPT = 50  # sources whose paths are kept to measure memory
NETWORKX = f"networkx {nx.__version__}"


def main() -> None:
    arguments = bench.options(__doc__.splitlines()[0])
    measures = [*isp_measures(), *internet_measures(quick=arguments.quick)]
    bench.show("routes", measures, arguments.json)


def isp_measures() -> list[bench.Measure]:
    network = isp()
    graph = networkx_graph(network)
    matrix = nx.to_scipy_sparse_array(graph, weight="weight", dtype=float, format="csr")
    routes = bench.cost(lambda: compute_routes(network) and None, times=9)
    paths = bench.cost(lambda: all_paths(compute_routes(network)) and None, times=9)
    theirs = bench.cost(lambda: dict(nx.all_pairs_dijkstra(graph)) and None)
    compiled = bench.cost(lambda: scipy.sparse.csgraph.dijkstra(matrix) is None, times=9)
    same_lengths(network, scipy.sparse.csgraph.dijkstra(matrix))
    dijkstra = f"{NETWORKX}, all_pairs_dijkstra"
    return [
        bench.Measure("all_pairs_754", routes.seconds, theirs.seconds, dijkstra, "s"),
        bench.Measure("all_pairs_754_paths", paths.seconds, theirs.seconds, dijkstra, "s"),
        bench.Measure(
            "all_pairs_754_scipy",
            routes.seconds,
            compiled.seconds,
            "SciPy, csgraph.dijkstra",
            "s",
            f"distances only, on one core; ours on {len(os.sched_getaffinity(0))}",
        ),
        bench.Measure("all_pairs_754_memory", paths.peak_mib, theirs.peak_mib, dijkstra, "MiB", "with paths"),
    ]


def isp() -> Network:
    data = generate_isp(
        IspOptions("large", POPS, region="north-america"), partial(shapes.waxman, alpha=0.05, links=LINKS)
    )
    return compile_network(TopologySpec.model_validate({"name": "large", **data}))


def networkx_graph(network: Network) -> nx.Graph:
    """Weights in thousandths, as our routes count them, so that sums are exact."""
    graph = nx.Graph()
    graph.add_nodes_from(range(len(network.pops)))
    number = {pop.id: index for index, pop in enumerate(network.pops)}
    for link in network.core_links:
        graph.add_edge(number[link.a], number[link.b], weight=round(link.forward.weight * 1000))
    return graph


def same_lengths(network: Network, distance: np.ndarray) -> None:
    paths = all_paths(compute_routes(network))
    weight = np.array([round(link.forward.weight * 1000) for link in network.core_links])
    sums = np.concatenate([[0], np.cumsum(weight[paths.step // 2])])
    ours = (sums[paths.start[1:]] - sums[paths.start[:-1]]).reshape(distance.shape)
    assert np.array_equal(ours, distance)


def internet_measures(*, quick: bool) -> list[bench.Measure]:
    network = internet()
    graph = valley_free_graph(network)
    sources = list(range(len(network.isps)))
    if quick:
        sources = sorted(Random(1).sample(sources, len(sources) // 50))
    routes = bench.cost(lambda: reach(network), times=3)
    theirs = bench.cost(lambda: [networkx_reach(graph, source) for source in sources])
    assert theirs.result == [routes.result[source] for source in sources]
    scale = len(network.isps) / len(sources)
    note = f"measured on one source in {scale:.0f}" if quick else ""
    peer = f"{NETWORKX}, shortest valley-free paths"
    few = sources[:: len(sources) // KEPT]
    kept = bench.cost(lambda: len([networkx_paths(graph, source) for source in few]))
    memory = kept.peak_mib * len(network.isps) / len(few)
    return [
        bench.Measure("internet_5000", routes.seconds, theirs.seconds * scale, peer, "s", note),
        bench.Measure(
            "internet_5000_memory",
            routes.peak_mib,
            memory,
            peer,
            "MiB",
            f"from those of {len(few)} sources",
        ),
    ]


def internet() -> Network:
    options = InternetOptions(
        tier1=10, transit=490, stubs=4500, ixps=20, tier1_pops=1, transit_pops=1, stub_pops=1
    )
    return compile_network(TopologySpec.model_validate({"name": "internet", **generate_internet(options)}))


def reach(network: Network) -> list[int]:
    """How many others each ISP reaches."""
    return np.count_nonzero(compute_routes(network).next_step >= 0, axis=0).tolist()


def valley_free_graph(network: Network) -> nx.DiGraph:
    isp_of = {pop.id: number for number, pop in enumerate(network.pops)}  # one PoP each
    graph = nx.DiGraph()
    for number in isp_of.values():
        graph.add_edge((number, "climbs"), (number, "descends"))
    for link in network.core_links:
        a, b = isp_of[link.a], isp_of[link.b]
        if link.relationship == "customer-provider":
            graph.add_edge((a, "climbs"), (b, "climbs"))
            graph.add_edge((b, "descends"), (a, "descends"))
        else:
            graph.add_edge((a, "climbs"), (b, "descends"))
            graph.add_edge((b, "climbs"), (a, "descends"))
    return graph


def networkx_reach(graph: nx.DiGraph, source: int) -> int:
    return len({isp for isp, _ in networkx_paths(graph, source)}) - 1


def networkx_paths(graph: nx.DiGraph, source: int) -> dict[tuple[int, str], list[tuple[int, str]]]:
    return nx.single_source_shortest_path(graph, (source, "climbs"))


if __name__ == "__main__":
    main()
