"""Batches of `ip` and `tc`: what they print, and that the line which failed is named."""

from __future__ import annotations

import shutil

import pytest

from testbed.emulation.commands import Batch, apply, query_json, query_text
from testbed.errors import RunError

pytestmark = pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")


def test_the_line_that_failed_is_named() -> None:
    batch = Batch("ip", "", ("link show dev lo", "link show dev not-a-device", "link show dev lo"))
    with pytest.raises(RunError, match=r"^ip link show dev not-a-device in the machine: .*not-a-device"):
        apply([batch])


def test_one_of_several_batches_that_fails_is_the_error() -> None:
    good, bad = Batch("ip", "", ("link show dev lo",)), Batch("ip", "", ("link shwo",))
    apply([good, good])
    with pytest.raises(RunError, match="shwo"):
        apply([good, bad, good])


def test_a_namespace_that_does_not_exist_is_named() -> None:
    with pytest.raises(RunError, match="no-such-namespace"):
        apply([Batch("ip", "no-such-namespace", ("link set dev lo up",))])
    with pytest.raises(RunError, match="no-such-namespace"):
        query_text("ip", "no-such-namespace", ["link"])


def test_answers_come_as_json_or_text() -> None:
    assert [item["ifname"] for item in query_json("ip", "", "link show dev lo")] == ["lo"]
    assert query_text("ip", "", ["link show dev lo"] * 2).count("lo:") == 2
    with pytest.raises(RunError, match="not-a-device"):
        query_json("ip", "", "link show dev not-a-device")
