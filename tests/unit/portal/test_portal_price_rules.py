"""How prices are updated: what was not counted, how far ahead, how large a step, what a way out costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from testbed.portal import pricing
from testbed.portal.config import PortalConfig
from testbed.portal.internal import InternalView
from testbed.portal.pricing import Prices, static_distances

NAN = float("nan")
DYNAMIC = ("mlu", "bdp", "multihoming")


def portal(**rules: Any) -> PortalConfig:
    """a - b - c of 10 bit/s a link, with a dear way out at a and a cheap one at c; slots of 10 s.

    Ways: 0 to 3 inside, 4 and 6 out of the ISP, 5 and 7 in.
    """
    return PortalConfig.model_validate(
        {
            "isp": "home",
            "listen": "127.0.0.1:0",
            "pids": [{"pid": pid, "prefixes": []} for pid in "abc"],
            "links": [{"a": a, "b": b, "capacity_bps": 10} for a, b in ("ab", "bc")],
            "external": [
                {"pid": "x", "exit": "a", "weight": 4, "price": 8, "capacity_bps": 10},
                {"pid": "y", "exit": "c", "weight": 30, "price": 2, "capacity_bps": 10},
            ],
            "pricing": {
                "update_s": 10,
                "charging": {"slot_s": 10, "period_slots": 100, "background_slots": 3},
                **rules,
            },
        }
    )


def ring(**rules: Any) -> PortalConfig:
    """The P4P authors' test: four nodes, capacity 4 but for 0 -> 1, which has 2."""
    links = [{"a": str(k), "b": str((k + 1) % 4), "capacity_bps": [2 if k == 0 else 4, 4]} for k in range(4)]
    return PortalConfig.model_validate(
        {
            "isp": "home",
            "listen": "127.0.0.1:0",
            "pids": [{"pid": str(k), "prefixes": []} for k in range(4)],
            "links": links,
            "pricing": {"objective": "mlu", **rules},
        }
    )


def after(config: PortalConfig, *loads: Any, seconds: float = 10, background: Any = None) -> Prices:
    """The prices after updates by these loads of all ways."""
    view = InternalView.of(config)
    prices = pricing.start(view, config.pricing)
    for load in loads:
        prices = pricing.update(
            view, prices, np.array(load, float), config.pricing, seconds, background_bps=background
        )
    return prices


def full_slots(count: int, rate: float = 4.0) -> list[list[float]]:
    return [[rate] * 8] * count


def test_the_ring_of_the_authors_goes_through_the_portals_own_updates() -> None:
    config = ring(projection="clip-normalise")
    view = InternalView.of(config)
    traffic = np.array([1.2, *[0.0] * 7])
    first = pricing.start(view, config.pricing)
    assert first.price.tolist() == [0] * 8
    once = pricing.update(view, first, traffic, config.pricing, 10)
    assert once.price.tolist() == [0.125] * 8
    assert once.published.tolist() == first.published.tolist(), "what is published first is the uniform price"
    twice = pricing.update(view, once, traffic, config.pricing, 10)
    assert twice.price.tolist() == [1, *[0] * 7]
    assert pricing.distances(view, twice, config).matrix[0, 1] == 8 * 3.75 / 2


def test_clip_normalise_takes_the_difference_of_utilisations_as_it_is() -> None:
    """By hand: u = 0.6, 0.5 and 0: q = 0.125, 0.025 and 0 before they are divided by their sum."""
    traffic = np.array([1.2, 2.0, *[0.0] * 6])
    shares = after(ring(projection="clip-normalise"), traffic, traffic).price
    assert shares == pytest.approx([0.125 / 0.15, 0.025 / 0.15, *[0] * 6])


@pytest.mark.parametrize("projection", ["euclidean", "clip-normalise"])
def test_under_mlu_a_link_that_was_not_counted_keeps_its_price(projection: str) -> None:
    config = portal(objective="mlu", projection=projection, step={"size": 0.5})
    loads = [9, 6, 3, 1, 2, 5, 4, 7]
    before = after(config, loads, loads)
    gap = [NAN if way in (0, 3) else load for way, load in enumerate(loads)]
    view = InternalView.of(config)
    now = pricing.update(view, before, np.array(gap, float), config.pricing, 10)
    assert now.price[[0, 3]].tolist() == before.price[[0, 3]].tolist()
    assert now.price.sum() == pytest.approx(1)
    assert now.price[7] > before.price[7], "the fullest of those that were counted"
    assert now.price[4] <= before.price[4]


def test_alpha_is_the_highest_utilisation_of_those_that_were_counted() -> None:
    config = portal(objective="mlu", step={"size": 0.5, "ahead": 0})
    counted = after(config, [4, 2, *[NAN] * 6]).price
    assert counted[2:].tolist() == [0.125] * 6
    # By hand: mu = 0.5 / 8, xi = (0, -0.5), half of the difference to each.
    assert counted[:2] == pytest.approx([0.125 + 0.5 / 8 / 4, 0.125 - 0.5 / 8 / 4])


