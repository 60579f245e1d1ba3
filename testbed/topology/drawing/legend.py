"""The legend of a picture: its rows, and where each stands in one column or in several.

In go a sketch and a wish; out come rows, and entries with places in points of the page (1/72 inch).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.spec.units import format_rate
from testbed.topology.drawing import style
from testbed.topology.drawing.sketch import MOST_HEADS, Sketch, headless
from testbed.topology.drawing.style import Look
from testbed.topology.drawing.text import extent
from testbed.topology.drawing.wish import Wish

ROW, HEADING_ROW, SWATCH = 15.0, 23.0, 36.0
COLUMN_GAP = 18.0


@dataclass(frozen=True)
class Row:
    """A line of the legend: a heading, or a text beside what it explains.

    `stroke` is a kind of stroke, or "headless", "capacity", "failed" or "route".
    """

    text: str
    heading: bool = False
    look: Look | None = None
    stroke: str = ""
    width: float = 2.0

    @property
    def height(self) -> float:
        return HEADING_ROW if self.heading else ROW

    @property
    def indent(self) -> float:
        """From the row's left end to its text."""
        return SWATCH if self.look or self.stroke else 0.0


@dataclass(frozen=True)
class Entry:
    """A row at its place: its left end and the height of its middle."""

    row: Row
    x: float
    y: float


def rows_of(sketch: Sketch, wish: Wish) -> list[Row]:
    """What needs explaining: ISPs, kinds of links, capacities."""
    rows = [Row("ISPs", heading=True), *_isp_rows(sketch, wish)]
    if any(not node.isp for node in sketch.nodes):
        rows.append(Row("exchange point", look=style.IXP_LOOK))
    if sketch.strokes:
        rows += [Row("Links", heading=True), *_kind_rows(sketch)]
        if wish.failed:
            rows.append(Row("failed", stroke="failed"))
        if wish.route:
            rows.append(Row(f"route, {_count(len(wish.route.links), 'link')}", stroke="route"))
        rows += [Row("Capacity", heading=True), *_capacity_rows(sketch)]
    return rows


def _isp_rows(sketch: Sketch, wish: Wish) -> list[Row]:
    if sketch.of_isps:
        tiers = Counter(
            tier for tier, node in zip(style.tiers(sketch), sketch.nodes, strict=True) if node.isp
        )
        return [
            Row(f"{name}: {tiers[number]:,}", look=look)
            for number, (name, look) in enumerate(style.TIERS.items())
            if tiers[number]
        ]
    if len(sketch.isps) > style.ISP_LOOKS:
        # A list in which several ISPs look the same would explain nothing.
        named = ", named beside their PoPs" if wish.labels else ""
        return [Row(f"{len(sketch.isps)} ISPs{named}"), Row("colours and shapes repeat")]
    pops = Counter(node.isp for node in sketch.nodes)
    return [
        Row(f"{isp}, {_count(pops[isp], 'PoP')}", look=style.isp_look(number))
        for number, isp in enumerate(sketch.isps)
    ]


def _kind_rows(sketch: Sketch) -> list[Row]:
    bare = headless(sketch.strokes)
    kinds = {stroke.kind for number, stroke in enumerate(sketch.strokes) if number not in bare}
    rows = []
    if "internal" in kinds:
        rows.append(Row("inside an ISP", stroke="internal"))
    if "customer-provider" in kinds:
        rows.append(Row("customer to provider", stroke="customer-provider"))
    if bare:
        rows.append(Row(f"the same where over {MOST_HEADS} meet", stroke="headless"))
    if "peer-peer" in kinds:
        rows.append(Row("peer to peer", stroke="peer-peer"))
    return rows


def _capacity_rows(sketch: Sketch) -> list[Row]:
    capacities = [stroke.capacity_bps for stroke in sketch.strokes]
    width = dict(zip(capacities, style.widths(capacities, style.scale_of(sketch)), strict=True))
    return [
        Row(format_rate(capacity), stroke="capacity", width=width[capacity])
        for capacity in style.samples(capacities)
    ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def column_width(rows: Sequence[Row]) -> float:
    """What the widest row takes."""
    return max(row.indent + extent(row.text, style.LEGEND_SIZE, row.heading)[0] for row in rows)


def columns_of(rows: Sequence[Row], width: float) -> list[list[Row]]:
    """The rows in as many columns as `width` has room for, as short as that allows."""
    limit = 0.0
    while len(columns := _filled(rows, limit)) > 1 and _width_of(columns) > width:
        limit += ROW / 3
    return columns


def _width_of(columns: Sequence[Sequence[Row]]) -> float:
    return sum(map(column_width, columns)) + COLUMN_GAP * (len(columns) - 1)


def _filled(rows: Sequence[Row], limit: float) -> list[list[Row]]:
    """Columns of at most `limit` height, though never of fewer than a heading and what follows it."""
    columns: list[list[Row]] = []
    height = 0.0
    for number, row in enumerate(rows):
        needed = row.height + (rows[number + 1].height if row.heading else 0.0)
        follows_heading = number > 0 and rows[number - 1].heading
        if not columns or (height + needed > limit and not follows_heading):
            columns.append([])
            height = 0.0
        columns[-1].append(row)
        height += row.height
    return columns


def height_of(columns: Sequence[Sequence[Row]]) -> float:
    return max(sum(row.height for row in column) for column in columns)


def entries_of(columns: Sequence[Sequence[Row]], left: float, top: float) -> list[Entry]:
    """Each row at its place, the first column's upper left corner being at (left, top)."""
    entries = []
    for column in columns:
        y = top
        for row in column:
            y -= row.height
            entries.append(Entry(row, left, y + ROW / 2))
        left += column_width(column) + COLUMN_GAP
    return entries
