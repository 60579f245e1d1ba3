"""Link directions as `tc` commands, and the check of what the kernel says it has set."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.emulation.links import (
    FRAME_BYTES,
    LEAST_QUEUE_FRAMES,
    QUEUE_S,
    Shaping,
    all_mismatches,
    change_lines,
    gso_segments,
    mismatches,
    needs_offload,
    questions,
    read_back,
    refusal,
    shaping,
    tc_lines,
    wire_lines,
    wire_mismatches,
)
from testbed.topology.model import Direction, Host, Link, Network

TEN_MEGABIT = Direction(10_000_000, 0.020)


def test_a_direction_becomes_a_class_of_its_rate_with_a_queue_of_a_tenth_of_a_second() -> None:
    assert tc_lines("eth0", shaping(TEN_MEGABIT, emulate_delay=False)) == (
        "qdisc add dev eth0 root handle 1: htb default 1",
        "class add dev eth0 parent 1: classid 1:1 htb rate 10000000bit ceil 10000000bit"
        " burst 3028 cburst 3028 quantum 1514",
        "qdisc add dev eth0 parent 1:1 handle 10: bfifo limit 125000",
    )


def test_a_delay_is_no_matter_of_the_device_that_is_shaped() -> None:
    with_delay, without = (shaping(TEN_MEGABIT, emulate_delay=emulate) for emulate in (True, False))
    assert tc_lines("eth0", with_delay) == tc_lines("eth0", without)


def test_the_end_of_a_wire_delays_what_leaves_it_and_passes_on_what_enters_it() -> None:
    qdisc, ingress, passed_on = wire_lines("w1", "w2", shaping(TEN_MEGABIT, emulate_delay=True))
    # 20 ms of 10 Mbit/s are 25,000 bytes, or 417 of the shortest frames.
    assert qdisc == "qdisc add dev w1 root handle 1: netem delay 20000us limit 1417"
    assert ingress == "qdisc add dev w1 handle ffff: ingress"
    assert passed_on.startswith("filter add dev w1 parent ffff:")
    assert passed_on.endswith("mirred egress redirect dev w2")


def test_a_queue_is_as_long_as_its_link_says() -> None:
    in_packets = shaping(Direction(10_000_000, queue_packets=7), emulate_delay=False)
    in_bytes = shaping(Direction(10_000_000, queue_bytes=4321), emulate_delay=False)
    assert tc_lines("eth0", in_packets)[-1].endswith("pfifo limit 7")
    assert tc_lines("eth0", in_bytes)[-1].endswith("bfifo limit 4321")


def test_a_loss_is_a_filter_into_a_class_that_swallows() -> None:
    lines = tc_lines("eth0", shaping(Direction(10_000_000, loss=0.25), emulate_delay=False))
    assert lines[3:] == (
        "class replace dev eth0 parent 1: classid 1:2 htb rate 10000000bit quantum 1514",
        "qdisc replace dev eth0 parent 1:2 handle 20: blackhole",
        "filter replace dev eth0 parent 1: protocol all prio 1 handle 1 bpf bytecode"
        " '4,32 0 0 4294963256,53 1 0 1073741824,6 0 0 65538,6 0 0 0'",
    )


@given(st.integers(1000, 100 * 10**9))
def test_every_rate_has_room_for_a_burst_of_two_frames_and_a_queue(rate_bps: int) -> None:
    wanted = shaping(Direction(rate_bps), emulate_delay=False)
    assert wanted.queue_bytes is not None
    assert wanted.burst_bytes >= 2 * FRAME_BYTES
    assert LEAST_QUEUE_FRAMES * FRAME_BYTES <= wanted.queue_bytes < 2**31
    assert wanted.queue_bytes >= rate_bps * QUEUE_S / 8 - 1


def test_a_change_touches_what_changed_and_deletes_nothing() -> None:
    before = shaping(Direction(10_000_000, loss=0.1, queue_bytes=50_000), emulate_delay=False)
    slower = shaping(Direction(5_000_000, loss=0.1, queue_bytes=50_000), emulate_delay=False)
    assert change_lines("eth0", before, slower) == (
        "class change dev eth0 parent 1: classid 1:1 htb rate 5000000bit ceil 5000000bit"
        " burst 3028 cburst 3028 quantum 1514",
    )
    shorter = shaping(Direction(10_000_000, loss=0.1, queue_bytes=20_000), emulate_delay=False)
    assert change_lines("eth0", before, shorter) == (
        "qdisc change dev eth0 parent 1:1 handle 10: bfifo limit 20000",
    )
    (loss,) = change_lines("eth0", before, replace(before, loss=0.0))
    assert loss.startswith("filter replace dev eth0 ")
    assert ",53 1 0 0," in loss
    assert change_lines("eth0", before, before) == ()
    without = replace(before, loss=0.0)
    assert [line.split()[0:2] for line in change_lines("eth0", without, before)] == [
        ["class", "replace"],
        ["qdisc", "replace"],
        ["filter", "replace"],
    ]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("rate_bps", 999, "a rate of 999 bit/s"),
        ("rate_bps", 10**13, "a rate"),
        ("rate_bps", float("nan"), "a rate of nan"),
        ("delay_s", 60.0, "a delay of 60.0 s"),
        ("delay_s", -0.001, "a delay"),
        ("delay_s", float("nan"), "a delay of nan"),
        ("delay_s", float("inf"), "a delay of inf"),
        ("loss", 1.0, "a loss of 1.0"),
        ("loss", -0.1, "a loss"),
        ("loss", float("nan"), "a loss of nan"),
        ("queue_bytes", 0, "a queue of 0"),
        ("queue_bytes", 2**31, "a queue of 2147483648"),
        ("queue_packets", 7, "between bytes and packets"),
    ],
)
def test_what_no_link_can_change_to_is_refused(field: str, value: float, reason: str) -> None:
    assert reason in refusal(TEN_MEGABIT, replace(TEN_MEGABIT, **{field: value}))


def test_more_than_a_wire_holds_is_refused() -> None:
    assert "a wire holds" in refusal(TEN_MEGABIT, replace(TEN_MEGABIT, rate_bps=10**12, delay_s=59.0))


@given(
    st.integers(1000, 10**10),
    st.floats(0, 60, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 2**31 - 1),
)
def test_what_a_topology_may_say_of_a_link_is_not_refused(
    rate_bps: int, delay_s: float, loss: float, queue_bytes: int
) -> None:
    wanted = Direction(rate_bps, delay_s=delay_s, loss=loss, queue_bytes=queue_bytes)
    assert refusal(TEN_MEGABIT, wanted) == ""


@given(st.lists(st.tuples(st.integers(1, 10**6), st.sampled_from(["", "K", "M", "G", "T"])), max_size=5))
def test_rates_are_read_as_tc_writes_them(rates: list[tuple[int, str]]) -> None:
    factors = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    text = "".join(
        f"class htb 1:1 root leaf 10: prio 0 rate {number}{unit}bit ceil 1Gbit burst 3028b cburst 3028b \n"
        for number, unit in rates
    )
    assert read_back(text + "[]", []).rates_bps == tuple(number * factors[unit] for number, unit in rates)


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
    # The class of lost packets has a rate too.
    lost = "class htb 1:2 root leaf 20: prio 0 rate 77Mbit ceil 77Mbit burst 3028b cburst 3028b \n"
    assert read_back(line + lost + "[]", []).rates_bps == (rate_bps,)


def test_a_newer_tc_tells_classes_in_json_and_bytes_a_second() -> None:
    classes = [
        {"class": "htb", "handle": "1:1", "root": True, "leaf": "10:", "prio": 0, "rate": 187500},
        {"class": "htb", "handle": "1:2", "root": True, "leaf": "20:", "prio": 0, "rate": 1},
    ]
    assert read_back(json.dumps(classes) + "\n[]\n[]", ["eth0"]).rates_bps == (1_500_000,)


def leaf(kind: str, limit: int) -> dict[str, Any]:
    return {"kind": kind, "handle": "10:", "parent": "1:1", "options": {"limit": limit}}


def netem(delay_s: float, limit: int = 1417) -> dict[str, Any]:
    options = {"limit": limit, "delay": {"delay": delay_s, "jitter": 0, "correlation": 0}}
    return {"kind": "netem", "handle": "1:", "root": True, "options": options}


HTB = {"kind": "htb", "handle": "1:", "root": True, "options": {}}


def test_what_is_as_wanted_has_no_mismatch() -> None:
    wanted = shaping(TEN_MEGABIT, emulate_delay=True)
    assert mismatches("eth0", wanted, 10_000_000, [HTB, leaf("bfifo", 125_000)]) == []
    assert wire_mismatches("w1", wanted, [netem(0.020)]) == []
    in_packets = replace(wanted, queue_bytes=None, queue_packets=7)
    assert mismatches("eth0", in_packets, 10_000_000, [HTB, leaf("pfifo", 7)]) == []


def test_a_mismatch_names_the_device_and_both_values() -> None:
    wanted = shaping(TEN_MEGABIT, emulate_delay=True)
    assert mismatches("eth0", wanted, 9_000_000, [HTB, leaf("pfifo", 1000)]) == [
        "eth0: rate is 9000000 bit/s, wanted 10000000",
        "eth0: queue is pfifo 1000, wanted bfifo 125000",
    ]
    assert mismatches("eth0", wanted, 10_000_000, [HTB]) == ["eth0: 0 leaf qdiscs, wanted 1"]
    assert wire_mismatches("w1", wanted, [netem(0.1, 1000)]) == [
        "w1: delay is 0.1 s, wanted 0.02",
        "w1: it holds 1000 packets, wanted 1417",
    ]
    assert wire_mismatches("w1", wanted, [HTB]) == ["w1: 0 netem qdiscs, wanted 1"]


def lossy_answers(device: str, threshold: int) -> str:
    """What `tc -j` prints for a device with loss."""
    program = [(32, 4294963256), (53, threshold), (6, 65538), (6, 0)]
    code = {"length": 4, "insns": [{"code": code, "jt": 0, "jf": 0, "k": k} for code, k in program]}
    filters = [
        {"parent": "1:", "protocol": "all", "pref": 1, "kind": "bpf", "chain": 0},
        {"kind": "bpf", "chain": 0, "options": {"handle": "0x1", "not_in_hw": True, "bytecode": code}},
    ]
    qdiscs = [{**HTB, "dev": device}, {**leaf("bfifo", 125_000), "dev": device}]
    rate = "class htb 1:1 root leaf 10: prio 0 rate 10Mbit ceil 10Mbit burst 3028b cburst 3028b"
    return "\n".join([rate, json.dumps(filters), json.dumps(qdiscs)])


@given(st.floats(0.0001, 0.99))
def test_a_loss_is_read_back_and_compared(loss: float) -> None:
    wanted = shaping(Direction(10_000_000, loss=loss), emulate_delay=False)
    threshold = round(loss * 2**32)
    asked = ("class show dev eth0", "filter show dev eth0", "qdisc show")
    assert questions(["eth0"]) == asked
    assert f"53 1 0 {threshold}," in tc_lines("eth0", wanted)[-1]
    assert lossy_mismatches(wanted, threshold) == ()
    (wrong,) = lossy_mismatches(wanted, threshold + 4096)
    assert wrong.startswith("eth0: loss is 0.")
    assert wrong.endswith(f"wanted {loss}")


def lossy_mismatches(wanted: Shaping, threshold: int) -> tuple[str, ...]:
    return all_mismatches({"eth0": wanted}, {}, read_back(lossy_answers("eth0", threshold), ["eth0"]))


def test_a_device_that_is_not_shaped_or_loses_nothing_is_missed() -> None:
    wanted = shaping(Direction(10_000_000, loss=0.25), emulate_delay=False)
    nothing = read_back("[]\n[]\n[]", ["eth0"])
    assert all_mismatches({"eth0": wanted}, {}, nothing) == ("0 shaped devices, wanted 1",)
    rate, _, qdiscs = lossy_answers("eth0", 0).splitlines()
    found = read_back(f"{rate}\n[]\n{qdiscs}", ["eth0"])
    assert all_mismatches({"eth0": wanted}, {}, found) == ("eth0: loss is 0.0, wanted 0.25",)


def test_a_loss_that_did_not_go_is_a_mismatch() -> None:
    wanted = shaping(Direction(10_000_000), emulate_delay=False)
    assert lossy_mismatches(wanted, 0) == ()
    assert lossy_mismatches(wanted, 2**31) == ("eth0: loss is 0.5, wanted 0.0",)


def test_qdiscs_of_devices_that_are_asked_for_one_by_one_are_told_without_names() -> None:
    asked = ("class show dev eth0", "filter show dev eth0", "qdisc show dev eth0", "qdisc show dev w1")
    assert questions(["eth0"], ["eth0", "w1"]) == asked
    wire = [netem(0.020), {"kind": "ingress", "handle": "ffff:"}]
    rate = "class htb 1:1 root leaf 10: prio 0 rate 10Mbit ceil 10Mbit"
    answers = "\n".join([rate, "[]", json.dumps([HTB, leaf("bfifo", 125_000)]), json.dumps(wire)])
    wanted = shaping(TEN_MEGABIT, emulate_delay=True)
    # What lines before the questions printed is none of it.
    found = read_back("[]\n" + answers, ["eth0"], ["eth0", "w1"])
    assert all_mismatches({"eth0": wanted}, {"w1": wanted}, found) == ()
    slower = replace(wanted, delay_s=0.5)
    wrong = all_mismatches({"eth0": wanted}, {"w1": slower}, found)
    assert wrong[0] == "w1: delay is 0.02 s, wanted 0.5"


def test_a_loss_of_nearly_all_fits_into_what_the_kernel_compares() -> None:
    wanted = shaping(Direction(10_000_000, loss=1 - 1e-12), emulate_delay=False)
    assert wanted.loss_threshold == 2**32 - 1


@pytest.mark.parametrize(
    ("wanted_bps", "printed_bps"),
    [(1500, 1496), (800_500, 800_496), (1_234_567, 1_234_000), (1_234_500_000, 1_234_000_000)],
)
def test_a_rate_that_the_kernel_rounds_or_tc_cuts_is_no_mismatch(wanted_bps: int, printed_bps: int) -> None:
    wanted = shaping(Direction(wanted_bps), emulate_delay=False)
    assert wanted.queue_bytes is not None
    qdiscs = [HTB, leaf("bfifo", wanted.queue_bytes)]
    assert mismatches("eth0", wanted, printed_bps, qdiscs) == []
    for wrong in (printed_bps - max(8, wanted_bps // 500), wanted_bps + 8):
        assert len(mismatches("eth0", wanted, wrong, qdiscs)) == 1


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
