"""p-distances: what one unit of traffic from PID to PID costs the ISP, by prices of its links.

In come the ISP's `InternalView` and the traffic that was measured on its links; out come the prices of links
and the distances between PIDs, p_ij = sum of p_e over the route from i to j. The rules are those of Xie,
Yang, Krishnamurthy, Liu and Silberschatz, "P4P: Provider Portal for Applications", SIGCOMM 2008;
docs/pricing.md tells them, and how they converge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.errors import Problem, UserError
from testbed.portal.charging import Meter
from testbed.portal.config import PortalConfig, PricingConfig, StepConfig
from testbed.portal.internal import InternalView
from testbed.portal.projection import clip_normalise, project_on_simplex
from testbed.spec.yaml_reader import Places, read_yaml

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STEP_SIZE = {"mlu": 20.0, "bdp": 3.0, "multihoming": 0.5}
"""mu where the configuration names none; docs/pricing.md says how they were found."""

CLIP_NORMALISE_STEP = 1.0
"""mu of the P4P authors' code."""

LEAD = 3.0
"""How many steps ahead of the prices the published ones are."""

FULL_CHARGE = 100.0
"""The published price of the dearest interdomain way while it is charged for what it carries; see
`_multihoming_prices`."""


@dataclass(frozen=True, eq=False)
class PDistances:
    """`matrix[i, j]` is the p-distance from `pids[i]` to `pids[j]`; NaN where the ISP says nothing.

    `matrix` is (n, n) float64; the `own` first PIDs are the ISP's.
    """

    pids: tuple[str, ...]
    own: int
    matrix: Matrix

    def rows(self) -> list[tuple[str, str, float]]:
        """(source PID, destination PID, distance) of every pair that has one, in the order of `pids`."""
        known = np.argwhere(~np.isnan(self.matrix))
        return [(self.pids[i], self.pids[j], float(self.matrix[i, j])) for i, j in known]


@dataclass(frozen=True, eq=False)
class Prices:
    """What the links cost after so many updates.

    `price` (E,) is the dual variable of each way, in the unit of its objective: with `mlu` q_e = p_e c_e,
    which sums to 1 over links; with `bdp` what is added to d_e; with `multihoming` the share of the
    neighbour's price, 0 to 1; with `static` d_e. `published` (E,) is what distances are sums of.
    """

    updates: int
    price: Vector
    published: Vector
    meter: Meter | None = None


def static_distances(config: PortalConfig) -> PDistances:
    """The distances of a portal that measures nothing: `costs`, or sums of d_e by `pricing.metric`.

    Raises UserError where `costs` names a file that can't be read, or PIDs that there are none of.
    """
    view = InternalView.of(config)
    return _distances(view, view.distance, config)


def distances(view: InternalView, prices: Prices, config: PortalConfig) -> PDistances:
    """The p-distances at `prices`, not negative and finite; NaN where the ISP says nothing.

    Within a PID it is `intra_pid_distance` and what the links between its PoPs cost. From external PID to
    external PID the ISP says nothing. Raises as `static_distances` does.
    """
    return _distances(view, prices.published, config)


def start(view: InternalView, config: PricingConfig) -> Prices:
    """The prices before anything is measured.

    With `mlu` all links have the same q, with `bdp` none adds anything to its distance, with `multihoming`
    interdomain ways are charged in full until a slot tells what is free.
    """
    if config.objective == "mlu":
        share = _priced(view).astype(float)
        share /= max(share[_first_ways(view)].sum(), 1)
        return Prices(0, share, _mlu_prices(view, share))
    if config.objective == "bdp":
        return Prices(0, np.zeros(len(view.ways)), view.distance)
    if config.objective == "multihoming":
        full = view.interdomain.astype(float)
        return Prices(0, full, _multihoming_prices(view, full), Meter.of(len(_interdomain_links(view))))
    return Prices(0, view.distance, view.distance)


def update(
    view: InternalView,
    prices: Prices,
    traffic_bps: Vector,
    config: PricingConfig,
    background_bps: Vector | None = None,
) -> Prices:
    """The prices after `config.update_s` in which P2P put `traffic_bps` (E,) on the link of each way.

    NaN: not measured; such a link counts as if P2P sent nothing over it, and where none is measured the
    prices stay. `background_bps` (E,) is what others sent meanwhile, by default what `view` says.
    """
    measured = ~np.isnan(traffic_bps)
    if config.objective == "static":
        return replace(prices, price=view.distance, published=view.distance)
    if not measured.any():
        return prices
    p2p_bps = np.where(measured, traffic_bps, 0.0)
    others_bps = view.background_bps if background_bps is None else background_bps
    if config.objective == "mlu":
        return _update_mlu(view, prices, p2p_bps + others_bps, config)
    if config.objective == "bdp":
        return _update_bdp(view, prices, p2p_bps + others_bps, config)
    return _update_multihoming(view, prices, p2p_bps, others_bps, config)


