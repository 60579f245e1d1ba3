"""The linear programs: in any unit, exact where something else is, and honest about what they found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from testbed.portal.charging import billed_rank, charging_volume
from testbed.portal.config import PortalConfig
from testbed.portal.elastic import Demand, random_demand
from testbed.portal.internal import InternalView
from testbed.portal.optimum import (
    NoOptimumError,
    bill_with_free_slots,
    least_bill,
    least_distance_product,
    least_utilisation,
)
from testbed.portal.rehearsal import Period

SCALES = [1e-3, 0.1, 1e3, 1e5]
WORTH = np.array([10.0, 4.0, 6.0])


def mesh(failed: frozenset[str] = frozenset()) -> InternalView:
    """Six PoPs in a ring with two chords, of capacities between 10 and 50 Gbit/s."""
    rng = np.random.default_rng(2)
    ends = [*((k, (k + 1) % 6) for k in range(6)), (0, 3), (1, 4)]
    config = PortalConfig.model_validate(
        {
            "isp": "home",
            "listen": "127.0.0.1:0",
            "pids": [{"pid": str(k), "prefixes": []} for k in range(6)],
            "links": [
                {"id": f"{a}-{b}", "a": str(a), "b": str(b), "capacity_bps": float(rng.uniform(1e10, 5e10))}
                for a, b in ends
            ],
        }
    )
    view = InternalView.of(config, failed)
    return replace(view, background_bps=rng.uniform(0, 0.3, len(view.ways)) * view.capacity_bps)


def demanded(seed: int = 0) -> Demand:
    return random_demand(6, 12, 3, 3e9, np.random.default_rng(seed))


def scaled(view: InternalView, factor: float) -> InternalView:
    return replace(view, capacity_bps=view.capacity_bps * factor, background_bps=view.background_bps * factor)


def carried(view: InternalView, demand: Demand) -> np.ndarray:
    return view.link_traffic(demand.matrix_bps(len(view.pids)))


@pytest.mark.parametrize("factor", SCALES)
def test_the_least_utilisation_has_no_unit(factor: float) -> None:
    view, demand = mesh(), demanded()
    found = least_utilisation(scaled(view, factor), replace(demand, rate_bps=demand.rate_bps * factor))
    assert found.value == pytest.approx(least_utilisation(view, demand).value, rel=1e-6)
    traffic = carried(view, replace(found.demand, rate_bps=demand.rate_bps))
    assert ((view.background_bps + traffic) / view.capacity_bps).max() == pytest.approx(found.value, rel=1e-6)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1.0])
def test_a_little_demand_on_large_links_is_spread_as_well(factor: float) -> None:
    """Without background the least utilisation is in proportion to the demand."""
    view, demand = replace(mesh(), background_bps=np.zeros(16)), demanded()
    full = least_utilisation(view, demand).value
    little = least_utilisation(view, replace(demand, rate_bps=demand.rate_bps * factor))
    assert little.value == pytest.approx(full * factor, rel=1e-6)


@pytest.mark.parametrize("factor", SCALES)
def test_the_least_distance_product_is_in_proportion_to_the_rates(factor: float) -> None:
    view, demand = mesh(), demanded()
    larger = replace(demand, rate_bps=demand.rate_bps * factor)
    found = least_distance_product(scaled(view, factor), larger)
    assert found.value == pytest.approx(factor * least_distance_product(view, demand).value, rel=1e-6)
    assert (
        carried(view, found.demand) <= factor * (view.capacity_bps - view.background_bps) * (1 + 1e-6)
    ).all()


@pytest.mark.parametrize("factor", SCALES)
def test_the_least_bill_is_in_proportion_to_the_rates(factor: float) -> None:
    period = Period.synthetic(1, 60, 3, np.random.default_rng(1))
    known = (period.background_bps, period.p2p_bps, np.full(3, 1e9))
    found = least_bill(WORTH, *(part * factor for part in known), 95)
    assert found.value == pytest.approx(factor * least_bill(WORTH, *known, 95).value, rel=1e-4)


def test_who_demands_nothing_uses_nothing() -> None:
    view = replace(mesh(), background_bps=np.zeros(16))
    nothing = replace(demanded(), rate_bps=np.zeros(12))
    assert least_utilisation(view, nothing).value == 0
    assert least_distance_product(view, nothing).value == 0
    loaded = mesh()
    busiest = (loaded.background_bps / loaded.capacity_bps).max()
    assert least_utilisation(loaded, nothing).value == pytest.approx(busiest)
    assert least_bill(WORTH, np.zeros((20, 3)), np.zeros(20), np.full(3, 1e9), 95).value == 0


def test_a_pair_without_a_route_carries_nothing() -> None:
    cut = mesh(frozenset({"0-1", "5-0", "0-3"}))  # PoP 0 is alone
    demand = Demand.even(np.array([[0, 2], [5, 3]]), np.array([1, 4]), np.array([1e9, 1e9]))
    for program in (least_utilisation, least_distance_product):
        assert program(cut, demand).demand.share[0].tolist() == [0, 1]
        with pytest.raises(NoOptimumError):
            program(cut, replace(demand, source=np.array([[0, 0], [5, 3]])))


def exact_bill(period: Period, capacity_bps: float) -> float:
    """The same by a mixed-integer program that chooses which slots are free."""
    background, p2p = period.background_bps / 1e6, period.p2p_bps / 1e6
    slots, links = background.shape
    each = slots * links
    spared = slots - billed_rank(slots, 95)
    large = 2 * (background.max() + p2p.max())
    # Variables: rates, which slots are free, volumes.
    ones = sparse.kron(np.ones((slots, 1)), sparse.eye_array(links))
    volume = sparse.hstack([sparse.eye_array(each), -large * sparse.eye_array(each), -ones])
    in_slot = sparse.kron(sparse.eye_array(slots), np.ones((1, links)))
    sums = sparse.hstack([in_slot, sparse.csr_array((slots, each + links))])
    count = sparse.hstack([sparse.csr_array((links, each)), ones.T, sparse.csr_array((links, links))])
    solved = milp(
        np.concatenate([np.zeros(2 * each), WORTH]),
        constraints=[
            LinearConstraint(volume, ub=-background.ravel()),
            LinearConstraint(sums, p2p, p2p),
            LinearConstraint(count, ub=spared),
        ],
        integrality=np.concatenate([np.zeros(each), np.ones(each), np.zeros(links)]),
        bounds=Bounds(
            0,
            np.concatenate(
                [(capacity_bps / 1e6 - background).ravel(), np.ones(each), np.full(links, np.inf)]
            ),
        ),
        options={"time_limit": 60, "mip_rel_gap": 0.002},
    )
    assert solved.status == 0, solved.message
    return float(solved.fun) * 1e6


@pytest.mark.parametrize("seed", [1, 2])
def test_of_days_like_those_of_the_benchmark_the_bill_is_within_three_percent_of_the_least(seed: int) -> None:
    period = Period.synthetic(1, 40, 3, np.random.default_rng(seed))
    exact = exact_bill(period, 1e9)
    found = least_bill(WORTH, period.background_bps, period.p2p_bps, np.full(3, 1e9), 95)
    assert exact * 0.998 <= found.value <= exact * 1.03


@pytest.mark.parametrize(("slots", "seed"), [(40, 0), (40, 6), (48, 4), (60, 0), (96, 7)])
def test_a_bill_that_the_first_choice_of_free_slots_misses_is_found(slots: int, seed: int) -> None:
    """Slots of independent noise, chosen as the first choice, or the best of them, is 8 % off or more.

    Of such noise `least_bill` itself is up to 16 % off for other seeds: a day is not like that.
    """
    rng = np.random.default_rng(seed)
    period = Period(rng.exponential(10e6, (slots, 3)), rng.exponential(30e6, slots))
    found = least_bill(WORTH, period.background_bps, period.p2p_bps, np.full(3, 1e9), 95)
    assert found.value <= exact_bill(period, 1e9) * 1.03


def test_one_program_with_free_slots_is_no_better_than_the_search_for_them() -> None:
    period = Period.synthetic(1, 96, 3, np.random.default_rng(3))
    known = (WORTH, period.background_bps, period.p2p_bps, np.full(3, 1e9), 95)
    free = np.zeros((96, 3), bool)
    free[np.argsort(period.background_bps.sum(axis=1) + period.p2p_bps)[-4:]] = True
    one = bill_with_free_slots(*known, free)
    assert WORTH @ charging_volume(one.volumes_bps, 95) == one.value
    assert least_bill(*known).value < one.value < bill_with_free_slots(*known, ~np.ones_like(free)).value
