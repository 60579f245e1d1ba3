"""Billing by the 95th percentile: slots, the volume that is billed, its prediction, and what is free."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.charging import ChargingRecord, billed_rank, charging_volume
from testbed.portal.config import ChargingConfig

CONFIG = ChargingConfig(slot_s=300, period_slots=10, background_slots=2)


def vector(*values: float) -> np.ndarray:
    return np.array(values, float)


def recorded(*slots: tuple[float, float], config: ChargingConfig = CONFIG) -> ChargingRecord:
    """The record of one link after whole slots of (P2P, background)."""
    record = ChargingRecord.of(1)
    for p2p, background in slots:
        record = record.after(vector(p2p), vector(background), config.slot_s, config)
    return record


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
    record = ChargingRecord.of(1)
    for rate in (10.0, 20.0, 60.0):
        record = record.after(vector(rate), vector(5.0), 100, CONFIG)
    assert record.volumes_bps.tolist() == [[35]]
    assert record.elapsed_s == 0


def test_a_long_measurement_ends_several_slots() -> None:
    record = ChargingRecord.of(1).after(vector(7), vector(0), 700, CONFIG)
    assert record.volumes_bps.tolist() == [[7], [7]]
    assert record.elapsed_s == 100


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.1, 1000)), min_size=1, max_size=20))
@settings(deadline=None)
def test_no_bit_is_lost_between_slots(pieces: list[tuple[float, float]]) -> None:
    config = ChargingConfig(slot_s=300, period_slots=10_000)
    record = ChargingRecord.of(1)
    for rate, seconds in pieces:
        record = record.after(vector(rate), vector(0), seconds, config)
    kept = record.volumes_bps.sum() * 300 + record.p2p_bits.sum()
    assert kept == pytest.approx(sum(rate * seconds for rate, seconds in pieces), rel=1e-6, abs=1e-3)
    total = sum(seconds for _, seconds in pieces)
    assert len(record.volumes_bps) * 300 + record.elapsed_s == pytest.approx(total)


def test_the_volume_is_predicted_over_a_sliding_window() -> None:
    record = recorded(*[(0, 50)] * 10)
    assert record.predicted_bps.tolist() == [50]
    assert recorded(*[(0, 50)] * 10, *[(0, 20)] * 9).predicted_bps.tolist() == [50]
    assert recorded(*[(0, 50)] * 10, *[(0, 20)] * 10).predicted_bps.tolist() == [20]


def test_before_the_first_slot_nothing_is_predicted() -> None:
    record = ChargingRecord.of(2).after(vector(1, 1), vector(1, 1), 10, CONFIG)
    assert np.isnan(record.virtual_capacity_bps(vector(1, 1))).all()


def test_what_is_free_is_the_prediction_less_the_mean_background_of_the_last_slots() -> None:
    record = recorded((30, 50), (0, 20), (0, 40))
    assert record.predicted_bps.tolist() == [80]
    assert record.virtual_capacity_bps(vector(0)).tolist() == [50]


def test_while_the_background_rises_above_its_mean_less_is_free() -> None:
    record = recorded((30, 50), (0, 20), (0, 40))
    assert record.virtual_capacity_bps(vector(65)).tolist() == [15]
    assert record.virtual_capacity_bps(vector(900)).tolist() == [0]


def test_a_slot_that_was_counted_in_part_is_the_mean_of_that_part() -> None:
    record = ChargingRecord.of(2)
    record = record.after(vector(30, np.nan), vector(5, 5), 100, CONFIG)
    record = record.after(vector(np.nan, 60), vector(5, 5), 200, CONFIG)
    assert record.volumes_bps.tolist() == [[35, 65]]


def test_a_slot_that_was_not_counted_is_not_billed() -> None:
    record = ChargingRecord.of(2)
    for rate in (10.0, 20.0, np.nan):
        record = record.after(vector(rate, 5), vector(1, 1), 300, CONFIG)
    assert np.isnan(record.volumes_bps[2, 0])
    assert record.predicted_bps.tolist() == [21, 6]
    alone = ChargingRecord.of(2).after(vector(np.nan, 5), vector(1, 1), 300, CONFIG)
    assert np.isnan(alone.predicted_bps).tolist() == [True, False]


@given(VOLUMES, st.integers(0, 59), st.floats(1, 100))
@settings(deadline=None)
def test_slots_that_were_not_counted_change_nothing_for_the_others(
    volumes: list[float], gaps: int, percentile: float
) -> None:
    column = np.array(volumes)[:, None]
    with_gaps = np.vstack([np.full((gaps, 1), np.nan), column])
    assert charging_volume(with_gaps, percentile)[0] == charging_volume(column, percentile)[0]
