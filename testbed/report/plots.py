"""Plots as SVG text that goes into an HTML page: completion curves, links over time, the network with its
traffic.

In go a trial's details; out come strings. Colours of policies, text and grid are CSS variables (`--p0`,
`--text`, ...), so that one picture serves a light and a dark page; a policy has one colour everywhere. Each
picture is narrow enough to be read at 400 pixels, and the page puts as many side by side as fit.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import networkx as nx
import numpy as np
import numpy.typing as npt

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from testbed.analysis.details import TrialDetails
from testbed.topology.model import Link, Network

Point = tuple[float, float]
Mark = tuple[float, str, int | None]  # seconds, text, number of the policy's line or None for all
Pixels = npt.NDArray[np.float64]  # x, y
Box = npt.NDArray[np.float64]  # x0, y0, x1, y1 in pixels

# matplotlib knows no CSS variables: these colours stand for them in its output and are replaced there.
TEXT, MUTED, GRID, PAPER = "#fe0001", "#fe0002", "#fe0003", "#fe0004"
_VARIABLES = {TEXT: "var(--text)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
POLICY_COLOURS = 6  # --p0 to --p5 of the page; further policies reuse them with another dash
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
# Fills of ISPs: Paul Tol's "light" scheme, told apart with every kind of colour vision under black text.
ISP_FILLS = (
    "#77aadd",
    "#ee8866",
    "#eedd88",
    "#ffaabb",
    "#99ddff",
    "#44bb99",
    "#bbcc33",
    "#aaaa00",
    "#dddddd",
)
_HEAT = matplotlib.colors.LinearSegmentedColormap.from_list(
    "heat", ["#9aa3ad", "#8c8fb0", "#b5679a", "#d9484f", "#b0101c"]
)
MOST_LABELS = 40
SHORT_LINK = 90.0  # pixels: a number on a shorter link would hide it
NAME_SIZE, NUMBER_SIZE = 9.5, 8.5
NEAR_MARKS = 0.03  # of the axis: numbers that are closer would hide each other
WIDTH_OF_MARK = 0.026  # of the axis: a character of a mark's text
_CENTRE = ("center", "center")
_NAME_OFFSETS = (
    (0, 12),
    (0, -12),
    (12, 0),
    (-12, 0),
    (9, 10),
    (-9, 10),
    (9, -10),
    (-9, -10),
    (0, 20),
    (0, -20),
)
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "legend.frameon": False,
    "figure.facecolor": "none",
}


def policy_variable(index: int) -> str:
    """The CSS variable of a policy's colour."""
    return f"--p{index % POLICY_COLOURS}"


def completion_plot(by_policy: Mapping[str, Sequence[TrialDetails]]) -> str:
    """Share of leechers that were done after each number of seconds, all repeats of a policy together.

    A curve that stays below 100 % shows leechers that never finished.
    """
    with plt.rc_context(_STYLE):
        figure, axes = _figure(4.6, 3.3)
        for index, (policy, trials) in enumerate(by_policy.items()):
            times = np.sort(np.concatenate([trial.completions_s for trial in trials]))
            everyone = sum(trial.leechers for trial in trials)
            share = np.arange(len(times) + 1) / max(everyone, 1)
            axes.step(np.append(0, times), share * 100, where="post", label=policy, **_line(index))
        axes.set(xlabel="seconds since the leecher's start", ylabel="leechers done, %", ylim=(0, 103))
        axes.set_xlim(left=0)
        axes.legend(loc="lower right")
        return _svg(figure, "completion")


