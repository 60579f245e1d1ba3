"""Colours, shapes and sizes of a picture, for print and for every kind of colour vision.

Sizes are points of the page (1/72 inch). Nothing here depends on where things are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log10, sqrt

from testbed.topology.drawing.sketch import Sketch, StrokeKind

# Okabe and Ito, "Color Universal Design" (2008), without black, which is for links; yellow last, it is pale.
_FILLS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
_SHAPES = ("o", "s", "^", "p", "h", "v")  # a further round of colours comes with the next shape
ISP_LOOKS = len(_FILLS) * len(_SHAPES)  # of further ISPs, each looks as an earlier one
INK, MUTED, PAPER = "#1a1a1a", "#666666", "#ffffff"
FAILED, HIGHLIGHT = "#c1121f", "#ffd43b"
IXP_SHAPE, IXP_FILL = "D", "#ffffff"
LINK_COLOURS = {"customer-provider": "#333333", "peer-peer": "#8a3fa0"}
DASH = (4.0, 2.2)

NAME_SIZE, ISP_NAME_SIZE, LEGEND_SIZE, TITLE_SIZE = 8.5, 10.5, 8.5, 15.0

_NODE_RADIUS, _IXP_RADIUS, _MOST_RADIUS = 5.0, 6.5, 12.0
_THINNEST, _WIDEST = 0.9, 5.5
_LEAST_DECADES = 1.0  # capacities that differ by less do not take the whole range of widths


@dataclass(frozen=True)
class Look:
    """How a node looks: matplotlib's marker, its colour, and the darker one of its rim and its names."""

    marker: str
    fill: str
    dark: str


TIERS = {
    "ISP without a provider": Look("o", "#d55e00", "#8f3f00"),
    "ISP with providers and customers": Look("o", "#0072b2", "#004c77"),
    "ISP without customers": Look("o", "#8fa3ad", "#56666e"),
}
IXP_LOOK = Look(IXP_SHAPE, IXP_FILL, LINK_COLOURS["peer-peer"])


def isp_look(number: int) -> Look:
    """The look of an ISP by its number in the file; after `ISP_LOOKS` they repeat."""
    fill = _FILLS[number % len(_FILLS)]
    return Look(_SHAPES[number // len(_FILLS) % len(_SHAPES)], fill, darker(fill))


def darker(colour: str, share: float = 0.5) -> str:
    """A colour `#rrggbb` with each part reduced to `share`."""
    return "#" + "".join(f"{int(int(colour[at : at + 2], 16) * share):02x}" for at in (1, 3, 5))


def looks(sketch: Sketch) -> list[Look]:
    """The look of each node: that of its ISP, or of its tier where nodes are ISPs."""
    if sketch.of_isps:
        names = list(TIERS)
        return [
            TIERS[names[tier]] if node.isp else IXP_LOOK
            for node, tier in zip(sketch.nodes, tiers(sketch), strict=True)
        ]
    of_isp = {isp: isp_look(number) for number, isp in enumerate(sketch.isps)}
    return [of_isp[node.isp] if node.isp else IXP_LOOK for node in sketch.nodes]


def tiers(sketch: Sketch) -> list[int]:
    """Of each node: 0 without a provider but with customers, 1 with both, 2 without customers."""
    paying, paid = set(), set()
    for stroke in sketch.strokes:
        if stroke.kind == "customer-provider":
            paying.add(stroke.a)
            paid.add(stroke.b)
    return [2 if node not in paid else 1 if node in paying else 0 for node in range(len(sketch.nodes))]


def scale_of(sketch: Sketch) -> float:
    """What nodes, lines and arrow heads shrink by where there are many: 1 up to 60 nodes, 0.37 at 5,000."""
    much = max(len(sketch.nodes), len(sketch.strokes) / 4, 60)
    return max(1.0 - 0.33 * log10(much / 60), 0.3)


def radii(sketch: Sketch) -> list[float]:
    """The radius of each node. ISPs as nodes are the larger, the more links they have."""
    scale = scale_of(sketch)
    if not sketch.of_isps:
        return [scale * (_NODE_RADIUS if node.isp else _IXP_RADIUS) for node in sketch.nodes]
    return [min(1.4 + (0.4 + 0.5 * scale) * sqrt(degree), _MOST_RADIUS) for degree in sketch.degrees()]


def widths(capacities_bps: Sequence[int], scale: float) -> list[float]:
    """The width of a line by its capacity, on a log scale over the capacities of the picture."""
    if not capacities_bps:
        return []
    least, most = min(capacities_bps), max(capacities_bps)
    if least == most:
        return [2.0 * scale] * len(capacities_bps)
    decades = max(log10(most / least), _LEAST_DECADES)
    return [
        scale * (_THINNEST + (_WIDEST - _THINNEST) * log10(capacity / least) / decades)
        for capacity in capacities_bps
    ]


def samples(capacities_bps: Sequence[int]) -> list[int]:
    """Up to three capacities for the legend: the least, one near the middle of the log scale, the most."""
    found = sorted(set(capacities_bps))
    if len(found) < 3:
        return found
    middle = (log(found[0]) + log(found[-1])) / 2
    return [found[0], min(found[1:-1], key=lambda capacity: abs(log(capacity) - middle)), found[-1]]


def link_colour(kind: StrokeKind, look: Look) -> str:
    """The colour of a link; an internal one has that of its ISP, somewhat darker than its nodes."""
    return LINK_COLOURS.get(kind) or darker(look.fill, 0.8)
