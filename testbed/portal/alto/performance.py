"""Performance metrics (RFC 9439) of the routes inside an ISP: delay, hops, throughput and loss.

In comes the ISP's view of its inside and what its links have left, out come matrices between PIDs in the
units of RFC 9439, and the cost types that they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from testbed.portal.alto.model import CostType, Matrix

Vector = npt.NDArray[np.float64]

COST_TYPES: Mapping[str, CostType] = {
    "hopcount": CostType(
        "num-hopcount", "numerical", "hopcount", "links on the route", {"cost-source": "nominal"}
    ),
    "delay-ow": CostType(
        "num-delay-ow", "numerical", "delay-ow", "one way, without queues, in µs", {"cost-source": "nominal"}
    ),
    "tput": CostType(
        "num-tput",
        "numerical",
        "tput",
        "what the route's links have left, in bytes/s",
        {"cost-source": "estimation"},
    ),
    "lossrate": CostType(
        "num-lossrate", "numerical", "lossrate", "without queues, in percent", {"cost-source": "nominal"}
    ),
}
"""By metric. `nominal` is what the links were set up as, `estimation` what was measured of them."""

METRICS: tuple[str, ...] = tuple(COST_TYPES)


class Routes(Protocol):
    """What is needed of an `InternalView`: values of E ways, and sums and least values along routes."""

    @property
    def hops(self) -> Vector: ...
    @property
    def delay_s(self) -> Vector: ...
    @property
    def loss(self) -> Vector: ...
    def path_sums(self, values: Vector) -> Matrix: ...
    def path_min(self, values: Vector) -> Matrix: ...


def matrices(view: Routes, free_bps: Vector, metrics: Sequence[str] = METRICS) -> dict[str, Matrix]:
    """Each metric between PIDs, (n, n) by name, NaN where nothing is known; `free_bps` is (E,).

    Delay in microseconds, throughput in bytes/s, loss in percent. Losses of links are taken as independent:
    1 - product of (1 - loss). A PID of one PoP has no throughput to itself, for no link is on that route.
    """
    made = {
        "hopcount": lambda: view.path_sums(view.hops),
        "delay-ow": lambda: 1e6 * view.path_sums(view.delay_s),
        "tput": lambda: view.path_min(free_bps) / 8,
        "lossrate": lambda: _lossrate(view),
    }
    return {metric: _finite(made[metric]()) for metric in metrics}


def _lossrate(view: Routes) -> Matrix:
    with np.errstate(divide="ignore"):  # a link that loses everything: log of 0
        kept = np.log1p(-view.loss)
    # A sum over PoPs of -inf and 0 would be NaN, so a dead link keeps the least that still shows as 100 %.
    lost: Matrix = -100 * np.expm1(view.path_sums(np.maximum(kept, -1e3)))
    return lost


def _finite(matrix: Matrix) -> Matrix:
    # Rounded to nine digits, for 1000 * 0.1 s is no exact number of microseconds.
    rounded: Matrix = np.where(np.isfinite(matrix), _significant(matrix), np.nan)
    return rounded


def _significant(matrix: Matrix, digits: int = 9) -> Matrix:
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.where(np.isfinite(matrix) & (matrix != 0), np.floor(np.log10(np.abs(matrix))), 0.0)
    scale = 10.0 ** (digits - 1 - exponent)
    rounded: Matrix = np.round(matrix * scale) / scale
    return rounded
