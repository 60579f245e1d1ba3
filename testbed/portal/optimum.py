"""The best that any prices could lead to, as linear programs: what the price loop is measured against.

In come the ISP's `InternalView` and a `Demand`; out come the least possible maximum utilisation, bandwidth-
distance product or bill, and the traffic that has it. SciPy's HiGHS solves them; as it takes 1e-7 for
nothing, all that it sees is counted in quantities of the problem.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

from testbed.portal.charging import billed_rank, charging_volume
from testbed.portal.elastic import Demand
from testbed.portal.internal import InternalView

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_CLOSE = 1e-5
"""How far, relatively, a solution's value may be from what its traffic comes to."""


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
    pairs = demand.of_pairs(view.routing_matrix() if routing is None else routing)
    crossing = _crossing(view, pairs)[known].multiply(1 / view.capacity_bps[known, None]).tocsr()
    others = view.background_bps[known] / view.capacity_bps[known]

    def highest(tried: Demand) -> float:
        return float((others + crossing @ _rates(tried)).max(initial=0.0))

    # Rates are counted in their mean, utilisation in what it is as the demand is now.
    rate_bps, now = float(demand.rate_bps.mean()) or 1.0, highest(demand) or 1.0
    # The variables are the rates of all pairs, and then the maximum.
    found = _solve(
        np.append(np.zeros(demand.source.size), 1.0),
        sparse.hstack([crossing * (rate_bps / now), -np.ones((len(known), 1))], format="csr"),
        -others / now,
        sparse.hstack([demand.by_receiver(), np.zeros((len(demand.target), 1))], format="csr"),
        demand.rate_bps / rate_bps,
        np.append(_most(demand, pairs), np.inf),
    )
    best = _demand(demand, found[:-1])
    return Optimum(_checked(found[-1] * now, highest(best)), best)