def test_under_bdp_a_link_that_was_not_counted_keeps_its_price_and_shows_no_trend() -> None:
    config = portal(objective="bdp", step={"size": 1})
    loads = [15.0, 15.0, *[0.0] * 6]
    before = after(config, loads)
    after_gap = after(config, loads, [15.0, NAN, *[0.0] * 6])
    assert after_gap.price[1] == before.price[1] > 0
    assert after_gap.price[0] > before.price[0]
    assert after_gap.published[1] == 1 + before.price[1]


def test_under_multihoming_a_link_that_was_not_counted_keeps_its_share() -> None:
    config = portal(objective="multihoming", step={"size": 0.2})
    before = after(config, *full_slots(3), [0] * 8)
    view = InternalView.of(config)
    now = pricing.update(view, before, np.array([0, 0, 0, 0, NAN, 0, 0, 0], float), config.pricing, 10)
    assert now.price[4] == before.price[4]
    assert now.price[6] < before.price[6]


def test_a_link_that_never_was_counted_does_not_keep_the_others_from_being_priced() -> None:
    config = portal(objective="multihoming")
    shares = after(config, *[[0, 0, 0, 0, NAN, 0, 0, 0]] * 5, background=np.full(8, 3.0)).price
    assert shares[4] == 1
    never = after(config, *[[0, 0, 0, 0, NAN, 5, 5, 5]] * 5).price
    assert never[4] == 1


@pytest.mark.parametrize("objective", DYNAMIC)
def test_where_no_priced_link_was_counted_everything_stays(objective: str) -> None:
    config = portal(objective=objective)
    view = InternalView.of(config)
    before = after(config, *full_slots(2), [7] * 8)
    again = pricing.update(view, before, np.full(8, NAN), config.pricing, 10)
    assert again is before
    if objective == "multihoming":
        inside = np.array([1, 2, 3, 4, NAN, NAN, NAN, NAN])
        assert pricing.update(view, before, inside, config.pricing, 10) is before


def test_slots_last_as_long_as_was_measured_and_not_as_long_as_was_planned() -> None:
    config = portal(objective="multihoming", update_s=5)
    record = after(config, *full_slots(3), seconds=4).record
    assert record is not None
    assert (len(record.volumes_bps), record.elapsed_s) == (1, 2)
    late = after(config, [6] * 8, seconds=25).record
    assert late is not None
    assert (late.volumes_bps[:, 0].tolist(), late.elapsed_s) == ([6, 6], 5)


def test_what_is_billed_is_the_percentile_of_the_configuration() -> None:
    charging = {"slot_s": 10, "period_slots": 100, "background_slots": 3}
    loads = [[float(rate)] * 8 for rate in range(1, 11)]
    for percentile, billed in ((50, 5), (80, 8), (100, 10)):
        config = portal(objective="multihoming", charging={**charging, "percentile": percentile})
        record = after(config, *loads).record
        assert record is not None
        assert record.predicted_bps.tolist() == [billed] * 4


