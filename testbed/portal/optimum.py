"""The best that any prices could lead to, as linear programs: what the price loop is measured against.

In come the ISP's `InternalView` and a `Demand`; out come the least possible maximum utilisation, bandwidth-
distance product or bill, and the traffic that has it. SciPy's HiGHS solves them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

from testbed.portal.charging import billed_rank
from testbed.portal.elastic import Demand
from testbed.portal.internal import InternalView

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


class NoOptimumError(Exception):
    """The program has no solution: the demand does not fit, or part of it has no route."""


@dataclass(frozen=True)
class Optimum:
    """The least value of the objective, and a demand that has it."""

    value: float
    demand: Demand


def least_utilisation(view: InternalView, demand: Demand, routing: Any = None) -> Optimum:
    """min over t of max over e of (b_e + t_e) / c_e, over the ways whose capacity is known.

    `routing` is the view's routing matrix, for who has it already. Raises NoOptimumError as the class says.
    """
    known = np.flatnonzero(~np.isnan(view.capacity_bps))
    capacity = view.capacity_bps[known]
    crossing = _crossing(view, demand, routing)[known].multiply(1 / capacity[:, None])
    # The variables are the rates of all pairs, and then the maximum.
    bounds = sparse.hstack([crossing, -np.ones((len(known), 1))], format="csr")
    taken = sparse.hstack([demand.by_receiver(), np.zeros((len(demand.target), 1))], format="csr")
    cost = np.append(np.zeros(demand.source.size), 1.0)
    value, found = _solve(cost, bounds, -view.background_bps[known] / capacity, taken, demand.rate_bps)
    return Optimum(value, _demand(demand, found[:-1]))


def least_distance_product(view: InternalView, demand: Demand) -> Optimum:
    """min over t of the sum of d_e t_e, subject to b_e + t_e <= c_e, in bit/s times the unit of d_e.

    Raises NoOptimumError as the class says.
    """
    known = np.flatnonzero(~np.isnan(view.capacity_bps))
    crossing = _crossing(view, demand)
    value, found = _solve(
        view.distance @ crossing,
        crossing[known],
        (view.capacity_bps - view.background_bps)[known],
        demand.by_receiver(),
        demand.rate_bps,
    )
    return Optimum(value, _demand(demand, found))


@dataclass(frozen=True, eq=False)
class Bill:
    """The least bill of a period, and the volumes (slots, links) that have it, in bit/s."""

    value: float
    volumes_bps: Matrix


def least_bill(
    price: Vector, background_bps: Matrix, p2p_bps: Vector, capacity_bps: Vector, percentile: float
) -> Bill:
    """The least bill of a period whose every slot is known beforehand, as far as linear programs find it.

    min sum of price_e V_e (price (links,) for one bit/s) subject to V_e >= b_e(s) + t_e(s) in each slot s
    that is not free for e, the t_e(s) of a slot summing to `p2p_bps` (slots,), and b_e(s) + t_e(s) <= c_e; b
    is `background_bps` (slots, links). Free are the slots above the percentile: the bill does not see them.
    To choose them best is no linear program. So several are solved. Of each link those are free where its
    background is highest, but of one link, each in turn, those where the sum of everything is: it takes what
    others leave. From the best of them on, those are free where the last solution's volumes are highest,
    which cannot cost more, until nothing is gained. The bill can be had, and may be not quite the least.

    Raises NoOptimumError as the class says.
    """
    slots, links = background_bps.shape
    spared = slots - billed_rank(slots, percentile)
    total = background_bps.sum(axis=1) + p2p_bps
    starts = []
    for filled in range(links):
        ranked = background_bps.copy()
        ranked[:, filled] = total
        free = _highest(ranked, background_bps, spared)
        starts.append(_bill(price, background_bps, p2p_bps, capacity_bps, free))
    best = min(starts, key=lambda bill: bill.value)
    while True:
        free = _highest(best.volumes_bps, background_bps, spared)
        found = _bill(price, background_bps, p2p_bps, capacity_bps, free)
        if found.value > best.value * (1 - 1e-4):
            return best
        best = found


def _highest(volumes_bps: Matrix, background_bps: Matrix, count: int) -> npt.NDArray[np.bool_]:
    """(slots, links): the `count` slots of each link's highest volumes, then of the highest background.

    Volumes that fill a link to what is billed are equal but for what the solver rounds.
    """
    free = np.zeros(volumes_bps.shape, bool)
    unit = volumes_bps.max() * 1e-6
    for link, (volume, background) in enumerate(zip(volumes_bps.T, background_bps.T, strict=True)):
        free[np.lexsort((-background, -np.rint(volume / unit)))[:count], link] = True
    return free


def _bill(
    price: Vector,
    background_bps: Matrix,
    p2p_bps: Vector,
    capacity_bps: Vector,
    free: npt.NDArray[np.bool_],
) -> Bill:
    slots, links = background_bps.shape
    counted = np.flatnonzero(~free.ravel())
    rates = sparse.eye_array(slots * links, format="csr")[counted]
    volume = sparse.kron(np.ones((slots, 1)), sparse.eye_array(links), format="csr")[counted]
    sums = sparse.kron(sparse.eye_array(slots), np.ones((1, links)))
    value, found = _solve(
        np.concatenate([np.zeros(slots * links), price]),
        sparse.hstack([rates, -volume], format="csr"),
        -background_bps.ravel()[counted],
        sparse.hstack([sums, sparse.csr_array((slots, links))], format="csr"),
        p2p_bps,
        np.concatenate([(capacity_bps - background_bps).ravel(), np.full(links, np.inf)]),
    )
    return Bill(value, background_bps + found[:-links].reshape(slots, links))


def _crossing(view: InternalView, demand: Demand, routing: Any = None) -> Any:
    """CSR (E, W * K): what each pair puts on the link of each way, whoever else shares it."""
    crossed = demand.of_pairs(view.routing_matrix() if routing is None else routing)
    share = sparse.csr_array(
        (np.ones(len(view.link)), (np.arange(len(view.link)), view.link)),
        shape=(len(view.link), int(view.link.max()) + 1),
    )
    return sparse.csr_array((crossed @ share @ share.T).T)


def _solve(
    cost: Vector, upper: Any, limit: Vector, equal: Any, right: Vector, most: Vector | None = None
) -> tuple[float, Vector]:
    """min cost x subject to upper x <= limit, equal x = right, 0 <= x <= most."""
    # HiGHS takes differences of 1e-7 for none: rates are counted in their mean.
    unit = float(np.mean(right))
    bounds = np.column_stack(
        [np.zeros(len(cost)), np.full(len(cost), np.inf) if most is None else most / unit]
    )
    solved = linprog(
        cost, A_ub=upper, b_ub=limit / unit, A_eq=equal, b_eq=right / unit, bounds=bounds, method="highs"
    )
    if solved.status != 0:
        raise NoOptimumError(solved.message)
    return float(solved.fun) * unit, np.asarray(solved.x) * unit


def _demand(demand: Demand, rates_bps: Vector) -> Demand:
    return replace(demand, share=rates_bps.reshape(demand.source.shape) / demand.rate_bps[:, None])
