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
from testbed.portal.charging import ChargingRecord
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

TURNED_BACK, WENT_ON = 0.7, 1.1
"""What damped steps are multiplied by after the prices turned back, and after they went on."""

LEAST_DAMPING = 0.1
"""Where measurements are noise the prices turn back every other time; what changes must still be followed."""

FULL_CHARGE = 100.0
"""What is added to the distance of the dearest interdomain way while it is charged for what it carries, in
mean distances of a way; see `_multihoming_prices`."""


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
    which sums to 1 over links (0 at the start of clip-normalise); with `bdp` what is added to d_e; with
    `multihoming` the share of the neighbour's price, 0 to 1; with `static` d_e. `published` (E,) is what
    distances are sums of. `damping` is what damped steps are multiplied by, 1 at most, `moved` (E,) how far
    the last update moved `price`. `record` is what `multihoming` knows of the bill.
    """

    updates: int
    price: Vector
    published: Vector
    damping: float = 1.0
    moved: Vector | None = None
    record: ChargingRecord | None = None


def static_distances(config: PortalConfig) -> PDistances:
    """The distances of a portal that measures nothing: `costs`, or sums of d_e by `pricing.metric`.

    They are `distances` before any update with objective static. Raises UserError where `costs` names a file
    that can't be read, or PIDs that there are none of.
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
    interdomain ways are charged in full until a slot tells what is free. With clip-normalise q is 0, as in
    the P4P authors' code, whose first update makes all q alike; that is published from the start.
    """
    if config.objective == "mlu":
        share = _priced(view).astype(float)
        share /= max(share[_first_ways(view)].sum(), 1)
        known = np.zeros(len(share)) if config.projection == "clip-normalise" else share
        return Prices(0, known, _mlu_prices(view, share))
    if config.objective == "bdp":
        return Prices(0, np.zeros(len(view.ways)), view.distance)
    if config.objective == "multihoming":
        full = view.interdomain.astype(float)
        record = ChargingRecord.of(len(_interdomain_links(view)))
        return Prices(0, full, _multihoming_prices(view, full), record=record)
    return Prices(0, view.distance, view.distance)


def update(
    view: InternalView,
    prices: Prices,
    traffic_bps: Vector,
    config: PricingConfig,
    seconds: float,
    background_bps: Vector | None = None,
) -> Prices:
    """The prices after `seconds` in which P2P put `traffic_bps` (E,) on the link of each way.

    NaN: not counted this time. The price of such a link stays, and what is published of it is its price,
    without a trend; where no link that has a price was counted, everything stays. `background_bps` (E,) is
    what others sent meanwhile, by default what `view` says.
    """
    if config.objective == "static":
        return replace(prices, price=view.distance, published=view.distance)
    others_bps = view.background_bps if background_bps is None else background_bps
    if config.objective == "mlu":
        after = _update_mlu(view, prices, traffic_bps + others_bps, config)
    elif config.objective == "bdp":
        after = _update_bdp(view, prices, traffic_bps + others_bps, config)
    else:
        after = _update_multihoming(view, prices, traffic_bps, others_bps, config, seconds)
    if after is prices:
        return prices
    moved = after.price - prices.price
    turned_back = prices.moved is not None and moved @ prices.moved < 0
    damping = float(np.clip(prices.damping * (TURNED_BACK if turned_back else WENT_ON), LEAST_DAMPING, 1.0))
    return replace(after, damping=damping, moved=moved)


def _update_mlu(view: InternalView, prices: Prices, load_bps: Vector, config: PricingConfig) -> Prices:
    """p <- [p + mu xi] on {sum of p c = 1, p >= 0}, xi = b + t - alpha c, alpha the highest utilisation.

    Capacities are counted in their mean and loads in alpha, so that mu has no unit and suits all networks: an
    idle link of mean capacity is moved by mu / links, the mean of q being 1 / links. What is published is a
    projection too, of a point `step.ahead` steps further: prices and demand that each answer the other's last
    move run in circles (Popov, "A modification of the Arrow-Hurwicz method for search of saddle points",
    1980, goes one step ahead). Links that were not counted keep their q, and the others share the rest.
    """
    every = _first_ways(view)
    every = every[_priced(view)[every]]
    counted = ~np.isnan(load_bps[every])
    if not counted.any():
        return prices
    ways = every[counted]
    utilisation = load_bps[ways] / view.capacity_bps[ways]
    highest = utilisation.max()
    updates = prices.updates + 1
    moved = prices.price[every]
    ahead = moved.copy()
    left = max(0.0, 1 - moved[~counted].sum())
    if config.projection == "clip-normalise":
        mu = _step(config.step, CLIP_NORMALISE_STEP, replace(prices, damping=1.0))
        moved[counted] = clip_normalise(moved[counted], utilisation, mu, left)
        ahead = moved
    else:
        capacity = view.capacity_bps[ways] / view.capacity_bps[every].mean()
        mu = _step(config.step, STEP_SIZE["mlu"], prices) / len(every)
        push = mu * capacity * (utilisation / highest - 1) if highest > 0 else np.zeros(len(ways))
        price = project_on_simplex(moved[counted] / capacity + push, capacity, left)
        moved[counted] = price * capacity
        ahead[counted] = project_on_simplex(price + config.step.ahead * push, capacity, left) * capacity
    return Prices(updates, _on_ways(view, every, moved), _mlu_prices(view, _on_ways(view, every, ahead)))


def _update_bdp(view: InternalView, prices: Prices, load_bps: Vector, config: PricingConfig) -> Prices:
    """p <- [p + mu d (u - 1)]+, u = (b + t) / c, d the mean distance of a way: the capacities' multipliers.

    What is published is d_e + p_e.
    """
    ways = np.flatnonzero(_priced(view) & ~np.isnan(load_bps))
    if not len(ways):
        return prices
    updates = prices.updates + 1
    mu = _step(config.step, STEP_SIZE["bdp"], prices) * (view.distance.mean() or 1.0)
    push = np.zeros(len(view.ways))
    push[ways] = mu * (load_bps[ways] / view.capacity_bps[ways] - 1)
    price = np.maximum(0.0, prices.price + push)
    return Prices(updates, price, view.distance + np.maximum(0.0, price + config.step.ahead * push))


def _update_multihoming(
    view: InternalView,
    prices: Prices,
    p2p_bps: Vector,
    others_bps: Vector,
    config: PricingConfig,
    seconds: float,
) -> Prices:
    """s <- [s + mu (t - v) / V] on 0 <= s <= 1, the share of the full charge.

    v is the virtual capacity, V the predicted charging volume. The multipliers of "the volume is at least
    b + t in each slot" sum to the neighbour's price over the slots, so that one of them is never more: where
    all ways are full, the cheapest one takes what remains.
    """
    assert prices.record is not None, "prices of another objective"
    ways = _interdomain_links(view)
    if np.isnan(p2p_bps[ways]).all():
        return prices
    record = prices.record.after(p2p_bps[ways], others_bps[ways], seconds, config.charging)
    updates = prices.updates + 1
    mu = _step(config.step, STEP_SIZE["multihoming"], prices)
    # In shares of what is billed: a way with no room at all is not infinitely overfull.
    over_bps = p2p_bps[ways] - record.virtual_capacity_bps(others_bps[ways])
    # NaN where P2P was not counted, and before the first slot has ended.
    push = np.nan_to_num(mu * over_bps / np.maximum(record.predicted_bps, 1.0))
    share = np.clip(prices.price[ways] + push, 0.0, 1.0)
    ahead = np.clip(share + config.step.ahead * push, 0.0, 1.0)
    published = _multihoming_prices(view, _on_ways(view, ways, ahead))
    return Prices(updates, _on_ways(view, ways, share), published, record=record)


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
    """d_e, and of interdomain ways their charge on top, so that none is nearer than by its distance.

    The charge is `FULL_CHARGE` mean distances of a way for a full share of the dearest neighbour's price: far
    more than any detour inside. Where no neighbour names a price all are equally dear.
    """
    charge = np.where(view.interdomain, view.price_per_mbps, 0.0)
    if not charge.any():
        charge = view.interdomain.astype(float)
    full = FULL_CHARGE * (view.distance.mean() or 1.0)
    prices: Vector = view.distance + full * share * charge / charge.max()
    return prices


def _step(config: StepConfig, default: float, prices: Prices) -> float:
    """mu of the update after `prices`."""
    size = default if config.size is None else config.size
    if config.rule == "diminishing":
        return size / math.sqrt(prices.updates + 1)
    return size * prices.damping if config.rule == "damped" else size


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
        if config.pricing.interdomain_alone:
            outside = view.path_sums(np.where(view.interdomain, prices, 0.0))
            matrix[:own, own:], matrix[own:, :own] = outside[:own, own:], outside[own:, :own]
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