def utilisation_plots(
    by_policy: Mapping[str, Sequence[TrialDetails]], links: Sequence[str]
) -> list[tuple[str, str]]:
    """A small picture for each link: utilisation of its busier direction over time, a line for each policy.

    The lines are those of each policy's first repeat: a mean over repeats would blur what happened when.
    Where something was changed there is a line with its number, in the colour of the policy if it came at
    another time under others.
    """
    first = {policy: trials[0] for policy, trials in by_policy.items()}
    end_s = max((trial.series_s[-1] for trial in first.values() if len(trial.series_s)), default=1.0)
    marks = change_marks(list(first.values()), end_s)
    pictures = []
    with plt.rc_context({**_STYLE, "font.size": 9}):
        for number, link in enumerate(links):
            figure, axes = _figure(3.1, 1.9)
            for index, trial in enumerate(first.values()):
                if link in trial.series:
                    axes.plot(trial.series_s, trial.series[link] * 100, **_line(index))
            axes.set(xlabel="s", ylabel="%", xlim=(0, end_s))
            axes.set_ylim(0, max(105, axes.get_ylim()[1]))
            _draw_marks(axes, marks, end_s)
            pictures.append((link, _svg(figure, f"link{number}")))
    return pictures


def change_marks(trials: Sequence[TrialDetails], end_s: float) -> list[Mark]:
    """Marks of what was changed, at seconds since the swarm's start.

    A change that came at nearly the same time in all trials is one mark, and so are changes that would be
    drawn over each other.
    """
    near_s = NEAR_MARKS * end_s
    times: dict[int, dict[int, float]] = defaultdict(dict)
    for index, trial in enumerate(trials):
        for change in trial.changes:
            if change.effective_s is not None:
                times[change.number + 1][index] = change.effective_s - trial.start_s
    single: list[tuple[float, int, int | None]] = []
    for number, at in times.items():
        if len(at) == len(trials) and max(at.values()) - min(at.values()) <= near_s:
            single.append((min(at.values()), number, None))
        else:
            single += [(at_s, number, line) for line, at_s in at.items()]
    marks: list[Mark] = []
    for at_s, number, whose in sorted(single, key=lambda item: item[:2]):
        if marks and at_s - marks[-1][0] <= near_s and marks[-1][2] == whose:
            marks[-1] = (marks[-1][0], f"{marks[-1][1]}, {number}", whose)
        else:
            marks.append((at_s, str(number), whose))
    return marks


