"""A `Drawing` as the bytes of an SVG, PNG or PDF file. The same drawing gives the same bytes."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from testbed.topology.drawing import style
from testbed.topology.drawing.compose import EDGE, INCH, Drawing, Label, Line
from testbed.topology.drawing.curves import middle_of
from testbed.topology.drawing.legend import SWATCH, Entry, Row
from testbed.topology.drawing.text import FAMILY, extent

Format = Literal["svg", "png", "pdf"]
FORMATS: tuple[Format, ...] = ("svg", "png", "pdf")
PNG_DPI = 150

_STYLE = {
    "svg.fonttype": "none",  # text stays text, which can be searched and edited
    "pdf.fonttype": 42,
    "font.family": FAMILY,
    "text.parse_math": False,
    "figure.facecolor": style.PAPER,
}
_SIZES = {"s": 0.88, "D": 0.78}  # so that a marker's corners are not far outside a circle
# What would differ from run to run, or say which version of a library drew it.
_METADATA: dict[Format, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def render(drawing: Drawing, form: Format) -> bytes:
    """The picture as a file of the given format. PNG has 150 pixels an inch."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, "svg.hashsalt": drawing.sketch.name})
        out = io.BytesIO()
        figure_of(drawing).savefig(out, format=form, dpi=PNG_DPI, metadata=_METADATA[form])
        return out.getvalue()


def figure_of(drawing: Drawing) -> Figure:
    """The picture as a matplotlib figure whose one axes has points of the page as its units."""
    figure = Figure(figsize=(drawing.width / INCH, drawing.height / INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, drawing.width), ylim=(0, drawing.height))
    _draw_lines(axes, drawing)
    _draw_nodes(axes, drawing)
    for label in drawing.labels:
        _draw_label(axes, label)
    _draw_title(axes, drawing)
    for entry in drawing.legend:
        _draw_entry(axes, entry)
    return figure


def _draw_lines(axes: Axes, drawing: Drawing) -> None:
    lit = [replace(line, points=line.whole) for line in drawing.lines if line.lit]
    widths = [line.width + 8 * drawing.scale for line in lit]
    _add_lines(axes, lit, widths, style.HIGHLIGHT, zorder=1, capstyle="round")
    sound = [line for line in drawing.lines if not line.failed]
    by_kind: dict[str, list[Line]] = defaultdict(list)
    for line in sound:
        by_kind[line.stroke.kind].append(line)
    # Of many lines, each lets those below shine through; peerings, of which there are most, are below.
    crowded = len(sound) > max(600, 1.5 * len(drawing.points))
    alpha = 0.3 if crowded and drawing.sketch.of_isps else 0.5 if crowded else 1.0
    for zorder, (kind, lines) in enumerate(sorted(by_kind.items(), reverse=True), start=2):
        dash = style.DASH if kind == "peer-peer" else None
        colours = [line.colour for line in lines]
        _add_lines(axes, lines, [line.width for line in lines], colours, zorder, alpha=alpha, dash=dash)
    heads = [(line.head, line.colour) for line in sound if line.head is not None]
    axes.add_collection(
        PolyCollection(
            [head for head, _ in heads],
            facecolors=[colour for _, colour in heads],
            edgecolors="none",
            zorder=5,
            alpha=max(alpha, 0.5),
            clip_on=False,
        )
    )
    _draw_failed(axes, [line for line in drawing.lines if line.failed])


def _draw_failed(axes: Axes, failed: Sequence[Line]) -> None:
    """Failed links: pale and thin, with a cross in the middle."""
    _add_lines(axes, failed, [1.0] * len(failed), "#b5b5b5", zorder=2, dash=(1.0, 2.0))
    for line in failed:
        _cross(axes, *middle_of(line.points))


def _cross(axes: Axes, x: float, y: float) -> None:
    axes.plot([x], [y], marker="x", markersize=9, markeredgewidth=2.4, color=style.FAILED, zorder=6)


def _add_lines(
    axes: Axes,
    lines: Sequence[Line],
    widths: Sequence[float],
    colours: Sequence[str] | str,
    zorder: int,
    *,
    alpha: float = 1.0,
    dash: tuple[float, float] | None = None,
    capstyle: Literal["butt", "round"] = "butt",
) -> None:
    if lines:
        collection = LineCollection(
            [line.points for line in lines],
            linewidths=widths,
            colors=colours,
            alpha=alpha,
            zorder=zorder,
            capstyle=capstyle,
            clip_on=False,
        )
        # Dashes grow with the width of a line, but no line is so thin that they become dots.
        if dash:
            collection.set_linestyle(
                [(0, tuple(part / max(w, 1.0) * max(w, 1.0) ** 0.5 for part in dash)) for w in widths]
            )
        axes.add_collection(collection)


