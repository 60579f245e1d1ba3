"""Link directions as `tc` commands, and the check of what the kernel says it has set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.emulation.links import (
    FRAME_BYTES,
    LEAST_QUEUE_FRAMES,
    QUEUE_S,
    gso_segments,
    mismatches,
    needs_offload,
    rates_in,
    shaping,
    tc_lines,
)
from testbed.topology.model import Direction, Host, Link, Network

TEN_MEGABIT = Direction(10_000_000, 0.020)


def test_a_direction_becomes_a_class_of_its_rate_with_a_queue_of_a_tenth_of_a_second() -> None:
    assert tc_lines("eth0", shaping(TEN_MEGABIT, emulate_delay=False)) == (
        "qdisc add dev eth0 root handle 1: htb default 1",
        "class add dev eth0 parent 1: classid 1:1 htb rate 10000000bit ceil 10000000bit"
        " burst 3028 cburst 3028 quantum 1514",
        "qdisc add dev eth0 parent 1:1 handle 10: pfifo limit 83",
    )


def test_an_emulated_delay_is_a_netem_that_holds_the_queue_and_what_is_on_the_wire() -> None:
    leaf = tc_lines("eth0", shaping(TEN_MEGABIT, emulate_delay=True))[-1]
    # 20 ms of 10 Mbit/s are 16.5 frames.
    assert leaf == f"qdisc add dev eth0 parent 1:1 handle 10: netem delay 20000us limit {83 + 17 + 1}"


def test_a_direction_without_delay_needs_no_netem_where_there_is_one() -> None:
    assert "pfifo" in tc_lines("eth0", shaping(Direction(10_000_000), emulate_delay=True))[-1]


@given(st.integers(1000, 100 * 10**9))
def test_every_rate_has_room_for_a_burst_of_two_frames_and_a_queue(rate_bps: int) -> None:
    wanted = shaping(Direction(rate_bps), emulate_delay=False)
    assert wanted.burst_bytes >= 2 * FRAME_BYTES
    assert wanted.queue_frames >= LEAST_QUEUE_FRAMES
    assert wanted.queue_frames * FRAME_BYTES * 8 >= rate_bps * QUEUE_S - FRAME_BYTES * 8


@given(st.lists(st.tuples(st.integers(1, 10**6), st.sampled_from(["", "K", "M", "G"])), max_size=5))
def test_rates_are_read_as_tc_writes_them(rates: list[tuple[int, str]]) -> None:
    factors = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
    text = "".join(
        f"class htb 1:1 root leaf 10: prio 0 rate {number}{unit}bit ceil 1Gbit burst 3028b cburst 3028b \n"
        for number, unit in rates
    )
    assert rates_in(text) == [number * factors[unit] for number, unit in rates]


@pytest.mark.parametrize(
    ("words", "rate_bps"),
    [
        ("800bit", 800),
        ("800Kbit", 800_000),
        ("1500Kbit", 1_500_000),
        ("12.5Mbit", 12_500_000),
        ("1Gbit", 10**9),
    ],
)
def test_a_rate_is_read_with_its_suffix(words: str, rate_bps: int) -> None:
    line = f"class htb 1:1 root leaf 10: prio 0 rate {words} ceil 99Mbit burst 3028b cburst 3028b \n"
    assert rates_in(line) == [rate_bps]


def pfifo(limit: int) -> dict[str, Any]:
    return {"kind": "pfifo", "handle": "10:", "parent": "1:1", "options": {"limit": limit}}


def netem(delay_s: float) -> dict[str, Any]:
    options = {"limit": 101, "delay": {"delay": delay_s, "jitter": 0, "correlation": 0}}
    return {"kind": "netem", "handle": "10:", "parent": "1:1", "options": options}


HTB = {"kind": "htb", "handle": "1:", "root": True, "options": {}}


def test_what_is_as_wanted_has_no_mismatch() -> None:
    without, with_delay = (shaping(TEN_MEGABIT, emulate_delay=emulate) for emulate in (False, True))
    assert mismatches("eth0", without, 10_000_000, [HTB, pfifo(83)]) == []
    assert mismatches("eth0", with_delay, 10_000_000, [HTB, netem(0.020)]) == []


def test_a_mismatch_names_the_device_and_both_values() -> None:
    without, with_delay = (shaping(TEN_MEGABIT, emulate_delay=emulate) for emulate in (False, True))
    assert mismatches("eth0", without, 9_000_000, [HTB, pfifo(1000)]) == [
        "eth0: rate is 9000000 bit/s, wanted 10000000",
        "eth0: queue is 1000 frames, wanted 83",
    ]
    assert mismatches("eth0", with_delay, 10_000_000, [HTB, netem(0.1)]) == [
        "eth0: delay is 0.1 s, wanted 0.02"
    ]
    assert mismatches("eth0", with_delay, 10_000_000, [HTB, pfifo(83)]) == [
        "eth0: delay is 0.0 s, wanted 0.02"
    ]
    assert mismatches("eth0", without, 10_000_000, [HTB]) == ["eth0: 0 leaf qdiscs, wanted 1"]


@pytest.mark.parametrize(
    ("wanted_bps", "printed_bps"),
    [(1500, 1496), (800_500, 800_496), (1_234_567, 1_234_000), (1_234_500_000, 1_234_000_000)],
)
def test_a_rate_that_the_kernel_rounds_or_tc_cuts_is_no_mismatch(wanted_bps: int, printed_bps: int) -> None:
    wanted = shaping(Direction(wanted_bps), emulate_delay=False)
    leaf = pfifo(wanted.queue_frames)
    assert mismatches("eth0", wanted, printed_bps, [HTB, leaf]) == []
    for wrong in (printed_bps - max(8, wanted_bps // 500), wanted_bps + 8):
        assert len(mismatches("eth0", wanted, wrong, [HTB, leaf])) == 1


def test_slow_hosts_send_single_segments_and_fast_ones_a_millisecond_at_once() -> None:
    assert [gso_segments(rate) for rate in (1_000_000, 99_999_999, 100_000_000, 10**10)] == [1, 1, 8, 40]


def test_segment_offload_is_needed_where_one_host_sends_fast() -> None:
    def network(*rates_bps: int) -> Network:
        hosts, links = [], []
        for number, rate in enumerate(rates_bps):
            name = f"h{number}"
            hosts.append(Host(name, "a.b", "a", "leecher", "10.1.1.2", "", "line", name))
            links.append(Link(name, "access", name, "a.b", Direction(rate), Direction(10**9)))
        return Network("n", (), (), tuple(links), tuple(hosts))

    # What hosts receive at a gigabit is not sent by them.
    assert not needs_offload(network(1_000_000, 50_000_000))
    assert needs_offload(network(1_000_000, 200_000_000))