def _update_mlu(view: InternalView, prices: Prices, load_bps: Vector, config: PricingConfig) -> Prices:
    """p <- [p + mu xi] on {sum of p c = 1, p >= 0}, xi = b + t - alpha c, alpha the highest utilisation.

    Capacities are counted in their mean and loads in alpha, so that mu has no unit and suits all networks: an
    idle link of mean capacity is moved by mu / links, the mean of q being 1 / links. What is published is a
    projection too, of a point `LEAD` steps ahead: prices and demand that each answer the other's last move
    run in circles (Popov, "A modification of the Arrow-Hurwicz method for search of saddle points", 1980).
    """
    ways = _first_ways(view)
    ways = ways[_priced(view)[ways]]
    if not len(ways):
        return prices
    utilisation = load_bps[ways] / view.capacity_bps[ways]
    highest = utilisation.max()
    updates = prices.updates + 1
    known = prices.price[ways]
    if config.projection == "clip-normalise":
        moved = clip_normalise(known, utilisation, _step(config.step, CLIP_NORMALISE_STEP, updates))
        ahead = moved
    else:
        capacity = view.capacity_bps[ways] / view.capacity_bps[ways].mean()
        mu = _step(config.step, STEP_SIZE["mlu"], updates) / len(ways)
        push = mu * capacity * (utilisation / highest - 1) if highest > 0 else np.zeros(len(ways))
        price = project_on_simplex(known / capacity + push, capacity)
        moved = price * capacity
        ahead = project_on_simplex(price + LEAD * push, capacity) * capacity
    return Prices(updates, _on_ways(view, ways, moved), _mlu_prices(view, _on_ways(view, ways, ahead)))


def _update_bdp(view: InternalView, prices: Prices, load_bps: Vector, config: PricingConfig) -> Prices:
    """p <- [p + mu d (u - 1)]+, u = (b + t) / c, d the mean distance of a way: the capacities' multipliers.

    What is published is d_e + p_e.
    """
    ways = np.flatnonzero(_priced(view))
    updates = prices.updates + 1
    mu = _step(config.step, STEP_SIZE["bdp"], updates) * (view.distance.mean() or 1.0)
    push = np.zeros(len(view.ways))
    push[ways] = mu * (load_bps[ways] / view.capacity_bps[ways] - 1)
    price = np.maximum(0.0, prices.price + push)
    return Prices(updates, price, view.distance + np.maximum(0.0, price + LEAD * push))


def _update_multihoming(
    view: InternalView, prices: Prices, p2p_bps: Vector, others_bps: Vector, config: PricingConfig
) -> Prices:
    """s <- [s + mu (t - v) / V] on 0 <= s <= 1, the share of the full charge.

    v is the virtual capacity, V the predicted charging volume. The multipliers of "the volume is at least
    b + t in each slot" sum to the neighbour's price over the slots, so that one of them is never more: where
    all ways are full, the cheapest one takes what remains.
    """
    assert prices.meter is not None, "prices of another objective"
    ways = _interdomain_links(view)
    meter = prices.meter.after(p2p_bps[ways], others_bps[ways], config.update_s, config.charging)
    updates = prices.updates + 1
    free_bps = meter.virtual_capacity_bps(others_bps[ways])
    if np.isnan(free_bps).any():
        return replace(prices, updates=updates, meter=meter)
    mu = _step(config.step, STEP_SIZE["multihoming"], updates)
    # In shares of what is billed: a way with no room at all is not infinitely overfull.
    push = mu * (p2p_bps[ways] - free_bps) / np.maximum(meter.predicted_bps, 1.0)
    share = np.clip(prices.price[ways] + push, 0.0, 1.0)
    ahead = np.clip(share + LEAD * push, 0.0, 1.0)
    published = _multihoming_prices(view, _on_ways(view, ways, ahead))
    return Prices(updates, _on_ways(view, ways, share), published, meter)


def _mlu_prices(view: InternalView, share: Vector) -> Vector:
    """p_e = q_e / c_e, counted so that a link of mean capacity costs 1 while all q are alike."""
    ways = _first_ways(view)
    ways = ways[_priced(view)[ways]]
    if not len(ways):
        return np.zeros(len(view.ways))
    scale = len(ways) * view.capacity_bps[ways].mean()
    prices: Vector = np.divide(
        scale * share, view.capacity_bps, out=np.zeros(len(view.ways)), where=_priced(view)
    )
    return prices