def least_distance_product(view: InternalView, demand: Demand) -> Optimum:
    """min over t of the sum of d_e t_e, subject to b_e + t_e <= c_e, in bit/s times the unit of d_e.

    Raises NoOptimumError as the class says.
    """
    known = np.flatnonzero(~np.isnan(view.capacity_bps))
    pairs = demand.of_pairs(view.routing_matrix())
    crossing = _crossing(view, pairs)
    capacity = view.capacity_bps[known]
    distance = view.distance @ crossing
    rate_bps, unit = float(demand.rate_bps.mean()) or 1.0, float(distance.mean()) or 1.0
    found = _solve(
        distance / unit,
        crossing[known].multiply(rate_bps / capacity[:, None]),
        1 - view.background_bps[known] / capacity,
        demand.by_receiver(),
        demand.rate_bps / rate_bps,
        _most(demand, pairs),
    )
    best = _demand(demand, found)
    return Optimum(_checked(float(distance @ found) * rate_bps, float(distance @ _rates(best))), best)


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
    others leave. From each of them on, those are free where the last solution's volumes are highest, which
    cannot cost more, until nothing is gained. The best of them can be had, and may be not quite the least.

    Raises NoOptimumError as the class says.
    """
    slots, links = background_bps.shape
    spared = slots - billed_rank(slots, percentile)
    total = background_bps.sum(axis=1) + p2p_bps

    def solved(free: Bools) -> Bill:
        return bill_with_free_slots(price, background_bps, p2p_bps, capacity_bps, percentile, free)

    ends = []
    for filled in range(links):
        ranked = background_bps.copy()
        ranked[:, filled] = total
        found, better = None, solved(_highest(ranked, background_bps, spared))
        while found is None or better.value < found.value * (1 - 1e-4):
            found, better = better, solved(_highest(better.volumes_bps, background_bps, spared))
        ends.append(found)
    return min(ends, key=lambda bill: bill.value)


def _highest(volumes_bps: Matrix, background_bps: Matrix, count: int) -> Bools:
    """(slots, links): the `count` slots of each link's highest volumes, then of the highest background.

    Volumes that fill a link to what is billed are equal but for what the solver rounds.
    """
    free = np.zeros(volumes_bps.shape, bool)
    unit = volumes_bps.max() * 1e-6 or 1.0
    for link, (volume, background) in enumerate(zip(volumes_bps.T, background_bps.T, strict=True)):
        free[np.lexsort((-background, -np.rint(volume / unit)))[:count], link] = True
    return free


def bill_with_free_slots(
    price: Vector,
    background_bps: Matrix,
    p2p_bps: Vector,
    capacity_bps: Vector,
    percentile: float,
    free: Bools,
) -> Bill:
    """As `least_bill`, by one linear program in which the slots `free` (slots, links) are not billed.

    No link may have more of them than the bill does not see. The value is that of the bill, which may see
    less than the program does.
    """
    slots, links = background_bps.shape
    counted = np.flatnonzero(~free.ravel())
    rates = sparse.eye_array(slots * links, format="csr")[counted]
    volume = sparse.kron(np.ones((slots, 1)), sparse.eye_array(links), format="csr")[counted]
    sums = sparse.kron(sparse.eye_array(slots), np.ones((1, links)))
    unit_bps = float((background_bps.sum(axis=1) + p2p_bps).mean()) or 1.0
    found = _solve(
        np.concatenate([np.zeros(slots * links), price / (price.mean() or 1.0)]),
        sparse.hstack([rates, -volume], format="csr"),
        -background_bps.ravel()[counted] / unit_bps,
        sparse.hstack([sums, sparse.csr_array((slots, links))], format="csr"),
        p2p_bps / unit_bps,
        np.concatenate([(capacity_bps - background_bps).ravel() / unit_bps, np.full(links, np.inf)]),
    )
    volumes_bps = background_bps + np.maximum(0.0, found[:-links]).reshape(slots, links) * unit_bps
    value = float(price @ charging_volume(volumes_bps, percentile))
    program = float(price @ found[-links:]) * unit_bps
    if value > program:
        _checked(program, value)
    return Bill(value, volumes_bps)


def _crossing(view: InternalView, pairs: Any) -> Any:
    """CSR (E, W * K): what each of `pairs` puts on the link of each way, whoever else shares it."""
    share = sparse.csr_array(
        (np.ones(len(view.link)), (np.arange(len(view.link)), view.link)),
        shape=(len(view.link), int(view.link.max()) + 1),
    )
    return sparse.csr_array((pairs @ share @ share.T).T)


def _most(demand: Demand, pairs: Any) -> Vector:
    """(W * K,): 0 for pairs without a route, which would cost nothing, inf for others."""
    routed = np.diff(sparse.csr_array(pairs).indptr) > 0
    return np.where(routed | (demand.source == demand.target[:, None]).ravel(), np.inf, 0.0)


def _solve(cost: Vector, upper: Any, limit: Vector, equal: Any, right: Vector, most: Vector) -> Vector:
    """min cost x subject to upper x <= limit, equal x = right, 0 <= x <= most."""
    bounds = np.column_stack([np.zeros(len(cost)), most])
    solved = linprog(cost, A_ub=upper, b_ub=limit, A_eq=equal, b_eq=right, bounds=bounds, method="highs")
    if solved.status != 0:
        raise NoOptimumError(solved.message)
    return np.asarray(solved.x)


def _checked(program: float, traffic: float) -> float:
    """What the traffic comes to, which must be what the program says."""
    if not np.isclose(program, traffic, rtol=_CLOSE, atol=0):
        raise ArithmeticError(f"the program's value is {program}, and that of its traffic {traffic}")
    return traffic


def _rates(demand: Demand) -> Vector:
    """(W * K,) bit/s."""
    rates: Vector = (demand.share * demand.rate_bps[:, None]).ravel()
    return rates


def _demand(demand: Demand, rates: Vector) -> Demand:
    """The demand shared out as `rates` (W * K,), in any unit; who takes nothing keeps the shares."""
    taken = np.maximum(0.0, rates.reshape(demand.source.shape))
    total = taken.sum(axis=1, keepdims=True)
    return replace(demand, share=np.divide(taken, total, out=demand.share.copy(), where=total > 0))
