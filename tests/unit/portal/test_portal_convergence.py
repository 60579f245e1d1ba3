"""The price loop against the linear programs: demand that sees prices alone comes to their optimum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.charging import charging_volume
from testbed.portal.config import PortalConfig
from testbed.portal.elastic import Demand, random_demand
from testbed.portal.internal import InternalView
from testbed.portal.optimum import NoOptimumError, least_bill, least_distance_product, least_utilisation
from testbed.portal.rehearsal import (
    NEIGHBOUR_PRICES,
    Period,
    billed_loop,
    price_loop,
    random_problem,
    three_neighbours,
)
from testbed.portal.view import portal_config
from testbed.spec.topology import load_topology
from testbed.topology.compile import compile_network
from testbed.topology.routing import compute_routes

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def portal(name: str, **pricing: object) -> PortalConfig:
    network = compile_network(load_topology(TOPOLOGIES / f"{name}.yaml")[0])
    return portal_config(network, compute_routes(network), name, listen="127.0.0.1:0", pricing=pricing)


def carried(view: InternalView, demand: Demand) -> np.ndarray:
    return view.link_traffic(demand.matrix_bps(len(view.pids)))


def highest(view: InternalView, traffic_bps: np.ndarray) -> float:
    return ((view.background_bps + traffic_bps) / view.capacity_bps).max()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["abilene", "isp-a"])
def test_mlu_comes_within_a_percent_of_the_optimum_and_stays(name: str, seed: int) -> None:
    config = portal(name, objective="mlu")
    view, demand = random_problem(config, seed, 0.7)
    best = least_utilisation(view, demand).value
    seen = [highest(view, traffic) for traffic in price_loop(view, demand, config, 250, 0.08)]
    assert seen[0] > 1.05 * best, "nothing to gain: no test"
    assert max(seen[199:]) <= 1.01 * best


@pytest.mark.parametrize(("objective", "usual", "filled"), [("mlu", 0.08, 0.7), ("bdp", 0.3, 0.9)])
def test_damped_steps_settle_where_demand_is_four_times_as_elastic(
    objective: str, usual: float, filled: float
) -> None:
    def usual_miss(rule: str) -> float:
        config = portal("abilene", objective=objective, step={"rule": rule})
        misses = []
        for seed in range(12):
            view, demand = random_problem(config, seed, filled)
            last = list(price_loop(view, demand, config, 250, 4 * usual))[199:]
            program = least_utilisation if objective == "mlu" else least_distance_product
            values = [highest(view, t) if objective == "mlu" else view.distance @ t for t in last]
            misses.append(np.abs(np.array(values) / program(view, demand).value - 1).max())
        return float(np.quantile(misses, 0.75))

    assert usual_miss("damped") <= 0.01
    assert usual_miss("constant") > 0.05, "nothing to damp: no test"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["abilene", "isp-a"])
def test_bdp_comes_within_a_percent_of_the_optimum_without_overfull_links(name: str, seed: int) -> None:
    config = portal(name, objective="bdp")
    view, demand = random_problem(config, seed, 0.9)
    best = least_distance_product(view, demand).value
    last = list(price_loop(view, demand, config, 250, 0.3))[199:]
    assert [view.distance @ traffic for traffic in last] == pytest.approx([best] * len(last), rel=0.01)
    assert max(highest(view, traffic) for traffic in last) <= 1.01


def test_without_prices_of_capacity_the_shortest_paths_would_be_overfull() -> None:
    """Else the test above would show nothing."""
    config = portal("isp-a", objective="bdp")
    over = []
    for seed in range(4):
        view, demand = random_problem(config, seed, 0.9)
        unlimited = replace(view, capacity_bps=view.capacity_bps * 100)
        over.append(highest(view, carried(view, least_distance_product(unlimited, demand).demand)))
    assert max(over) > 1.1


def test_the_bill_comes_within_five_percent_of_perfect_foresight() -> None:
    """A week of 5-minute volumes after one without P2P, three neighbours of different prices."""
    prices, config = np.array(NEIGHBOUR_PRICES), three_neighbours(2016, update_s=60)
    rng = np.random.default_rng(1)
    before, week = Period.synthetic(14, 288, 3, rng).halves()
    volumes = billed_loop(InternalView.of(config), config, before, week, 2.0)
    np.testing.assert_allclose(volumes.sum(axis=1), week.background_bps.sum(axis=1) + week.p2p_bps)
    best = least_bill(prices, week.background_bps, week.p2p_bps, np.full(3, 1e9), 95)
    even = week.background_bps + week.p2p_bps[:, None] / 3
    assert prices @ charging_volume(even, 95) > 1.1 * best.value, "nothing to gain: no test"
    assert prices @ charging_volume(volumes, 95) <= 1.05 * best.value


@pytest.mark.parametrize("seed", range(3))
def test_no_random_split_beats_the_optimum(seed: int) -> None:
    view, demand = random_problem(portal("abilene"), seed, 0.8)
    least = least_utilisation(view, demand)
    assert highest(view, carried(view, least.demand)) == pytest.approx(least.value, rel=1e-6)
    shortest = least_distance_product(view, demand)
    assert view.distance @ carried(view, shortest.demand) == pytest.approx(shortest.value, rel=1e-6)
    assert highest(view, carried(view, shortest.demand)) <= 1 + 1e-6
    rng = np.random.default_rng(seed)
    for _ in range(20):
        other = replace(demand, share=rng.dirichlet(np.ones(demand.source.shape[1]), len(demand.target)))
        traffic = carried(view, other)
        assert highest(view, traffic) >= least.value
        assert view.distance @ traffic >= shortest.value or highest(view, traffic) > 1


def test_the_least_bill_is_what_its_volumes_are_billed_and_carries_all() -> None:
    rng = np.random.default_rng(4)
    period = Period.synthetic(1, 100, 2, rng)
    price = np.array([3.0, 1.0])
    bill = least_bill(price, period.background_bps, period.p2p_bps, np.full(2, 1e8), 95)
    assert price @ charging_volume(bill.volumes_bps, 95) == pytest.approx(bill.value, rel=1e-6)
    np.testing.assert_allclose(
        bill.volumes_bps.sum(axis=1), period.background_bps.sum(axis=1) + period.p2p_bps, rtol=1e-6
    )
    assert (bill.volumes_bps >= period.background_bps - 1).all()
    for share in np.linspace(0, 1, 21):
        split = period.background_bps + np.outer(period.p2p_bps, [share, 1 - share])
        assert price @ charging_volume(split, 95) >= bill.value * (1 - 1e-6)


def test_demand_that_does_not_fit_has_no_optimum() -> None:
    view, demand = random_problem(portal("abilene"), 0, 0.9)
    with pytest.raises(NoOptimumError):
        least_distance_product(view, replace(demand, rate_bps=2 * demand.rate_bps))


@given(st.integers(0, 99), st.floats(0, 2))
@settings(deadline=None)
def test_demand_moves_towards_what_is_near_and_takes_as_much(seed: int, elasticity: float) -> None:
    rng = np.random.default_rng(seed)
    demand = replace(random_demand(6, 9, 3, 1e6, rng), elasticity=elasticity)
    distances = rng.uniform(0, 5, (6, 6))
    moved = demand.following(distances)
    np.testing.assert_allclose(moved.share.sum(axis=1), 1)
    assert (moved.share > 0).all()
    np.testing.assert_allclose(moved.matrix_bps(6).sum(axis=0), demand.matrix_bps(6).sum(axis=0))
    cost = distances[demand.source, demand.target[:, None]]
    assert ((moved.share * cost).sum(axis=1) <= (demand.share * cost).sum(axis=1) + 1e-4).all()


def test_demand_does_not_move_where_all_sources_cost_alike() -> None:
    demand = replace(random_demand(6, 9, 3, 1e6, np.random.default_rng(1)), elasticity=1)
    np.testing.assert_allclose(demand.following(np.full((6, 6), 7.0)).share, demand.share)


def test_random_demand_is_never_for_oneself_and_serves_every_pid() -> None:
    demand = random_demand(6, 12, 5, 1e6, np.random.default_rng(1))
    assert (demand.source != demand.target[:, None]).all()
    assert sorted(demand.target) == sorted([*range(6)] * 2)
    assert all(len(set(row)) == 5 for row in demand.source.tolist())