def _draw_nodes(axes: Axes, drawing: Drawing) -> None:
    for node in drawing.lit_nodes:
        x, y = drawing.points[node]
        size = 2 * (float(drawing.radii[node]) + 5 * drawing.scale)
        axes.plot([x], [y], marker="o", markersize=size, color=style.HIGHLIGHT, zorder=1.5)
    alike: dict[style.Look, list[int]] = defaultdict(list)
    for node, look in enumerate(drawing.looks):
        alike[look].append(node)
    for look, nodes in alike.items():
        axes.scatter(
            drawing.points[nodes, 0],
            drawing.points[nodes, 1],
            s=(2 * drawing.radii[nodes] * _SIZES.get(look.marker, 1.0)) ** 2,
            marker=look.marker,
            color=look.fill,
            edgecolors=look.dark,
            linewidths=0.9 * drawing.scale,
            zorder=7,
            clip_on=False,
        )


def _draw_label(axes: Axes, label: Label) -> None:
    x0, y0, x1, _ = label.at.box
    if label.at.leader is not None:
        xa, ya, xb, yb = label.at.leader
        axes.plot([xa, xb], [ya, yb], color=style.MUTED, linewidth=0.6, zorder=6)
    axes.text(
        (x0 + 0.5, (x0 + x1) / 2, x1 - 0.5)[label.at.align + 1],
        y0 + 0.5,
        label.text,
        ha=("left", "center", "right")[label.at.align + 1],
        va="bottom",
        fontsize=label.size,
        weight="bold" if label.bold else "normal",
        color=label.colour,
        zorder=8,
        bbox={"facecolor": style.PAPER, "alpha": 0.75, "edgecolor": "none", "pad": 0.2},
    )


def _draw_title(axes: Axes, drawing: Drawing) -> None:
    top = drawing.height - EDGE
    room = drawing.width - 2 * EDGE
    size = _fitting(drawing.title, style.TITLE_SIZE, room, bold=True)
    axes.text(EDGE, top, drawing.title, fontsize=size, weight="bold", color=style.INK, va="top")
    size = _fitting(drawing.subtitle, 9.5, room)
    axes.text(EDGE, top - 21, drawing.subtitle, fontsize=size, color=style.MUTED, va="top")
    if drawing.left_out:
        text = f"{drawing.left_out:,} names left out for want of room"
        axes.text(EDGE, 3, text, fontsize=7.5, color=style.MUTED, va="bottom")


def _fitting(text: str, size: float, room: float, bold: bool = False) -> float:
    """The size of a text, or a smaller one at which it is no wider than `room`."""
    return size * min(1.0, room / extent(text, size, bold)[0])


def _draw_entry(axes: Axes, entry: Entry) -> None:
    row, x, y = entry.row, entry.x, entry.y
    axes.text(
        x + row.indent,
        y,
        row.text,
        fontsize=style.LEGEND_SIZE,
        weight="bold" if row.heading else "normal",
        color=style.INK,
        va="center",
    )
    if row.look:
        axes.plot(
            [x + SWATCH / 2 - 4],
            [y],
            marker=row.look.marker,
            markersize=9,
            color=row.look.fill,
            markeredgecolor=row.look.dark,
            markeredgewidth=0.9,
        )
    elif row.stroke:
        _draw_sample(axes, row, x, y)


def _draw_sample(axes: Axes, row: Row, x: float, y: float) -> None:
    """The line of a legend's row, from `x` on."""
    end = x + SWATCH - 8
    if row.stroke == "route":
        axes.plot([x, end], [y, y], color=style.HIGHLIGHT, linewidth=9)
    kind = "customer-provider" if row.stroke == "headless" else row.stroke
    colour = style.LINK_COLOURS.get(kind, style.MUTED)
    if row.stroke == "failed":
        axes.plot([x, end], [y, y], color="#b5b5b5", linewidth=1, dashes=(1, 2))
        _cross(axes, (x + end) / 2, y)
    elif row.stroke == "peer-peer":
        axes.plot([x, end], [y, y], color=colour, linewidth=row.width, dashes=style.DASH)
    else:
        axes.plot(
            [x, end - (6 if row.stroke == "customer-provider" else 0)],
            [y, y],
            color=colour,
            linewidth=row.width,
            solid_capstyle="butt",
        )
    if row.stroke == "customer-provider":
        axes.fill([end, end - 8, end - 8], [y, y + 3.6, y - 3.6], color=colour, linewidth=0)