def moved_and_published(objective: str, ahead: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The prices after some updates, what is published of them, and what of prices that stay."""
    config = portal(objective=objective, step={"size": 0.2, "ahead": ahead})
    loads = [[15, 12, 9, 1, 0, 2, 1, 2]] * 2
    background = None
    if objective == "multihoming":
        loads = [*full_slots(3), [0] * 8]
    prices = after(config, *loads, background=background)
    return prices.price, prices.published, after(config, *loads[:-1]).price


def test_mlu_publishes_a_point_so_many_steps_ahead() -> None:
    price, level, before = moved_and_published("mlu", 0)
    assert level == pytest.approx(8 * price)
    same, published, _ = moved_and_published("mlu", 2)
    assert same.tolist() == price.tolist()
    assert published == pytest.approx(8 * (price + 2 * (price - before))), "all are positive: a straight line"


def test_bdp_publishes_a_point_so_many_steps_ahead() -> None:
    price, level, before = moved_and_published("bdp", 0)
    distance = np.array([1, 1, 1, 1, 4, 4, 30, 30])
    assert level == pytest.approx(distance + price)
    _, published, _ = moved_and_published("bdp", 2)
    assert published[:2] == pytest.approx(1 + price[:2] + 2 * (price - before)[:2])
    assert (price - before)[0] > 0


def test_multihoming_publishes_a_point_so_many_steps_ahead() -> None:
    price, level, before = moved_and_published("multihoming", 0)
    distance, charge = np.array([4, 30]), 100 * 9 * np.array([1, 0.25])
    assert level[[4, 6]] == pytest.approx(distance + charge * price[[4, 6]])
    _, published, _ = moved_and_published("multihoming", 2)
    step = (price - before)[[4, 6]]
    assert (step < 0).all()
    assert published[[4, 6]] == pytest.approx(distance + charge * (price[[4, 6]] + 2 * step))


def test_three_steps_ahead_is_the_default_and_clip_normalise_publishes_its_prices() -> None:
    assert portal().pricing.step.ahead == 3
    clipped = [
        after(
            ring(projection="clip-normalise", step={"ahead": ahead}), [1.2, 1, *[0] * 6], [1.2, 1, *[0] * 6]
        )
        for ahead in (0, 9)
    ]
    assert clipped[0].published.tolist() == clipped[1].published.tolist()


# Loads by which prices go the same way in each update, and not to a bound.
STEADY = {
    "mlu": [[9, 8, 8, 8, 8, 8, 8, 8]] * 4,
    "bdp": [[12, *[0] * 7]] * 4,
}


@pytest.mark.parametrize("objective", ["mlu", "bdp"])
def test_diminishing_steps_shrink_with_the_root_of_the_updates(objective: str) -> None:
    def moves(rule: str) -> np.ndarray:
        config = portal(objective=objective, step={"rule": rule, "size": 0.01})
        prices = [after(config, *STEADY[objective][:count]).price[0] for count in range(5)]
        return np.diff(prices)

    constant, diminishing = moves("constant"), moves("diminishing")
    assert constant[0] != 0
    assert constant == pytest.approx([constant[0]] * 4)
    assert diminishing == pytest.approx(constant[0] / np.sqrt([1, 2, 3, 4]))


def test_diminishing_steps_shrink_under_multihoming_too() -> None:
    def moves(rule: str) -> np.ndarray:
        config = portal(objective="multihoming", step={"rule": rule, "size": 0.01})
        loads = [*full_slots(1), *[[0] * 8] * 4]
        return np.diff([after(config, *loads[:count]).price[4] for count in range(2, 6)])

    constant, diminishing = moves("constant"), moves("diminishing")
    assert constant[0] < 0
    assert constant == pytest.approx([constant[0]] * 3)
    assert diminishing == pytest.approx(constant[0] / np.sqrt([3, 4, 5]))


def test_damped_steps_shrink_while_the_prices_turn_back_and_grow_again() -> None:
    config = portal(objective="bdp", step={"size": 0.01})
    assert config.pricing.step.rule == "damped"
    # Once far up, so that no price comes to its bound.
    loads = [[load, *[0] * 7] for load in (30, 12, 8, 12, 8, *[12] * 20)]
    path = np.array([after(config, *loads[:count]).price[0] for count in range(1, 26)])
    steps = np.abs(np.diff(path)) / (path[1] - path[0])
    assert steps[:4] == pytest.approx([1, 1, 0.7, 0.49])
    assert steps[4] == pytest.approx(0.7**3), "the last turn"
    assert steps[5:] == pytest.approx(np.minimum(1, 0.7**4 * 1.1 ** np.arange(19)))


def test_damped_steps_never_stop() -> None:
    config = portal(objective="bdp", step={"size": 0.01})
    noise = [[load, *[0] * 7] for load in (30, *[8, 12] * 40)]
    assert after(config, *noise).damping == pricing.LEAST_DAMPING


def test_constant_steps_do_not_shrink() -> None:
    config = portal(objective="bdp", step={"size": 0.01, "rule": "constant"})
    loads = [[load, *[0] * 7] for load in (30, 12, 8, 12, 8, 12)]
    path = np.array([after(config, *loads[:count]).price[0] for count in range(1, 7)])
    assert np.abs(np.diff(path)) == pytest.approx([path[1] - path[0]] * 5)


def test_border_links_are_priced_under_mlu() -> None:
    prices = after(portal(objective="mlu"), *[[1, 1, 1, 1, 9, 1, 1, 1]] * 20)
    assert prices.price.tolist() == pytest.approx([0, 0, 0, 0, 1, 0, 0, 0])
    assert prices.published[4] > 0


def test_under_multihoming_nothing_is_nearer_than_by_static_distances() -> None:
    """A charge comes on top of what the way out is far."""
    static = static_distances(portal()).matrix
    config = portal(objective="multihoming")
    view = InternalView.of(config)
    free = after(config, *full_slots(3), *[[0] * 8] * 200)
    assert free.price.tolist() == [0] * 8
    np.testing.assert_allclose(pricing.distances(view, free, config).matrix, static)
    for prices in (after(config), after(config, *full_slots(3)), after(config, *full_slots(3), [9] * 8)):
        shown = pricing.distances(view, prices, config).matrix
        known = ~np.isnan(static)
        assert (shown[known] >= static[known]).all()
        np.testing.assert_array_equal(shown[:3, :3], static[:3, :3])


def test_a_higher_charge_raises_distances_outside_alone() -> None:
    config = portal(objective="multihoming")
    view = InternalView.of(config)
    low, high = after(config, *full_slots(3), *[[0] * 8] * 5), after(config)
    assert (low.price[4:] < high.price[4:]).all()
    near, far = (pricing.distances(view, prices, config).matrix for prices in (low, high))
    assert near[:3, :3].tolist() == far[:3, :3].tolist()
    assert (near[:3, 3:] < far[:3, 3:]).all()
    assert (near[3:, :3] < far[3:, :3]).all()
