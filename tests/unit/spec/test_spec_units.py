from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from testbed.spec.units import format_rate, format_size, parse_duration, parse_rate, parse_size


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


@pytest.mark.parametrize("bare", ["10", 10, 10.5])
def test_a_bare_number_is_refused_because_its_unit_is_missing(bare: object) -> None:
    with pytest.raises(PydanticCustomError, match="has no unit"):
        parse_rate(bare)


@pytest.mark.parametrize("text", ["10 Mbps", "10 mbit/s", "10 MB"])
def test_an_unknown_unit_is_refused(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="unknown unit"):
        parse_rate(text)


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


def test_rates_and_sizes_are_written_in_their_usual_units() -> None:
    assert format_rate(1_500_000) == "1.5 Mbit/s"
    assert format_rate(12) == "12 bit/s"
    assert format_size(4 * 2**20) == "4 MiB"
    assert format_size(100) == "100 B"
