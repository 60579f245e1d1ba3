"""The lines of strokes: straight where that is clear, bowed where links are parallel or a node is in the way.

In go the points of the nodes; out come polylines from node to node, their trimmed parts and arrow heads. All
lengths are points of the page (1/72 inch).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from testbed.topology.drawing.layout import Floats, Points
from testbed.topology.drawing.sketch import Stroke

PARALLEL_STEP = 13.0  # between the middles of parallel links
MOST_BOW = 60.0  # of a long line, which would leave the page otherwise
CLEARANCE = 3.0  # between a link and the rim of a node that is not its end
_BOWS = (0.0, 0.07, -0.07, 0.13, -0.13, 0.2, -0.2, 0.28, -0.28)  # of the length, the least first
_STEPS = np.linspace(0, 1, 25)[:, np.newaxis]


def lines_of(
    strokes: Sequence[Stroke], points: Points, radii: Floats, straight: bool = False
) -> list[Points]:
    """A polyline for each stroke, from the middle of node `a` to that of `b`; all straight if wished."""
    if straight:
        return [points[[stroke.a, stroke.b]] for stroke in strokes]
    together: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, stroke in enumerate(strokes):
        together[min(stroke.a, stroke.b), max(stroke.a, stroke.b)].append(number)
    page = _Page(points, radii, cKDTree(points), np.array([points[list(pair)] for pair in together]))
    lines: list[Points] = [np.empty((0, 2))] * len(strokes)
    for (a, b), numbers in together.items():
        for number, line in zip(numbers, _bundle(a, b, len(numbers), page), strict=True):
            lines[number] = line if strokes[number].a == a else line[::-1]
    return lines


@dataclass(frozen=True)
class _Page:
    """What a line has to do with: nodes, and the straight lines (number x 2 x 2) between linked ones."""

    points: Points
    radii: Floats
    tree: cKDTree
    straight: Floats


def _bundle(a: int, b: int, number: int, page: _Page) -> list[Points]:
    """`number` curves from node a to node b, side by side, past the other nodes where that is possible.

    Of the ways past them, one that crosses few links; where there is no way, the one with the most room.
    """
    start, end = page.points[a], page.points[b]
    length = float(np.hypot(*(end - start)))
    offsets = (np.arange(number) - (number - 1) / 2) * min(PARALLEL_STEP, 0.8 * length / number)
    reach = length * 0.6 + float(page.radii.max())
    near = [node for node in page.tree.query_ball_point((start + end) / 2, reach) if node not in (a, b)]
    ways: list[tuple[float, list[Points]]] = []
    for bow in _BOWS:
        if abs(bow) * length > MOST_BOW:
            break
        curves = [_curve(start, end, offset + bow * length) for offset in offsets]
        room = _room(np.concatenate(curves), page.points[near], page.radii[near])
        if room < CLEARANCE:
            ways.append((1000 - room, curves))
        elif bow == 0:
            return curves
        else:
            ways.append((_crossed(curves[number // 2], page.straight) + 8 * abs(bow), curves))
    return min(ways, key=lambda way: way[0])[1]


def _crossed(line: Points, straight: Floats) -> int:
    """How many of the straight lines a curve crosses."""
    a, b = line[:-1, np.newaxis], line[1:, np.newaxis]
    c, d = straight[np.newaxis, :, 0], straight[np.newaxis, :, 1]

    def side(p: Floats, q: Floats, r: Floats) -> Floats:
        return np.sign(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1])
            - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    return int(((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).sum())


def _curve(start: Floats, end: Floats, height: float) -> Points:
    """A quadratic curve whose middle is `height` to the left of the straight line; two points if straight."""
    if abs(height) < 0.1:
        return np.array([start, end])
    along = end - start
    left = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    control = (start + end) / 2 + 2 * height * left
    return np.asarray((1 - _STEPS) ** 2 * start + 2 * (1 - _STEPS) * _STEPS * control + _STEPS**2 * end)


def _room(line: Points, others: Points, radii: Floats) -> float:
    """The least distance of a line from the rims of other nodes."""
    if not len(others):
        return np.inf
    samples = line if len(line) > 2 else line[0] + _STEPS * (line[1] - line[0])
    away = np.hypot(*(samples[:, np.newaxis] - others[np.newaxis]).transpose(2, 0, 1)) - radii
    return float(away.min())


def cut(line: Points, from_start: float, from_end: float) -> Points:
    """The line without a length at its start and at its end; its middle point where nothing is left."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.append(0.0, np.cumsum(steps))
    low, high = from_start, along[-1] - from_end
    if low >= high:
        low = high = float(np.clip((low + high) / 2, 0, along[-1]))
    inside = (along > low) & (along < high)
    ends = [[float(np.interp(at, along, line[:, axis])) for axis in (0, 1)] for at in (low, high)]
    return np.vstack([ends[0], line[inside], ends[1]])


def arrow_head(line: Points, rim: float, width: float, scale: float) -> tuple[Points, float]:
    """The triangle at the end of a line, its tip at `rim` before the end, and how long it is.

    `width` is that of the line. The head of a short line is smaller, and `scale` that of the picture.
    """
    length = float(np.hypot(*np.diff(line, axis=0).T).sum())
    size = min(scale * 6.0 + 1.5 * width, max(0.5 * (length - rim), 1.0))
    tip, base = cut(line, 0.0, rim)[-1], cut(line, 0.0, rim + size)[-1]
    along = (tip - base) / max(float(np.hypot(*(tip - base))), 1e-9)
    across = np.array([-along[1], along[0]]) * size * 0.42
    return np.array([tip, base + across, base - across]), size


def middle_of(line: Points) -> Floats:
    """The point half way along a line."""
    half = float(np.hypot(*np.diff(line, axis=0).T).sum()) / 2
    return np.asarray(cut(line, half, half)[0])