def _draw_marks(axes: Axes, marks: Sequence[Mark], end_s: float) -> None:
    """A line for each, its numbers above it: higher where they would cover others."""
    taken: list[float] = []  # for each height, where on the axis the last text on it ends
    for at_s, text, index in marks:
        colour = MUTED if index is None else str(_line(index)["color"])
        axes.axvline(at_s, color=colour, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
        half = len(text) * WIDTH_OF_MARK / 2
        height = next((n for n, end in enumerate(taken) if end < at_s / end_s - half), len(taken))
        taken[height : height + 1] = [at_s / end_s + half]
        axes.annotate(
            text,
            (at_s, 1),
            (0, 1 + 8 * height),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=TEXT if index is None else colour,
        )


def network_plot(network: Network, utilisation: Mapping[str, float], name: str) -> str:
    """The PoPs and core links; a link is the wider and redder the more it was used. `name` keeps SVG ids
    apart.
    """
    places = place_pops(network)
    with plt.rc_context(_STYLE):
        width, height = np.ptp(np.array(list(places.values())), axis=0)
        figure, axes = _figure(4.6, float(np.clip(4.6 * height / max(width, 1e-9), 2.4, 5.0)))
        axes.set_axis_off()
        axes.margins(0.14)
        for a, b, link in _strokes(network, places):
            used = min(max(utilisation.get(link.id, 0.0), 0.0), 1.0)
            axes.plot(
                *zip(a, b, strict=True),
                color=_HEAT(used),
                linewidth=1.2 + 5 * used,
                linestyle="-" if link.kind == "interdomain" else (0, (4, 1.5)),
                solid_capstyle="round",
                zorder=1,
            )
        fills = {isp.name: ISP_FILLS[code % len(ISP_FILLS)] for code, isp in enumerate(network.isps)}
        for pop in network.pops:
            axes.plot(
                *places[pop.id],
                marker="o",
                markersize=11,
                color=fills[pop.isp],
                markeredgecolor=TEXT,
                markeredgewidth=0.8,
                zorder=3,
            )
        axes.set_aspect("equal", adjustable="datalim")
        if len(network.pops) <= MOST_LABELS:
            _label(figure, axes, network, places, utilisation)
        return _svg(figure, name)


def place_pops(network: Network) -> dict[str, Point]:
    """Where to draw each PoP: by its coordinates if all have them, else by a spring layout from a fixed seed.

    Longitudes are scaled by the cosine of the mean latitude (equirectangular), so that shapes look as on a
    map.
    """
    if network.pops and all(pop.latitude is not None and pop.longitude is not None for pop in network.pops):
        at = {pop.id: (float(pop.longitude or 0), float(pop.latitude or 0)) for pop in network.pops}
        shrink = float(np.cos(np.radians(np.mean([y for _, y in at.values()]))))
        return {pop: (x * shrink, y) for pop, (x, y) in at.items()}
    graph = nx.Graph()
    graph.add_nodes_from(pop.id for pop in network.pops)
    for link in network.core_links:
        # PoPs of one ISP belong together on the picture
        graph.add_edge(link.a, link.b, weight=3.0 if link.kind == "internal" else 1.0)
    start = nx.kamada_kawai_layout(graph, weight=None) if nx.is_connected(graph) else None
    placed = nx.spring_layout(graph, pos=start, seed=1, iterations=60, k=2 / max(len(network.pops), 1) ** 0.5)
    return {pop: (float(x), float(y)) for pop, (x, y) in placed.items()}


def heat_legend() -> list[tuple[str, str]]:
    """Steps of the heat scale for the page: (colour, label)."""
    return [
        (matplotlib.colors.to_hex(_HEAT(step)), f"{step * 100:.0f} %") for step in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]


def _strokes(network: Network, places: Mapping[str, Point]) -> Iterator[tuple[Point, Point, Link]]:
    """Ends of each core link's line; parallel links are drawn side by side."""
    together: dict[frozenset[str], list[Link]] = defaultdict(list)
    for link in network.core_links:
        together[frozenset((link.a, link.b))].append(link)
    spread = np.ptp(np.array(list(places.values())), axis=0).max() if places else 1.0
    for links in together.values():
        a, b = (np.array(places[end]) for end in (links[0].a, links[0].b))
        length = float(np.hypot(*(b - a))) or 1.0
        across = np.array([a[1] - b[1], b[0] - a[0]]) / length * spread * 0.02
        for number, link in enumerate(links):
            shift = across * (number - (len(links) - 1) / 2)
            yield tuple(a + shift), tuple(b + shift), link


def _label(
    figure: Figure,
    axes: Axes,
    network: Network,
    places: Mapping[str, Point],
    utilisation: Mapping[str, float],
) -> None:
    """Put PoP names and the utilisation of interdomain links where they cover nothing, as far as that goes.

    Greedy: a name takes the place that covers least; a number that finds no free place is left out
    (metrics.parquet has it).
    """
    figure.canvas.draw()  # fixes the scale, from which pixels follow
    to_pixels = axes.transData.transform
    points = {pop: to_pixels(at) for pop, at in places.items()}
    lines = [(to_pixels(a), to_pixels(b)) for a, b, _ in _strokes(network, places)]
    labels: list[Box] = []
    for pop in network.pops:
        # a name may come close to its own PoP, but not to another whose name it might seem to be
        others = [_around(at, 24) for other, at in points.items() if other != pop.id]
        taken = [*others, _around(points[pop.id], 9), *labels]
        labels.append(_place_name(axes, pop.name, points[pop.id], taken, lines))
    nodes = [_around(at, 9) for at in points.values()]
    for a, b, link in _strokes(network, places):
        if link.kind == "interdomain":
            text = f"{utilisation.get(link.id, 0.0) * 100:.0f} %"
            labels += _place_number(axes, text, _beside(to_pixels(a), to_pixels(b)), [*nodes, *labels])


def _beside(start: Pixels, end: Pixels) -> list[Pixels]:
    """Places for a number on a line, best first: on it if it is long, else beside it."""
    length = float(np.hypot(*(end - start))) or 1.0
    across = np.array([start[1] - end[1], end[0] - start[0]]) / length
    sides = (0, 18, -18, 26, -26) if length > SHORT_LINK else (18, -18, 26, -26)
    return [start + (end - start) * share + across * side for side in sides for share in (0.5, 0.4, 0.6)]


def _place_name(
    axes: Axes,
    name: str,
    origin: Pixels,
    taken: Sequence[Box],
    lines: Sequence[tuple[Pixels, Pixels]],
) -> Box:
    """Draw a PoP's name beside its place where it covers least, and return its box."""
    choices = []
    for dx, dy in _NAME_OFFSETS:
        at, anchor = origin + np.array([dx, dy]), _anchor(dx, dy)
        box = _extent(axes, name, at, anchor)
        cost = 10 * sum(_overlap(box, other) for other in taken) + sum(_crosses(box, *line) for line in lines)
        choices.append((cost, at, anchor, box))
    _, at, anchor, box = min(choices, key=lambda choice: choice[0])
    _draw(axes, name, at, anchor)
    return box


def _place_number(axes: Axes, text: str, places: Sequence[Pixels], taken: Sequence[Box]) -> list[Box]:
    """Draw a number at the first place where it covers nothing; its box, or none if there is no place."""
    for at in places:
        box = _extent(axes, text, at, _CENTRE, NUMBER_SIZE)
        if not any(_overlap(box, other) for other in taken):
            paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}
            _draw(axes, text, at, _CENTRE, NUMBER_SIZE, bbox=paper)
            return [box]
    return []


