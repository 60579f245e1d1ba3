"""Whether the machine's load speaks against a trial, and the probe that samples it."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from testbed.emulation.fidelity import BUSY_LIMIT, LATE_LIMIT_S, Probe, Sample, judge

CALM = Sample(0, cpu_busy=0.5, cpu_steal=0.0, datapath_cpu=0.3, wakeup_late_s=0.001, softnet_drops=0,
              memory_available=2**30)  # fmt: skip


def test_a_calm_machine_speaks_against_nothing() -> None:
    assert judge([CALM] * 20) == []


def test_no_sample_at_all_is_a_reason() -> None:
    assert judge([]) == ["no sample of the machine was taken"]


def test_one_bad_second_of_many_is_noise_and_a_tenth_of_them_is_not() -> None:
    for bad in (replace(CALM, cpu_busy=BUSY_LIMIT + 0.01), replace(CALM, wakeup_late_s=LATE_LIMIT_S + 0.01)):
        assert judge([CALM] * 19 + [bad]) == []
        assert len(judge([CALM] * 17 + [bad] * 3)) == 1


def test_reasons_name_the_limit_and_the_share() -> None:
    (busy,) = judge([replace(CALM, cpu_busy=1.0)] * 2 + [CALM] * 2)
    assert busy == "all cores were over 95% busy in 50% of the seconds"
    (late,) = judge([replace(CALM, wakeup_late_s=0.2)] * 4)
    assert late == "a sleeping probe woke over 0.050 s late in 100% of the seconds"


def test_packets_that_the_kernel_dropped_before_any_link_are_a_reason_at_once() -> None:
    (reason,) = judge([CALM] * 50 + [replace(CALM, softnet_drops=3)])
    assert reason.startswith("the kernel dropped 3 packets")


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
        assert sample.memory_available > 2**20
        assert sample.wakeup_late_s >= 0
        second = probe.sample()
        assert second.t_ns > sample.t_ns
    finally:
        probe.close()
