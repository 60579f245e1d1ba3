"""What switches count: totals that only grow, and rates over the time that was really between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.controller.counters import (
    NS_PER_S,
    PORT_COUNTERS,
    Poll,
    SwitchClock,
    Totals,
    directions,
    isp_pairs,
)

BORN_NS = 5_000 * NS_PER_S
BYTES_PER_S = 1_000_000


def poll(
    monotonic_ns: int,
    ports: Mapping[str, list[int]] | None = None,
    pairs: Mapping[str, list[int]] | None = None,
    pop: str = "a.0",
) -> Poll:
    return Poll(monotonic_ns, pop, ports or {}, pairs or {}, 0)


def rates(delays_s: list[float]) -> list[float | None]:
    """What a steady 8 Mbit/s is seen as, asked each second, with answers that are late by this much."""
    clock, total, found = SwitchClock(), Totals(), []
    for n, delay_s in enumerate(delays_s):
        age_ns = (10 + n) * NS_PER_S
        written_ns = clock.written_ns(BORN_NS + age_ns + round(delay_s * NS_PER_S), age_ns)
        count = (10 + n) * BYTES_PER_S
        total.add(replace(poll(written_ns, {"x": [count, 0, 0, 0, 0, 0]}), age_ns=age_ns))
        (seen,) = directions({"a.0": total}, {})
        found.append(seen.rate_bps)
    return found


@given(st.lists(st.floats(0, 0.9), max_size=8))
def test_late_answers_fake_no_rate_once_one_came_at_once(delays_s: list[float]) -> None:
    first, *others = rates([0.0, *delays_s])
    assert first is None
    assert others == [pytest.approx(8e6, rel=1e-9)] * len(delays_s)


@given(st.floats(0, 0.9), st.lists(st.floats(0, 0.9), min_size=1, max_size=8))
def test_a_first_answer_that_is_late_fakes_no_rate_either(first: float, delays_s: list[float]) -> None:
    assert rates([first, *delays_s])[1:] == [pytest.approx(8e6, rel=1e-9)] * len(delays_s)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=8))
def test_an_answer_is_never_written_before_it_was_nor_after_it_came(delays_s: list[float]) -> None:
    clock = SwitchClock()
    for n, delay_s in enumerate(delays_s):
        age_ns = n * NS_PER_S
        arrived_ns = BORN_NS + age_ns + round(delay_s * NS_PER_S)
        assert BORN_NS + age_ns <= clock.written_ns(arrived_ns, age_ns) <= arrived_ns


def test_a_switch_that_starts_again_has_a_new_time_of_birth() -> None:
    clock = SwitchClock()
    assert clock.written_ns(100 * NS_PER_S, 50 * NS_PER_S) == 100 * NS_PER_S
    assert clock.written_ns(103 * NS_PER_S, 1 * NS_PER_S) == 103 * NS_PER_S
    assert clock.written_ns(104 * NS_PER_S + 7, 2 * NS_PER_S) == 104 * NS_PER_S


def test_totals_go_on_where_a_rule_counts_from_zero_again() -> None:
    total = Totals()
    assert [total.grown("x", counted) for counted in (0, 5, 9, 2, 2, 7, 0, 1)] == [
        0,
        5,
        9,
        11,
        11,
        16,
        16,
        17,
    ]
    assert total.grown("y", 3) == 3


@given(st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=5), max_size=5))
def test_a_total_is_the_sum_of_what_each_life_of_a_rule_counted(lives: list[list[int]]) -> None:
    total, expected, last = Totals(), 0, 0
    for grows in lives:
        counted = 0
        for grow in grows:
            counted += grow
            if counted < last:
                expected += counted
            else:
                expected += counted - last
            last = counted
            assert total.grown("x", counted) == expected


@pytest.mark.parametrize(
    ("polls", "rate", "interval_s"),
    [
        ([], None, 0.0),
        ([poll(5)], None, 0.0),
        ([poll(NS_PER_S), poll(3 * NS_PER_S)], 4000.0, 2.0),
        ([poll(NS_PER_S), poll(NS_PER_S)], None, 0.0),
        ([poll(2 * NS_PER_S), poll(NS_PER_S)], None, -1.0),
    ],
)
def test_a_rate_needs_two_polls_and_time_between(
    polls: list[Poll], rate: float | None, interval_s: float
) -> None:
    total = Totals()
    for one in polls:
        total.add(one)
    assert total.interval_s == interval_s
    assert total.rate_bps(1500, 500) == rate


def test_a_count_that_shrank_or_is_new_has_no_rate() -> None:
    total = Totals()
    total.add(poll(0))
    total.add(poll(NS_PER_S))
    assert total.rate_bps(4, 5) is None
    assert total.rate_bps(4, None) is None
    assert total.rate_bps(5, 5) == 0.0


def totals(*polls: Poll) -> dict[str, Totals]:
    found: dict[str, Totals] = {}
    for one in polls:
        found.setdefault(one.pop, Totals()).add(one)
    return found


def test_directions_are_what_leaves_an_end() -> None:
    """A core link's are counted where they leave; a host's, where they reach the switch."""
    assert PORT_COUNTERS == ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets", "tx_dropped", "rx_dropped")
    found = directions(
        totals(
            poll(0, {"a.0--a.1": [1, 2, 3, 4, 5, 6], "h--a.0": [10, 20, 30, 40, 50, 60]}),
            poll(NS_PER_S, {"a.0--a.1": [101, 12, 3, 4, 5, 6], "h--a.0": [10, 20, 1030, 41, 50, 61]}),
            poll(7, {"a.0--a.1": [8, 8, 9, 9, 1, 2]}, pop="a.1"),
        )
        | {"a.9": Totals()},
        {"h--a.0": "h"},
    )
    assert {(d.link, d.end): (d.bytes, d.packets, d.dropped, d.rate_bps) for d in found} == {
        ("a.0--a.1", "a.0"): (101, 12, 5, 800.0),
        ("a.0--a.1", "a.1"): (8, 8, 1, None),
        ("h--a.0", "a.0"): (10, 20, 50, 0.0),
        ("h--a.0", "h"): (1030, 41, 61, 8000.0),
    }


def test_a_port_that_was_not_there_before_has_no_rate() -> None:
    (seen,) = directions(totals(poll(0), poll(NS_PER_S, {"x": [9, 9, 9, 9, 9, 9]})), {})
    assert (seen.rate_bps, seen.interval_s, seen.monotonic_ns) == (None, 1.0, NS_PER_S)
    assert seen.to_json().keys() == {
        *("bytes", "packets", "dropped"),
        *("rate_bps", "interval_s", "monotonic_ns"),
    }


def test_pairs_are_summed_over_the_pops_of_the_receiver() -> None:
    found = isp_pairs(
        totals(
            poll(0, pairs={"a": [0, 0], "b": [100, 1]}),
            poll(NS_PER_S, pairs={"a": [0, 0], "b": [1100, 2]}),
            poll(0, pairs={"b": [0, 0]}, pop="a.1"),
            poll(3 * NS_PER_S, pairs={"b": [3000, 3]}, pop="a.1"),
            poll(0, pairs={"a": [70, 7], "b": [0, 0]}, pop="b.0"),
        )
        | {"b.1": Totals()},
        {"a.0": "a", "a.1": "a", "b.0": "b", "b.1": "b"},
    )
    assert found == [
        {
            **{"source": "b", "destination": "a", "bytes": 4100, "packets": 5},
            **{"rate_bps": 16000.0, "interval_s": 2.0},
        },
        {
            **{"source": "a", "destination": "b", "bytes": 70, "packets": 7},
            **{"rate_bps": 0.0, "interval_s": 0.0},
        },
    ]


def test_a_poll_is_written_as_the_record_has_it() -> None:
    written = Poll(1, "a.0", {"x": [1, 2, 3, 4, 5, 6]}, {"b": [7, 8]}, 9, {"slow": [1, 1]}).to_json()
    assert written == {
        **{"monotonic_ns": 1, "pop": "a.0", "ports": {"x": [1, 2, 3, 4, 5, 6]}},
        **{"pairs": {"b": [7, 8]}, "unrouted": 9, "metered": {"slow": [1, 1]}},
    }
