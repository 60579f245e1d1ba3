from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from testbed.spec.units import (
    FRAME_BYTES,
    QueueLength,
    format_rate,
    parse_duration,
    parse_loss,
    parse_queue,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "bps"),
    [("10 Mbit/s", 10_000_000), ("64kbit/s", 64_000), ("1.5 Gbit/s", 1_500_000_000), ("5000 bit/s", 5000)],
)
def test_a_rate_is_read_in_bits_a_second(text: str, bps: int) -> None:
    assert parse_rate(text) == bps


@pytest.mark.parametrize(
    ("text", "seconds"), [("20 ms", 0.02), ("1 s", 1.0), ("500 us", 0.0005), ("2 min", 120.0)]
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "size"), [("16 MiB", 2**24), ("1 kB", 1000), ("64 KiB", 65536)])
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "share"), [("0.5 %", 0.005), ("0 %", 0.0), ("0.7%", 0.007), ("99.9 %", 0.999)]
)
def test_a_loss_is_read_as_a_share_of_the_packets(text: str, share: float) -> None:
    assert parse_loss(text) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "bytes_at_8_mbit_s", "packets", "drain_s"),
    [
        ("50 packets", None, 50, 50 * FRAME_BYTES / 1e6),
        ("1 packet", None, 1, FRAME_BYTES / 1e6),
        ("64 KiB", 65536, None, 0.065536),
        ("20 ms", 20_000, None, 0.02),
    ],
)
def test_a_queue_is_packets_or_bytes_or_a_time_at_the_rate_of_its_link(
    text: str, bytes_at_8_mbit_s: int | None, packets: int | None, drain_s: float
) -> None:
    queue = parse_queue(text)
    assert (queue.bytes_at(8_000_000), queue.packets) == (bytes_at_8_mbit_s, packets)
    assert queue.drain_s_at(8_000_000) == pytest.approx(drain_s)


@given(st.integers(1, 2**31 - 1))
def test_every_number_of_packets_is_read_exactly(packets: int) -> None:
    assert parse_queue(f"{packets} packets") == QueueLength(packets=packets)


@pytest.mark.parametrize("text", ["2147483648 packets", "1e999 packets", "1e99 s", "1e99 B"])
def test_a_queue_that_no_machine_has_is_refused(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        parse_queue(text)


@pytest.mark.parametrize("bare", ["10", 10, 10.5])
def test_a_bare_number_is_refused_because_its_unit_is_missing(bare: object) -> None:
    with pytest.raises(PydanticCustomError, match="has no unit"):
        parse_rate(bare)


@pytest.mark.parametrize("text", ["10 Mbps", "10 mbit/s", "10 MB"])
def test_an_unknown_unit_is_refused(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="unknown unit"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("parse", "text", "meant"),
    [
        (parse_rate, "10 Mbps", "10 Mbit/s"),
        (parse_rate, "10 mbit/s", "10 Mbit/s"),
        (parse_rate, "10 MB/s", "80 Mbit/s"),
        (parse_rate, "1.5 kBytes/s", "12 kbit/s"),
        (parse_rate, "1e3 gbps", "1e3 Gbit/s"),
        (parse_rate, "2 Tbit/s", "2000 Gbit/s"),
        (parse_rate, "10 M", "10 Mbit/s"),
        (parse_rate, "5000 bps", "5000 bit/s"),
        (parse_duration, "20 msec", "20 ms"),
        (parse_duration, "20 \u00b5s", "20 us"),
        (parse_duration, "20 \u03bcs", "20 us"),
        (parse_duration, "1 Second", "1 s"),
        (parse_duration, "2 hours", "2 h"),
        (parse_size, "16 mib", "16 MiB"),
        (parse_size, "16 KB", "16 kB"),
        (parse_size, "2 TiB", "2048 GiB"),
        (parse_size, "100 bytes", "100 B"),
        (parse_loss, "5 Percent", "5 %"),
        (parse_queue, "50 pkts", "50 packets"),
        (parse_queue, "50 Packets", "50 packets"),
        (parse_queue, "64 kb", "64 kB"),
        (parse_queue, "20 msec", "20 ms"),
    ],
)
def test_what_others_call_a_unit_is_not_taken_but_understood(
    parse: Callable[[str], object], text: str, meant: str
) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse(text)
    assert caught.value.message() == f"'{text}' has an unknown unit; did you mean '{meant}'?"
    parse(meant)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_rate, "10 s"),
        (parse_rate, "10 apples"),
        (parse_duration, "5 m"),
        (parse_size, "3 i"),
        (parse_queue, "5 m"),
    ],
)
def test_a_unit_that_may_be_anything_gets_no_guess(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(PydanticCustomError, match=r"has an unknown unit$"):
        parse(text)


@pytest.mark.parametrize("text", ["fast", "-5 Mbit/s", "", True, None, [1]])
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_rate(text)


def test_a_rate_below_a_kilobit_is_refused() -> None:
    with pytest.raises(PydanticCustomError, match="too slow"):
        parse_rate("10 bit/s")


@given(st.integers(1000, 10**11))
def test_every_whole_rate_survives_being_written_in_bits(bps: int) -> None:
    assert parse_rate(f"{bps} bit/s") == bps


def test_rates_are_written_in_their_usual_units() -> None:
    assert format_rate(1_500_000) == "1.5 Mbit/s"
    assert format_rate(12) == "12 bit/s"
    assert format_rate(90_000 * 10**9) == "90000 Gbit/s"
