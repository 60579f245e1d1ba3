"""Where labels go so that none covers another, a node or the edge of the picture. Pure geometry.

In go the sizes of the labels with the points that they name, the nodes and the links; out comes a place for
each label, or None where there is none. Boxes are x0, y0, x1, y1; segments are x0, y0, x1, y1 of their ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

GAP = 2.5  # between a node's rim and its label
CLEARANCE = 1.0  # between a label and the rim of any node
HALF_LINK = 2.5  # half the width of a wide link
ROUNDS = 4
MOST_CANDIDATES = 90
# (direction x, direction y, cost) of places that touch the node: right is read most easily
_NEAR = (
    (1, 0, 0.0),
    (1, 1, 0.5),
    (1, -1, 0.6),
    (0, 1, 0.7),
    (0, -1, 0.8),
    (-1, 0, 1.0),
    (-1, 1, 1.2),
    (-1, -1, 1.3),
)
_FURTHER = (9.0, 16.0, 26.0, 40.0, 58.0, 80.0)
_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_LEADER_COST, _LEADER_COST_PER_POINT = 3.0, 0.12
_CROSSING_COST, _FOREIGN_COST, _LEADER_CROSSING_COST = 2.5, 4.0, 0.6


@dataclass(frozen=True)
class Wanted:
    """A label to place: its size, the nodes (indices) beside which it may stand, and what it costs there.

    A label with `leader` may stand further off, joined to its node by a line. Labels of higher `priority` are
    placed first.
    """

    width: float
    height: float
    nodes: tuple[int, ...]
    costs: tuple[float, ...] = ()
    leader: bool = True
    priority: float = 0.0
    gap: float = GAP


@dataclass(frozen=True)
class Placed:
    """A label's box, to which side its text is aligned (-1 left, 0 middle, 1 right), its leader's ends."""

    box: tuple[float, float, float, float]
    align: int
    leader: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Surroundings:
    """What labels must not cover (nodes, the outside of `bounds`) and should not (segments of links)."""

    points: Floats  # n x 2
    radii: Floats  # n
    segments: Floats  # s x 4
    bounds: tuple[float, float, float, float]

    def node_boxes(self) -> Floats:
        """A square in each node: what leaders keep out of."""
        reach = self.radii[:, np.newaxis]
        return np.hstack([self.points - reach, self.points + reach])


@dataclass(frozen=True)
class Candidates:
    """The possible places of one label, the best first."""

    boxes: Floats  # c x 4
    costs: Floats  # c
    aligns: npt.NDArray[np.int64]  # c
    leaders: Floats  # c x 4, NaN where there is none

    def chosen(self, rows: npt.NDArray[np.int64] | Flags) -> Candidates:
        return Candidates(self.boxes[rows], self.costs[rows], self.aligns[rows], self.leaders[rows])


@dataclass
class _Page:
    """The labels placed so far: row i is label i, NaN while it has no place."""

    boxes: Floats
    leaders: Floats
    choice: list[int] = field(default_factory=list)

    def put(self, label: int, candidates: Candidates, choice: int) -> None:
        self.choice[label] = choice
        self.boxes[label] = candidates.boxes[choice] if choice >= 0 else np.nan
        self.leaders[label] = candidates.leaders[choice] if choice >= 0 else np.nan


def place_labels(wanted: Sequence[Wanted], around: Surroundings) -> list[Placed | None]:
    """A place for each label, or None. Boxes overlap neither each other, nor nodes, nor leaders of others.

    Greedy, the label with the fewest places first; then rounds in which each label moves to a better place if
    one became free, and a label without a place may push another to its next best one.
    """
    candidates = [_candidates(label, around) for label in wanted]
    number = len(wanted)
    page = _Page(np.full((number, 4), np.nan), np.full((number, 4), np.nan), [-1] * number)
    order = sorted(
        range(number), key=lambda label: (-wanted[label].priority, len(candidates[label].costs), label)
    )
    for _ in range(ROUNDS):
        before = list(page.choice)
        for label in order:
            best = _best_free(candidates[label], page, label)
            if best >= 0:
                page.put(label, candidates[label], best)
            elif not _push_one_away(label, candidates, page):
                page.put(label, candidates[label], -1)
        if page.choice == before:
            break
    return [
        _placed(candidates[label], choice) if choice >= 0 else None
        for label, choice in enumerate(page.choice)
    ]


def overlaps(boxes: Floats, others: Floats) -> Flags:
    """Which of boxes (c x 4) and others (n x 4) share area: c x n. NaN overlaps nothing."""
    left, right = boxes[:, np.newaxis], others[np.newaxis]
    apart = (
        (left[..., 0] < right[..., 2])
        & (right[..., 0] < left[..., 2])
        & (left[..., 1] < right[..., 3])
        & (right[..., 1] < left[..., 3])
    )
    return np.asarray(apart, dtype=np.bool_)


def crosses(boxes: Floats, segments: Floats) -> Flags:
    """Which segments (s x 4) enter which boxes (c x 4): c x s, by the slab method. NaN enters nothing."""
    start, along = segments[np.newaxis, :, :2], segments[np.newaxis, :, 2:] - segments[np.newaxis, :, :2]
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    one = (boxes[:, np.newaxis, :2] - start) / along
    two = (boxes[:, np.newaxis, 2:] - start) / along
    enter, leave = np.minimum(one, two).max(axis=2), np.maximum(one, two).min(axis=2)
    return np.asarray((enter <= leave) & (leave >= 0) & (enter <= 1), dtype=np.bool_)


def _placed(candidates: Candidates, choice: int) -> Placed:
    x0, y0, x1, y1 = (float(value) for value in candidates.boxes[choice])
    xa, ya, xb, yb = (float(value) for value in candidates.leaders[choice])
    leader = None if np.isnan(xa) else (xa, ya, xb, yb)
    return Placed((x0, y0, x1, y1), int(candidates.aligns[choice]), leader)


def _free(candidates: Candidates, page: _Page, but: Sequence[int]) -> Flags:
    """Which candidates are in no conflict with the labels on the page, those of `but` apart."""
    return np.asarray(~_conflicts(candidates, page, but).any(axis=1), dtype=np.bool_)


def _conflicts(candidates: Candidates, page: _Page, but: Sequence[int]) -> Flags:
    """Which label on the page stands in the way of which candidate: candidates x labels."""
    conflicts = np.zeros((len(candidates.costs), len(page.boxes)), dtype=np.bool_)
    if not len(candidates.costs):
        return conflicts
    ends = candidates.leaders.reshape(-1, 2)
    low = np.fmin(candidates.boxes[:, :2].min(axis=0), np.fmin.reduce(ends))
    high = np.fmax(candidates.boxes[:, 2:].max(axis=0), np.fmax.reduce(ends))
    window = np.array([[*low, *high]])
    near = overlaps(window, page.boxes)[0] | crosses(window, page.leaders)[0]
    near[list(but)] = False
    rows = np.flatnonzero(near)
    conflicts[:, rows] = (
        overlaps(candidates.boxes, page.boxes[rows])
        | crosses(candidates.boxes, page.leaders[rows])
        | crosses(page.boxes[rows], candidates.leaders).T
    )
    return conflicts


def _best_free(candidates: Candidates, page: _Page, label: int) -> int:
    free = np.flatnonzero(_free(candidates, page, [label]))
    return int(free[0]) if len(free) else -1


def _push_one_away(label: int, candidates: Sequence[Candidates], page: _Page) -> bool:
    """Place a label where one other stands that has another place to go. False if there is no such."""
    mine = candidates[label]
    conflicts = _conflicts(mine, page, [label])
    for row in np.flatnonzero(conflicts.sum(axis=1) == 1):
        other = int(conflicts[row].argmax())
        before = page.choice[other]
        page.put(label, mine, int(row))
        page.put(other, candidates[other], -1)
        refuge = _best_free(candidates[other], page, other)
        if refuge >= 0:
            page.put(other, candidates[other], refuge)
            return True
        page.put(other, candidates[other], before)
        page.put(label, mine, -1)
    return False


def _candidates(label: Wanted, around: Surroundings) -> Candidates:
    """The places where a label covers neither node nor edge, sorted by cost."""
    all_of = _positions(label, around)
    boxes = all_of.boxes
    x0, y0, x1, y1 = around.bounds
    inside = (boxes[:, 0] >= x0) & (boxes[:, 1] >= y0) & (boxes[:, 2] <= x1) & (boxes[:, 3] <= y1)
    some = all_of.chosen(np.asarray(inside, dtype=np.bool_))
    if not len(some.costs):
        return some
    own, around = _nearby(some, label, around)
    bad = (_distances(some.boxes, around.points) < around.radii + CLEARANCE).any(axis=1)
    some = some.chosen(np.flatnonzero(~bad))
    bad = crosses(around.node_boxes()[~own], some.leaders).any(axis=0)
    some = some.chosen(np.flatnonzero(~bad))
    costs = some.costs + _costs(some, own, around)
    some = Candidates(some.boxes, costs, some.aligns, some.leaders)
    return some.chosen(np.argsort(costs, kind="stable")[:MOST_CANDIDATES])


def _nearby(some: Candidates, label: Wanted, around: Surroundings) -> tuple[Flags, Surroundings]:
    """The part of the surroundings that matters to a label, and which of the nodes there are its own."""
    own = np.zeros(len(around.points), dtype=np.bool_)
    own[list(label.nodes)] = True
    margin = float(around.radii.max()) + max(_FURTHER)
    low, high = some.boxes[:, :2].min(axis=0) - margin, some.boxes[:, 2:].max(axis=0) + margin
    rows = ((around.points >= low) & (around.points <= high)).all(axis=1) | own
    segments = around.segments[crosses(np.array([[*low, *high]]), around.segments)[0]]
    return own[rows], Surroundings(around.points[rows], around.radii[rows], segments, around.bounds)


def _costs(some: Candidates, own: Flags, around: Surroundings) -> Floats:
    """What a place costs: links behind the label or its leader, and nodes of others that are nearer."""
    if not len(some.costs):
        return np.zeros(0)
    segments = around.segments
    wide = some.boxes + np.array([-1.0, -1.0, 1.0, 1.0]) * HALF_LINK
    costs = _CROSSING_COST * np.minimum(crosses(wide, segments).sum(axis=1), 6)
    distances = _distances(some.boxes, around.points)
    nearest = distances[:, own].min(axis=1)
    foreign = distances[:, ~own].min(axis=1, initial=np.inf)
    costs = costs + np.where(foreign < nearest, _FOREIGN_COST, 0.0) * np.isnan(some.leaders[:, 0])
    costs = costs + _LEADER_CROSSING_COST * _crossings(some.leaders, segments)
    return np.asarray(costs, dtype=np.float64)


def _crossings(leaders: Floats, segments: Floats) -> npt.NDArray[np.int64]:
    """How many segments (s x 4) cross each leader (c x 4), by the signs of areas. NaN crosses nothing."""
    a, b = leaders[:, np.newaxis, :2], leaders[:, np.newaxis, 2:]
    c, d = segments[np.newaxis, :, :2], segments[np.newaxis, :, 2:]

    def side(p: Floats, q: Floats, r: Floats) -> Floats:
        return np.asarray(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1])
            - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    crossed = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    return np.asarray(crossed.sum(axis=1), dtype=np.int64)


def _distances(boxes: Floats, points: Floats) -> Floats:
    """From each box to each point: c x n."""
    outside = np.maximum(boxes[:, np.newaxis, :2] - points, points - boxes[:, np.newaxis, 2:])
    return np.asarray(np.hypot(*np.maximum(outside, 0.0).transpose(2, 0, 1)))


def _positions(label: Wanted, around: Surroundings) -> Candidates:
    boxes: list[tuple[float, float, float, float]] = []
    costs: list[float] = []
    aligns: list[int] = []
    leaders: list[tuple[float, float, float, float]] = []
    none = (np.nan,) * 4
    for number, node in enumerate(label.nodes):
        base = label.costs[number] if label.costs else 0.0
        (x, y), radius = around.points[node], float(around.radii[node])
        for dx, dy, cost in _NEAR:
            # a corner of the box may come nearer along the diagonal
            reach = (radius + label.gap) * (0.72 if dx and dy else 1.0)
            boxes.append(_box(x + dx * reach, y + dy * reach, dx, dy, label))
            costs.append(base + cost)
            aligns.append(-dx)
            leaders.append(none)
        for distance in _FURTHER if label.leader else _FURTHER[:3]:
            for turn in _ANGLES:
                ux, uy = float(np.cos(turn)), float(np.sin(turn))
                dx, dy = _sign(ux, 0.35), _sign(uy, 0.35)
                reach = radius + label.gap + distance
                boxes.append(_box(x + ux * reach, y + uy * reach, dx, dy, label))
                costs.append(base + _LEADER_COST + _LEADER_COST_PER_POINT * distance)
                aligns.append(-dx)
                ends = (x + ux * radius, y + uy * radius, x + ux * (reach - 1.0), y + uy * (reach - 1.0))
                leaders.append(ends if label.leader else none)
    return Candidates(np.array(boxes), np.array(costs), np.array(aligns), np.array(leaders, dtype=np.float64))


def _sign(value: float, least: float) -> int:
    return 0 if abs(value) < least else 1 if value > 0 else -1


def _box(x: float, y: float, dx: int, dy: int, label: Wanted) -> tuple[float, float, float, float]:
    """The box of a label whose side or corner that faces the node is at (x, y)."""
    left = x - label.width * (1 - dx) / 2
    low = y - label.height * (1 - dy) / 2
    return (left, low, left + label.width, low + label.height)
