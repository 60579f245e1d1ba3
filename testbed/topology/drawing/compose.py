"""A whole picture as geometry: a network and a wish come in, a `Drawing` with all places goes out. Pure.

All lengths are points of the page (1/72 inch), from the lower left corner. Nothing is drawn here:
`testbed.topology.drawing.render` does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import pi, sqrt

import numpy as np

from testbed.spec.fields import isp_of
from testbed.topology.drawing import legend, style
from testbed.topology.drawing.curves import arrow_head, cut, lines_of
from testbed.topology.drawing.labels import Placed, Surroundings, Wanted, place_labels
from testbed.topology.drawing.layout import Floats, Points, fan_out, fit, place, push_apart
from testbed.topology.drawing.legend import Entry, Row
from testbed.topology.drawing.sketch import Sketch, Stroke, headless, sketch_of
from testbed.topology.drawing.style import Look
from testbed.topology.drawing.text import extent
from testbed.topology.drawing.wish import Wish
from testbed.topology.model import Network

INCH = 72.0
EDGE = 14.0  # around everything
TITLE_HEIGHT, LEGEND_RISE = 50.0, 15.5  # a legend beside the map starts that much above it
MARGIN_X, MARGIN_Y = 52.0, 26.0  # between the outermost nodes and the edge of the map, for labels
MOST_APART = 38.0  # to which nodes are pushed apart, where there is room
LEAST_SHARE = 0.68  # of the page's width is the map's, or the legend goes below it
MOST_COVERED = 0.1  # of the map by nodes; on a page too narrow for the network they are drawn smaller
ALL_NAMED_ISPS, MOST_NAMED_ISPS = 300, 80  # of more ISPs as nodes, only the largest have names
ROOM_FOR_NAMES = 26.0  # ISPs as nodes are that much further apart if only the largest have names
_LARGER = (1.0, 1.2, 1.45)  # tried one after the other while a label has no place
_ISP_NAME_POPS = 14  # of an ISP's PoPs, beside how many its name may stand


@dataclass(frozen=True)
class Line:
    """A stroke as drawn: `points` from rim to rim, or to its arrow head."""

    stroke: Stroke
    points: Points
    whole: Points  # from middle to middle
    width: float
    colour: str
    head: Points | None
    failed: bool
    lit: bool


@dataclass(frozen=True)
class Label:
    """A name and where it is."""

    text: str
    size: float
    bold: bool
    colour: str
    at: Placed


@dataclass(frozen=True)
class Drawing:
    """All that a picture holds. `left_out` counts the names for which there was no room."""

    sketch: Sketch
    width: float
    height: float
    scale: float
    points: Points
    radii: Floats
    looks: tuple[Look, ...]
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    legend: tuple[Entry, ...]
    title: str
    subtitle: str
    lit_nodes: tuple[int, ...]
    left_out: int = 0
    wish: Wish = field(default_factory=Wish)

    def failed_unseen(self) -> frozenset[str]:
        """Failed links that no crossed out line shows, as they share theirs with sound ones."""
        shown = {link for line in self.lines if line.failed for link in line.stroke.links}
        return self.wish.failed - shown


def compose(network: Network, wish: Wish) -> Drawing:
    """The picture of a network. It grows, unless its width is given, until all names have a place."""
    sketch = sketch_of(network)
    abstract = place(sketch)
    best: Drawing | None = None
    for larger in _LARGER if wish.width_in is None and not sketch.of_isps else _LARGER[:1]:
        drawing = _drawn(sketch, abstract, wish, larger)
        if best is None or drawing.left_out < best.left_out:
            best = drawing
        if not best.left_out:
            break
    assert best is not None
    return best


def _drawn(sketch: Sketch, abstract: Points, wish: Wish, larger: float) -> Drawing:
    page = _page(sketch, abstract, wish, larger)
    x0, y0, x1, y1 = page.map
    radii = np.array(style.radii(sketch))
    shrink = _shrink(radii, (x1 - x0 - 2 * MARGIN_X) * (y1 - y0 - 2 * MARGIN_Y))
    radii, scale = radii * shrink, style.scale_of(sketch) * shrink
    points = _on_page(sketch, abstract, radii, page.map)
    looks = tuple(style.looks(sketch))
    curves = lines_of(sketch.strokes, points, radii, straight=sketch.of_isps)
    labels, left_out = _labels(sketch, points, radii, looks, curves, page.map, wish)
    return Drawing(
        sketch=sketch,
        width=page.width,
        height=page.height,
        scale=scale,
        points=points,
        radii=radii,
        looks=looks,
        lines=tuple(_lines(sketch, curves, radii, looks, wish, scale)),
        labels=tuple(labels),
        legend=tuple(_as_drawn(entry, shrink) for entry in page.legend),
        title=sketch.name,
        subtitle=_subtitle(sketch, wish),
        lit_nodes=tuple(_ends_of_route(sketch, wish)),
        left_out=left_out,
        wish=wish,
    )


@dataclass(frozen=True)
class _Page:
    """The size of the page, the box (x0, y0, x1, y1) of its map, and the legend beside or below that."""

    width: float
    height: float
    map: tuple[float, float, float, float]
    legend: list[Entry]


def _page(sketch: Sketch, abstract: Points, wish: Wish, larger: float) -> _Page:
    rows = legend.rows_of(sketch, wish)
    beside = legend.column_width(rows) + EDGE
    extent_x, extent_y = np.ptp(abstract, axis=0)
    shape = float(np.clip(extent_y / extent_x if extent_x else 1.0, 0.38, 1.2))
    if wish.width_in is None:
        width, height = _map_size(sketch, shape, larger)
        return _legend_beside(rows, width, height)
    width = wish.width_in * INCH - 2 * EDGE
    if width - beside < LEAST_SHARE * width:
        return _legend_below(rows, width, _map_height(width, shape))
    return _legend_beside(rows, width - beside, _map_height(width - beside, shape))


def _map_size(sketch: Sketch, shape: float, larger: float) -> tuple[float, float]:
    """Width and height of the part with the nodes, its area by their number, its shape by theirs."""
    number = len(sketch.nodes)
    side = min(6.0 + 0.3 * sqrt(number), 24.0) if sketch.of_isps else min(2.4 + 0.85 * sqrt(number), 28.0)
    inner = side * larger * INCH
    return inner / sqrt(shape) + 2 * MARGIN_X, inner * sqrt(shape) + 2 * MARGIN_Y


def _map_height(width: float, shape: float) -> float:
    return (width - 2 * MARGIN_X) * shape + 2 * MARGIN_Y


def _legend_beside(rows: list[Row], width: float, height: float) -> _Page:
    height = max(height, legend.height_of([rows]))
    page_height = height + TITLE_HEIGHT + 2 * EDGE
    entries = legend.entries_of([rows], 2 * EDGE + width, EDGE + height + LEGEND_RISE)
    page_width = width + legend.column_width(rows) + 3 * EDGE
    return _Page(page_width, page_height, (EDGE, EDGE, EDGE + width, EDGE + height), entries)


def _legend_below(rows: list[Row], width: float, height: float) -> _Page:
    columns = legend.columns_of(rows, width)
    low = 2 * EDGE + legend.height_of(columns)
    entries = legend.entries_of(columns, EDGE, low - EDGE)
    page_height = low + height + TITLE_HEIGHT + EDGE
    return _Page(width + 2 * EDGE, page_height, (EDGE, low, EDGE + width, low + height), entries)


def _shrink(radii: Floats, area: float) -> float:
    """What nodes and lines shrink by, so that nodes do not cover the map."""
    return min(1.0, sqrt(MOST_COVERED * area / (pi * float((radii**2).sum()))))


def _as_drawn(entry: Entry, shrink: float) -> Entry:
    """The entry with a sample as thin as the lines of the picture are."""
    if entry.row.stroke != "capacity":
        return entry
    return replace(entry, row=replace(entry.row, width=entry.row.width * shrink))


def _on_page(
    sketch: Sketch, abstract: Points, radii: Floats, box: tuple[float, float, float, float]
) -> Points:
    """The nodes inside the map, those that would cover each other spread."""
    x0, y0, x1, y1 = box
    inner = np.array([x1 - x0 - 2 * MARGIN_X, y1 - y0 - 2 * MARGIN_Y])
    points = fit(abstract, *inner)
    neighbours: dict[int, list[int]] = defaultdict(list)
    for stroke in sketch.strokes:
        neighbours[stroke.a].append(stroke.b)
        neighbours[stroke.b].append(stroke.a)
    room = sqrt(float(inner.prod()) / len(points))
    apart = min(MOST_APART, 0.5 * room)
    points = fan_out(points, [neighbours[node] for node in range(len(points))], apart)
    reach = np.maximum(radii + 1.0, apart / 2)
    if sketch.of_isps:
        named = _named(sketch)
        reach[named] += ROOM_FOR_NAMES if len(named) < len(points) else 0.2 * ROOM_FOR_NAMES
    points = push_apart(points, reach)
    low, high = points.min(axis=0), points.max(axis=0)
    if (low < 0).any() or (high > inner).any():  # spreading went over the edge
        points = fit(points, *inner)
    return np.asarray(points + np.array([x0 + MARGIN_X, y0 + MARGIN_Y]))


def _lines(
    sketch: Sketch, curves: Sequence[Points], radii: Floats, looks: Sequence[Look], wish: Wish, scale: float
) -> list[Line]:
    widths = style.widths([stroke.capacity_bps for stroke in sketch.strokes], scale)
    lit = set(wish.route.links) if wish.route else set()
    bare = headless(sketch.strokes)
    lines = []
    for number, (stroke, curve, width) in enumerate(zip(sketch.strokes, curves, widths, strict=True)):
        from_start, from_end = float(radii[stroke.a]), float(radii[stroke.b])
        head = None
        if stroke.kind == "customer-provider" and number not in bare:
            head, size = arrow_head(curve, from_end + 0.8, width, scale)
            from_end += size * 0.8
        lines.append(
            Line(
                stroke=stroke,
                points=cut(curve, from_start, from_end),
                whole=curve,
                width=width,
                colour=style.link_colour(stroke.kind, looks[stroke.a]),
                head=head,
                failed=wish.failed.issuperset(stroke.links),
                lit=not lit.isdisjoint(stroke.links),
            )
        )
    return lines


def _labels(
    sketch: Sketch,
    points: Points,
    radii: Floats,
    looks: Sequence[Look],
    curves: Sequence[Points],
    bounds: tuple[float, float, float, float],
    wish: Wish,
) -> tuple[list[Label], int]:
    """The names that have a place, and how many have none."""
    if not wish.labels:
        return [], 0
    names = [*_node_names(sketch, looks), *_isp_names(sketch, points, looks)]
    # Between ISPs as nodes there are links everywhere: no place for a name is better than another.
    counted = [] if sketch.of_isps else curves
    segments = np.concatenate([np.empty((0, 4)), *(np.hstack([curve[:-1], curve[1:]]) for curve in counted)])
    placed = place_labels([name.wanted for name in names], Surroundings(points, radii, segments, bounds))
    labels = [
        Label(name.text, name.size, name.bold, name.colour, at)
        for name, at in zip(names, placed, strict=True)
        if at is not None
    ]
    everything = len(sketch.nodes) if sketch.of_isps else len(names)
    return labels, everything - len(labels)


@dataclass(frozen=True)
class _Name:
    text: str
    size: float
    bold: bool
    colour: str
    wanted: Wanted


def _node_names(sketch: Sketch, looks: Sequence[Look]) -> list[_Name]:
    degrees = sketch.degrees()
    names = []
    for node in _named(sketch):
        label, colour = sketch.nodes[node].label, looks[node].dark
        bold = bool(sketch.nodes[node].isp) and "." in label
        width, height = extent(label, style.NAME_SIZE, bold)
        priority = float(degrees[node]) if sketch.of_isps else 0.0
        wanted = Wanted(width, height, (node,), priority=priority)
        names.append(_Name(label, style.NAME_SIZE, bold, colour if bold else style.INK, wanted))
    return names


def _named(sketch: Sketch) -> list[int]:
    """The nodes whose names are wanted: all, or the largest of very many ISPs."""
    nodes = list(range(len(sketch.nodes)))
    if not sketch.of_isps or len(nodes) <= ALL_NAMED_ISPS:
        return nodes
    degrees = sketch.degrees()
    return sorted(nodes, key=lambda node: (-degrees[node], node))[:MOST_NAMED_ISPS]


def _isp_names(sketch: Sketch, points: Points, looks: Sequence[Look]) -> list[_Name]:
    """The name of each ISP of several PoPs, once, beside one of the PoPs in its middle."""
    if sketch.of_isps or len(sketch.isps) == 1:
        return []
    members: dict[str, list[int]] = defaultdict(list)
    for number, node in enumerate(sketch.nodes):
        if node.isp:
            members[node.isp].append(number)
    names = []
    for isp, nodes in members.items():
        if len(nodes) == 1:
            continue
        off = np.hypot(*(points[nodes] - points[nodes].mean(axis=0)).T)
        chosen = np.argsort(off, kind="stable")[:_ISP_NAME_POPS]
        width, height = extent(isp, style.ISP_NAME_SIZE, True)
        wanted = Wanted(
            width,
            height,
            nodes=tuple(nodes[row] for row in chosen),
            costs=tuple(float(off[row]) / 60 for row in chosen),
            leader=False,
            gap=5.0,
            priority=1.0 if len(sketch.isps) > style.ISP_LOOKS else 0.0,  # no legend names them then
        )
        names.append(_Name(isp, style.ISP_NAME_SIZE, True, looks[nodes[0]].dark, wanted))
    return names


def _subtitle(sketch: Sketch, wish: Wish) -> str:
    counts = ((len(sketch.isps), "ISP"), (sketch.pops, "PoP"), (sketch.links, "link"))
    text = ", ".join(f"{number:,} {what}{'' if number == 1 else 's'}" for number, what in counts)
    return f"{text}, {len(wish.failed)} failed" if wish.failed else text


def _ends_of_route(sketch: Sketch, wish: Wish) -> list[int]:
    if wish.route is None:
        return []
    ends = (wish.route.source, wish.route.destination)
    names = [isp_of(end) for end in ends] if sketch.of_isps else list(ends)
    index = {node.id: number for number, node in enumerate(sketch.nodes)}
    return [index[name] for name in names]
