"""Where the nodes of a sketch go: by coordinates where there are any, else by the shape of the graph.

In goes a `Sketch`; out come points of an abstract plane (x to the right, y up), which `fit` scales to a page
and `push_apart` spreads where they would cover each other. Everything is seeded: same sketch, same points.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from testbed.topology.drawing.sketch import Node, Sketch

Points = npt.NDArray[np.float64]  # one row a node: x, y
Floats = npt.NDArray[np.float64]

SEED = 1
MOST_FOR_STRESS = 120  # Kamada-Kawai looks best, and takes the cube of the number of nodes
NARROWEST_COSINE = 0.2  # near the poles a map would become a line
_GAP = 1.6  # between the discs of two ISPs, where PoPs of one ISP are about 1 apart


def place(sketch: Sketch) -> Points:
    """The abstract place of each node.

    Nodes with coordinates are where a map has them; nodes without one are drawn near those to which links
    join them. What no link joins to a node with coordinates is laid out beside the map by itself, the PoPs of
    an ISP together. ISPs as nodes are ordered by size around the middle.
    """
    if sketch.of_isps:
        return _by_rank(sketch)
    graph = _graph(sketch)
    points = on_map(sketch.nodes)
    known = ~np.isnan(points[:, 0])
    parts = [sorted(part) for part in nx.connected_components(graph)]
    anchored = sorted(node for part in parts if known[part].any() for node in part)
    if anchored:
        _pull_to_neighbours(graph.subgraph(anchored), points, known)
    done = list(anchored)
    unit = _spacing(points[anchored]) if anchored else 1.0
    for part in sorted(
        (part for part in parts if not known[part].any()), key=lambda part: (-len(part), part)
    ):
        points[part] = _clustered(sketch, graph.subgraph(part)) * unit
        if done:
            beside = np.array([points[done, 0].max() + 2 * unit, np.median(points[done, 1])])
            points[part] += beside - [points[part, 0].min(), np.median(points[part, 1])]
        done += part
    return points


def on_map(nodes: Sequence[Node]) -> Points:
    """Equirectangular places with the aspect of the mean latitude; NaN without coordinates.

    The map is cut where the longitudes leave the widest gap, so that a network over the date line is whole.
    """
    degrees = np.array(
        [
            (np.nan, np.nan)
            if node.latitude is None or node.longitude is None
            else (node.longitude, node.latitude)
            for node in nodes
        ]
    ).reshape(-1, 2)
    known = ~np.isnan(degrees[:, 0])
    if known.any():
        longitudes = np.sort(degrees[known, 0])
        gaps = np.append(longitudes[1:], longitudes[0] + 360) - longitudes
        west = longitudes[(int(gaps.argmax()) + 1) % len(longitudes)]
        shrink = max(float(np.cos(np.radians(degrees[known, 1].mean()))), NARROWEST_COSINE)
        degrees[:, 0] = (degrees[:, 0] - west) % 360 * shrink
    return degrees


def fit(points: Points, width: float, height: float) -> Points:
    """The points scaled, without distortion, into (0, 0) to (width, height), in the middle."""
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    page = np.array([width, height])
    with np.errstate(divide="ignore"):
        scale = float((page / extent).min())
    if not np.isfinite(scale):
        return np.tile(page / 2, (len(points), 1))
    return np.asarray((points - low) * scale + (page - extent * scale) / 2)


def fan_out(points: Points, neighbours: Sequence[Sequence[int]], distance: float) -> Points:
    """Nodes of one place are put on a circle around it, `distance` apart, each towards its neighbours."""
    cities: dict[tuple[float, float], list[int]] = defaultdict(list)
    for node, (x, y) in enumerate(points):
        cities[round(float(x), 1), round(float(y), 1)].append(node)
    fanned = points.copy()
    for members in cities.values():
        number = len(members)
        if number == 1:
            continue
        pull = {node: _direction(points, node, neighbours[node]) for node in members}
        radius = distance / 2 / np.sin(np.pi / number)
        first = min(pull.values())
        for slot, node in enumerate(sorted(members, key=lambda node: (pull[node], node))):
            angle = first + 2 * np.pi * slot / number
            fanned[node] += radius * np.array([np.cos(angle), np.sin(angle)])
    return fanned


def push_apart(points: Points, reach: Floats, rounds: int = 200) -> Points:
    """The points moved as little as it takes that any two are `reach[i] + reach[j]` apart, or nearly."""
    points = points + np.random.default_rng(SEED).normal(scale=1e-6, size=points.shape)
    widest = 2 * float(reach.max(initial=0.0))
    for _ in range(rounds):
        pairs = cKDTree(points).query_pairs(widest, output_type="ndarray")
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        a, b = pairs[:, 0], pairs[:, 1]
        away = points[b] - points[a]
        length = np.maximum(np.hypot(*away.T), 1e-9)
        missing = reach[a] + reach[b] - length
        close = missing > 0.01 * widest
        if not close.any():
            break
        step = (away / length[:, np.newaxis] * (missing * 0.45)[:, np.newaxis])[close]
        np.add.at(points, b[close], step)
        np.add.at(points, a[close], -step)
    return points


def _graph(sketch: Sketch) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(len(sketch.nodes)))
    graph.add_edges_from((stroke.a, stroke.b) for stroke in sketch.strokes)
    return graph


def _direction(points: Points, node: int, neighbours: Sequence[int]) -> float:
    """The angle from a node to the middle of its neighbours, 0 to 2 pi."""
    if not neighbours:
        return 0.0
    x, y = points[list(neighbours)].mean(axis=0) - points[node]
    return float(np.arctan2(y, x) % (2 * np.pi))


def _spacing(points: Points) -> float:
    """About how far apart the points are; 1 for a single point."""
    width, height = np.ptp(points, axis=0)
    return float(np.sqrt(max(width, height / 4) * max(height, width / 4) / len(points))) or 1.0


def _pull_to_neighbours(graph: nx.Graph, points: Points, known: npt.NDArray[np.bool_]) -> None:
    """Give places to those nodes of `graph` that have none: springs along the links, the others held fast."""
    nodes = list(graph.nodes)
    held = [node for node in nodes if known[node]]
    free = [node for node in nodes if not known[node]]
    if not free:
        return
    low, span = points[held].min(axis=0), float(np.ptp(points[held], axis=0).max()) or 1.0
    # Springs start from the mean of each node's neighbours, to which repeated averaging leads.
    points[free] = points[held].mean(axis=0)
    for _ in range(60):
        for node in free:
            points[node] = points[list(graph[node])].mean(axis=0)
    rng = np.random.default_rng(SEED)
    start = {node: (points[node] - low) / span for node in nodes}
    for node in free:
        start[node] = start[node] + rng.normal(scale=0.02, size=2)
    # networkx asks for the held nodes as places of the list of nodes
    placed = nx.spring_layout(
        graph, pos=start, fixed=held, k=0.2 / len(nodes) ** 0.5, iterations=80, seed=SEED
    )
    for node in free:
        points[node] = placed[node] * span + low


def _clustered(sketch: Sketch, graph: nx.Graph) -> Points:
    """Places for a connected graph without coordinates, PoPs about 1 apart, those of an ISP together."""
    nodes = list(graph.nodes)
    cluster_of = {node: sketch.nodes[node].isp or sketch.nodes[node].id for node in nodes}
    clusters: dict[str, list[int]] = defaultdict(list)
    for node in nodes:
        clusters[cluster_of[node]].append(node)
    names = list(clusters)
    inner = {name: _arranged(graph.subgraph(clusters[name])) for name in names}
    radius = {name: float(np.hypot(*inner[name].T).max()) for name in names}
    between = nx.Graph()
    between.add_nodes_from(names)
    for a, b in graph.edges:
        c, d = cluster_of[a], cluster_of[b]
        if c != d:
            between.add_edge(c, d, weight=radius[c] + radius[d] + _GAP)
    centres = _stressed(between)
    reach = np.array([radius[name] + _GAP / 2 for name in names])
    middle = dict(zip(names, push_apart(centres, reach), strict=True))
    row = {node: number for number, node in enumerate(nodes)}
    points = np.zeros((len(nodes), 2))
    for name in names:
        points[[row[node] for node in clusters[name]]] = inner[name] + middle[name]
    for name in names * 2:
        if len(clusters[name]) > 1:
            _turn_to_neighbours(graph, clusters[name], inner[name], middle[name], points, row)
    return points


def _arranged(graph: nx.Graph) -> Points:
    """Places for the PoPs of one ISP around (0, 0), links about 1 long."""
    number = len(graph)
    if number == 1:
        return np.zeros((1, 2))
    if number <= MOST_FOR_STRESS and nx.is_connected(graph):
        points = _stressed(graph)
    else:
        placed = nx.spring_layout(graph, seed=SEED, iterations=70)
        points = np.array([placed[node] for node in graph])
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    size = float(np.hypot(*points.T).max())
    return np.asarray(points * (max(0.62 * number**0.5, 0.5) / size)) if size else points


def _stressed(graph: nx.Graph) -> Points:
    """Kamada-Kawai with the edges near their weights (1 without); springs where the graph is too large."""
    nodes = list(graph.nodes)
    if len(nodes) == 1:
        return np.zeros((1, 2))
    if len(nodes) <= MOST_FOR_STRESS:
        placed = nx.kamada_kawai_layout(graph)
    else:
        placed = nx.spring_layout(graph, seed=SEED, weight=None, iterations=70)
    points = np.array([placed[node] for node in nodes])
    row = {node: number for number, node in enumerate(nodes)}
    ratios = [
        weight / max(float(np.hypot(*(points[row[a]] - points[row[b]]))), 1e-6)
        for a, b, weight in graph.edges(data="weight", default=1.0)
    ]
    return points * float(np.median(ratios))


def _turn_to_neighbours(
    graph: nx.Graph,
    members: Sequence[int],
    inner: Points,
    middle: Floats,
    points: Points,
    row: dict[int, int],
) -> None:
    """Turn (and mirror) an ISP about its middle so that its links to others are short."""
    rows = {node: number for number, node in enumerate(members)}
    outward = [(rows[node], row[other]) for node in members for other in graph[node] if other not in rows]
    if not outward:
        return
    here, there = (list(side) for side in zip(*outward, strict=True))
    best, best_length = inner, np.inf
    for mirror in (1.0, -1.0):
        for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
            sine, cosine = np.sin(angle), np.cos(angle)
            turned = inner * [1.0, mirror] @ np.array([[cosine, sine], [-sine, cosine]])
            length = float(np.hypot(*(turned[here] + middle - points[there]).T).sum())
            if length < best_length - 1e-9:
                best, best_length = turned, length
    points[[row[node] for node in members]] = best + middle


def _by_rank(sketch: Sketch) -> Points:
    """ISPs over a disc: the larger, the nearer to its middle; each in the direction of its main provider.

    With the root of the rank by number of links as the radius the disc would be filled evenly; a lower power
    leaves more room for the large ones in the middle, which have names.
    """
    degrees = sketch.degrees()
    number = len(sketch.nodes)
    parent = _main_providers(sketch, degrees)
    angle = _subtree_angles(parent)
    order = sorted(range(number), key=lambda node: (-degrees[node], node))
    rank = np.empty(number)
    rank[order] = np.arange(number)
    radius = ((rank + 0.5) / number) ** 0.4
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _main_providers(sketch: Sketch, degrees: Sequence[int]) -> list[int]:
    """Of each ISP its largest provider, of an exchange point its largest member; -1 without one."""
    parent = [-1] * len(sketch.nodes)

    def offer(child: int, candidate: int) -> None:
        if parent[child] < 0 or degrees[candidate] > degrees[parent[child]]:
            parent[child] = candidate

    for stroke in sketch.strokes:
        if stroke.kind == "customer-provider":
            offer(stroke.a, stroke.b)
        elif not sketch.nodes[stroke.b].isp:
            offer(stroke.b, stroke.a)
    return parent


def _subtree_angles(parent: Sequence[int]) -> Floats:
    """A direction for each node of a forest: leaves evenly around, the others in the middle of theirs."""
    children: dict[int, list[int]] = defaultdict(list)
    for node, above in enumerate(parent):
        children[above].append(node)
    order = []
    todo = list(reversed(children[-1]))
    while todo:
        node = todo.pop()
        order.append(node)
        todo += reversed(children[node])
    first, last = np.zeros(len(parent)), np.zeros(len(parent))
    leaves = 0
    for node in order:
        if not children[node]:
            first[node] = last[node] = leaves
            leaves += 1
    for node in reversed(order):
        if children[node]:
            first[node], last[node] = first[children[node][0]], last[children[node][-1]]
    return np.asarray((first + last) * (np.pi / max(leaves, 1)))