def _extent(axes: Axes, text: str, at: Pixels, anchor: tuple[str, str], size: float = NAME_SIZE) -> Box:
    """The box that a label would take, pixels (x0, y0, x1, y1)."""
    label = _draw(axes, text, at, anchor, size)
    box = np.array(label.get_window_extent().extents)
    label.remove()
    return box


def _draw(
    axes: Axes, text: str, at: Pixels, anchor: tuple[str, str], size: float = NAME_SIZE, **style: Any
) -> Text:
    x, y = axes.transData.inverted().transform(at)
    return axes.text(x, y, text, ha=anchor[0], va=anchor[1], fontsize=size, zorder=4, **style)


def _around(at: Pixels, reach: float) -> Box:
    return np.array([at[0] - reach, at[1] - reach, at[0] + reach, at[1] + reach])


def _anchor(dx: float, dy: float) -> tuple[str, str]:
    return (
        "left" if dx > 0 else "right" if dx < 0 else "center",
        "bottom" if dy > 0 else "top" if dy < 0 else "center",
    )


def _overlap(a: Box, b: Box) -> float:
    """Area that two boxes (x0, y0, x1, y1) share, pixels squared."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return float(max(width, 0) * max(height, 0))


def _crosses(box: Box, start: Pixels, end: Pixels) -> float:
    """How many of 60 points of a line lie in a box."""
    points = start + np.linspace(0, 1, 60)[:, np.newaxis] * (end - start)
    inside = (points > box[:2]).all(axis=1) & (points < box[2:]).all(axis=1)
    return float(inside.sum())


def _line(index: int) -> dict[str, Any]:
    """Colour and dash of a policy's line. The colour is replaced by its CSS variable in the SVG."""
    return {
        "color": f"#fe01{index % POLICY_COLOURS:02x}",
        "linestyle": _DASHES[index // POLICY_COLOURS % len(_DASHES)],
        "linewidth": 1.8,
    }


def _figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width_in, height_in), layout="constrained")
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element, with ids that are unique on the page and CSS variables as colours."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    plt.close(figure)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" role="img">', svg, count=1)
    svg = svg.replace("xlink:href", "href")  # inside HTML no namespace is needed
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"#fe01(\w\w)", lambda match: f"var(--p{int(match[1], 16)})", svg)
