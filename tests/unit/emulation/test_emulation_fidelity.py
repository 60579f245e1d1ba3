"""Whether the machine's load speaks against a trial, and the probe that samples it."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from testbed.emulation.delay.kernel import LATE_CLASSES
from testbed.emulation.delay.line import LineCounters
from testbed.emulation.fidelity import (
    BUSY_LIMIT,
    DATAPATH_LATE_LIMIT_S,
    LATE_LIMIT_S,
    LINE_LATE_LIMIT_S,
    LINE_LIMIT,
    PRESSURE_LIMIT,
    STEAL_LIMIT,
    Probe,
    Sample,
    judge,
)

CALM = Sample(0, cpu_busy=0.5, cpu_steal=0.0, datapath_cpu=0.3, wakeup_late_s=0.001, softnet_drops=0,
              memory_available=2**30)  # fmt: skip


def test_a_calm_machine_speaks_against_nothing() -> None:
    assert judge([CALM] * 20) == []


def test_no_sample_at_all_is_a_reason() -> None:
    assert judge([]) == ["no sample of the machine was taken"]


FULL = replace(CALM, cpu_pressure=0.1, datapath_late_s=0.0, line_cpu=0.1, line_late_s=0.0, line_lost=0)
"""The same of a machine that has all that is sampled."""


@pytest.mark.parametrize(
    "bad",
    [
        replace(FULL, cpu_busy=BUSY_LIMIT + 0.01),
        replace(FULL, cpu_steal=STEAL_LIMIT + 0.01),
        replace(FULL, cpu_pressure=PRESSURE_LIMIT + 0.01),
        replace(FULL, wakeup_late_s=LATE_LIMIT_S + 0.01),
        replace(FULL, datapath_late_s=DATAPATH_LATE_LIMIT_S + 0.001),
        replace(FULL, line_cpu=LINE_LIMIT + 0.01),
        replace(FULL, line_late_s=LINE_LATE_LIMIT_S + 0.001),
    ],
)
def test_one_bad_second_of_many_is_noise_and_a_tenth_of_them_is_not(bad: Sample) -> None:
    assert judge([FULL] * 19 + [bad]) == []
    assert len(judge([FULL] * 17 + [bad] * 3)) == 1


@pytest.mark.parametrize(("late_us", "reasons"), [(2040, 0), (2050, 1)])
def test_a_delay_line_may_be_as_late_as_its_limit(late_us: int, reasons: int) -> None:
    late = [0] * LATE_CLASSES
    late[late_us.bit_length()] = 1
    counters = LineCounters(1, 0, 0, 0, tuple(late))
    assert len(judge([replace(FULL, line_late_s=counters.late_s(0.99))])) == reasons


def test_a_userspace_switch_may_use_its_core_wholly() -> None:
    assert judge([replace(CALM, datapath_cpu=1.0)] * 20) == []


def test_what_a_machine_does_not_have_is_not_judged() -> None:
    assert CALM.cpu_pressure is CALM.line_late_s is CALM.datapath_late_s is None
    assert judge([CALM] * 5) == []


def test_reasons_name_the_limit_and_the_share() -> None:
    (busy,) = judge([replace(CALM, cpu_busy=1.0)] * 2 + [CALM] * 2)
    assert busy == f"all cores were over {BUSY_LIMIT:.0%} busy in 2 of 4 seconds, at most 100%"
    (late,) = judge([replace(CALM, wakeup_late_s=0.2)] * 4)
    assert late == f"a sleeping probe woke over {LATE_LIMIT_S:.3f} s late in 4 of 4 seconds, at most 0.200 s"


def test_packets_that_the_kernel_dropped_before_any_link_are_a_reason_at_once() -> None:
    (reason,) = judge([CALM] * 50 + [replace(CALM, softnet_drops=3)])
    assert reason.startswith("the kernel dropped 3 packets")


def test_frames_that_the_delay_line_lost_are_a_reason_at_once() -> None:
    (reason,) = judge([CALM] * 50 + [replace(CALM, line_lost=2)])
    assert reason == "the delay line lost 2 frames that no link dropped"


def test_the_probe_sees_what_a_busy_process_takes() -> None:
    probe = Probe([os.getpid()])
    try:
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            pass
        sample = probe.sample()
        assert 0.3 < sample.datapath_cpu < 1.5
        assert 0 < sample.cpu_busy <= 1
        assert 0 <= sample.cpu_steal <= 1
        assert sample.cpu_pressure is None or 0 <= sample.cpu_pressure <= 1.1
        assert sample.line_late_s is sample.datapath_late_s is None
        assert sample.memory_available > 2**20
        assert sample.wakeup_late_s >= 0
        second = probe.sample()
        assert second.t_ns > sample.t_ns
    finally:
        probe.close()