def _multihoming_prices(view: InternalView, share: Vector) -> Vector:
    """d_e counted in the mean distance of a way inside, plus, of interdomain ways, their charge.

    The charge is `FULL_CHARGE` for a full share of the dearest neighbour's price: far more than any detour
    inside. Where no neighbour names a price all are equally dear.
    """
    inside = view.distance[~view.interdomain]
    unit = inside.mean() if len(inside) and inside.mean() > 0 else 1.0
    charge = np.where(view.interdomain, view.price_per_mbps, 0.0)
    if not charge.any():
        charge = view.interdomain.astype(float)
    prices: Vector = np.where(view.interdomain, 0.0, view.distance / unit)
    if charge.any():
        prices += FULL_CHARGE * share * charge / charge.max()
    return prices


def _step(config: StepConfig, default: float, updates: int) -> float:
    """mu of update number `updates`, the first being 1."""
    size = default if config.size is None else config.size
    return size / math.sqrt(updates) if config.rule == "diminishing" else size


def _priced(view: InternalView) -> Bools:
    """(E,): which ways have a known capacity; the others have no utilisation."""
    known: Bools = view.capacity_bps > 0  # false for NaN too
    return known


def _first_ways(view: InternalView) -> npt.NDArray[np.intp]:
    """One way of each directed link."""
    return np.unique(view.link, return_index=True)[1]


def _interdomain_links(view: InternalView) -> npt.NDArray[np.intp]:
    """One way of each directed interdomain link."""
    ways = _first_ways(view)
    return ways[view.interdomain[ways]]


def _on_ways(view: InternalView, ways: npt.NDArray[np.intp], values: Vector) -> Vector:
    """(E,) from values of the links of `ways`; 0 on others."""
    by_link = np.zeros(int(view.link.max()) + 1)
    by_link[view.link[ways]] = values
    return by_link[view.link]


def _distances(view: InternalView, prices: Vector, config: PortalConfig) -> PDistances:
    own = view.own
    if config.costs is None:
        matrix = view.path_sums(prices)
        inner = np.arange(own)
        matrix[inner, inner] += config.intra_pid_distance
    else:
        costs = _read_costs(config.costs) if isinstance(config.costs, Path) else config.costs
        matrix = _given(view.pids, costs)  # a map by hand says what it says, and nothing more
    if config.default_distance is not None:
        unknown = np.isnan(matrix)
        unknown[own:, own:] = False
        matrix[unknown] = config.default_distance
    return PDistances(view.pids, own, matrix)


def _given(pids: tuple[str, ...], costs: Mapping[str, Mapping[str, float]]) -> Matrix:
    number = {pid: index for index, pid in enumerate(pids)}
    matrix = np.full((len(pids), len(pids)), np.nan)
    for source, row in costs.items():
        for target, cost in row.items():
            for pid in (source, target):
                if pid not in number:
                    raise UserError(
                        Problem(f"there is no PID '{pid}'", where="costs", allowed=", ".join(number))
                    )
            matrix[number[source], number[target]] = cost
    return matrix


@lru_cache(maxsize=8)
def _read_costs(path: Path) -> Mapping[str, Mapping[str, float]]:
    """The costs in a file: source PID -> destination PID -> cost, or an ALTO cost map. It is read once."""
    try:
        data = read_yaml(path.read_text(encoding="utf-8"), path, Places())
    except OSError as error:
        raise UserError(Problem(f"can't be read: {error.strerror}", where=str(path))) from error
    if isinstance(data, dict) and isinstance(data.get("cost-map"), dict):
        data = data["cost-map"]
    if not isinstance(data, dict) or not data:
        raise UserError(
            Problem("is no cost map", where=str(path), allowed="{source PID: {destination PID: cost}}")
        )
    return {str(source): _checked_row(path, str(source), row) for source, row in data.items()}


def _checked_row(path: Path, source: str, row: Any) -> dict[str, float]:
    if not isinstance(row, dict):
        raise UserError(Problem("is no row", where=f"{path}: {source}", allowed="{destination PID: cost}"))
    for target, cost in row.items():
        number = isinstance(cost, (int, float)) and not isinstance(cost, bool)
        if not number or not 0 <= cost < math.inf:
            raise UserError(
                Problem(
                    f"'{cost}' is no cost",
                    where=f"{path}: {source}: {target}",
                    allowed="a number that is not negative",
                )
            )
    return {str(target): float(cost) for target, cost in row.items()}
