"""Billing by the 95th percentile: slots, the volume that is billed, its prediction, and what is free."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.charging import Meter, billed_rank, charging_volume
from testbed.portal.config import ChargingConfig

CONFIG = ChargingConfig(slot_s=300, period_slots=10, background_slots=2)


def vector(*values: float) -> np.ndarray:
    return np.array(values, float)


def metered(*slots: tuple[float, float], config: ChargingConfig = CONFIG) -> Meter:
    """A meter of one link after whole slots of (P2P, background)."""
    meter = Meter.of(1)
    for p2p, background in slots:
        meter = meter.after(vector(p2p), vector(background), config.slot_s, config)
    return meter


def test_of_thirty_days_the_8208th_volume_is_billed() -> None:
    assert billed_rank(8640, 95) == 8208
    volumes = np.random.default_rng(1).permutation(np.arange(1.0, 8641))[:, None]
    assert charging_volume(volumes, 95).tolist() == [8208]


@pytest.mark.parametrize(
    ("slots", "percentile", "rank"), [(20, 95, 19), (1, 95, 1), (10, 100, 10), (3, 1, 1)]
)
def test_the_rank_is_rounded_up(slots: int, percentile: float, rank: int) -> None:
    assert billed_rank(slots, percentile) == rank


VOLUMES = st.lists(st.floats(0, 1e9), min_size=1, max_size=60)


@given(VOLUMES, st.floats(1, 100), st.floats(0.1, 10))
@settings(deadline=None)
def test_the_charging_volume_is_one_of_the_volumes_and_scales_with_them(
    volumes: list[float], percentile: float, factor: float
) -> None:
    column = np.array(volumes)[:, None]
    billed = charging_volume(column, percentile)[0]
    assert billed in volumes
    assert charging_volume(column * factor, percentile)[0] == pytest.approx(billed * factor)
    assert np.count_nonzero(column <= billed) >= percentile / 100 * len(volumes) - 1e-6


@given(VOLUMES, st.integers(0, 59), st.floats(0, 1e9))
@settings(deadline=None)
def test_more_traffic_in_a_slot_never_lowers_the_bill(volumes: list[float], slot: int, more: float) -> None:
    column = np.array(volumes)[:, None]
    raised = column.copy()
    raised[slot % len(volumes)] += more
    assert charging_volume(raised, 95)[0] >= charging_volume(column, 95)[0]


def test_one_slot_in_twenty_is_not_billed() -> None:
    volumes = np.full((20, 1), 5.0)
    volumes[7] = 1000
    assert charging_volume(volumes, 95).tolist() == [5]


def test_a_slot_is_the_mean_rate_of_all_that_was_measured_in_it() -> None:
    meter = Meter.of(1)
    for rate in (10.0, 20.0, 60.0):
        meter = meter.after(vector(rate), vector(5.0), 100, CONFIG)
    assert meter.volumes_bps.tolist() == [[35]]
    assert meter.elapsed_s == 0


def test_a_long_measurement_ends_several_slots() -> None:
    meter = Meter.of(1).after(vector(7), vector(0), 700, CONFIG)
    assert meter.volumes_bps.tolist() == [[7], [7]]
    assert meter.elapsed_s == 100


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.1, 1000)), min_size=1, max_size=20))
@settings(deadline=None)
def test_no_bit_is_lost_between_slots(pieces: list[tuple[float, float]]) -> None:
    config = ChargingConfig(slot_s=300, period_slots=10_000)
    meter = Meter.of(1)
    for rate, seconds in pieces:
        meter = meter.after(vector(rate), vector(0), seconds, config)
    kept = meter.volumes_bps.sum() * 300 + meter.bits.sum()
    assert kept == pytest.approx(sum(rate * seconds for rate, seconds in pieces), rel=1e-6, abs=1e-3)
    total = sum(seconds for _, seconds in pieces)
    assert len(meter.volumes_bps) * 300 + meter.elapsed_s == pytest.approx(total)


def test_the_volume_is_predicted_over_a_sliding_window() -> None:
    meter = metered(*[(0, 50)] * 10)
    assert meter.predicted_bps.tolist() == [50]
    assert metered(*[(0, 50)] * 10, *[(0, 20)] * 9).predicted_bps.tolist() == [50]
    assert metered(*[(0, 50)] * 10, *[(0, 20)] * 10).predicted_bps.tolist() == [20]


def test_before_the_first_slot_nothing_is_predicted() -> None:
    meter = Meter.of(2).after(vector(1, 1), vector(1, 1), 10, CONFIG)
    assert np.isnan(meter.virtual_capacity_bps(vector(1, 1))).all()


def test_what_is_free_is_the_prediction_less_the_mean_background_of_the_last_slots() -> None:
    meter = metered((30, 50), (0, 20), (0, 40))
    assert meter.predicted_bps.tolist() == [80]
    assert meter.virtual_capacity_bps(vector(0)).tolist() == [50]


def test_while_the_background_rises_above_its_mean_less_is_free() -> None:
    meter = metered((30, 50), (0, 20), (0, 40))
    assert meter.virtual_capacity_bps(vector(65)).tolist() == [15]
    assert meter.virtual_capacity_bps(vector(900)).tolist() == [0]
