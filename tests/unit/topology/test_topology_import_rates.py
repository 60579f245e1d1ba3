"""Rates out of the words that people label links with."""

from __future__ import annotations

import pytest

from testbed.topology.importers.rates import plausible, read_rate


@pytest.mark.parametrize(
    ("label", "rate_bps"),
    [
        ("10 Gbps", 10**10),
        ("<2.5 Gbit/s", 2_500_000_000),
        ("2,5 Gbit/s", 2_500_000_000),
        ("STM-1", 155_520_000),
        ("2x STM-16", 2 * 16 * 155_520_000),
        ("OC-3c", 155_520_000),
        ("E3", 34_368_000),
        ("T1 (backup)", 1_544_000),
        ("2x 10G", 2 * 10**10),
        ("4*155Mbps", 620_000_000),
        ("10GigE", 10**10),
        ("10 GbE", 10**10),
        ("Gigabit Ethernet", 10**9),
        ("100 Mb/s", 10**8),
        ("64 kbps", 64_000),
        ("56000 bps", 56_000),
        ("10 gigabits per second", 10**10),
        ("Lit Fibre", None),
        ("100 meters", None),
        ("G.703", None),
        ("", None),
    ],
)
def test_a_label_is_read_as_its_rate(label: str, rate_bps: int | None) -> None:
    assert read_rate(label) == rate_bps


@pytest.mark.parametrize("rate_bps", [None, 0.0, -1.0, 999.0, 1e300])
def test_a_rate_that_no_link_has_is_none(rate_bps: float | None) -> None:
    assert plausible(rate_bps) is None
