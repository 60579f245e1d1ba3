"""What the machine had to do while a trial ran, sampled each second, and whether that can be trusted.

`Probe` reads the kernel's own counters and how late a sleeping thread wakes; `judge` is pure: samples in,
reasons for doubt out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

_SLEEP_S = 0.01
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

BUSY_LIMIT = 0.95
"""Above this share of all cores, processes wait for a core, and delays are the machine's own."""

LATE_LIMIT_S = 0.05
"""A wake-up later than this delays a packet by more than any link of a usual topology does."""

_SHARE_OF_SECONDS = 0.1


@dataclass(frozen=True)
class Sample:
    """One second of the machine. Shares are of all cores; `datapath_cpu` is the busiest switch's, of one."""

    t_ns: int
    cpu_busy: float
    cpu_steal: float
    datapath_cpu: float
    wakeup_late_s: float
    softnet_drops: int
    memory_available: int

    def row(self) -> dict[str, Any]:
        return asdict(self)


class Probe:
    """Samples the machine; `sample` once a second from the trial's loop."""

    def __init__(self, switch_pids: Sequence[int]) -> None:
        self._switch_pids = switch_pids
        self._late_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sleep_and_wake, name="wake-up probe", daemon=True)
        self._before = self._counters()
        self._thread.start()

    def sample(self) -> Sample:
        """What happened since the last sample."""
        now, before = self._counters(), self._before
        self._before = now
        seconds = (now["t_ns"] - before["t_ns"]) / 1e9
        total = max(1, now["total"] - before["total"])
        late, self._late_s = self._late_s, 0.0
        busiest = max(now[pid] - before[pid] for pid in self._switch_pids)
        return Sample(
            t_ns=now["t_ns"],
            cpu_busy=(now["busy"] - before["busy"]) / total,
            cpu_steal=(now["steal"] - before["steal"]) / total,
            datapath_cpu=busiest / _TICKS_PER_S / max(seconds, 1e-3),
            wakeup_late_s=late,
            softnet_drops=now["softnet"] - before["softnet"],
            memory_available=available_memory_bytes(),
        )

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _sleep_and_wake(self) -> None:
        while not self._stop.is_set():
            due = time.monotonic() + _SLEEP_S
            time.sleep(_SLEEP_S)
            self._late_s = max(self._late_s, time.monotonic() - due)

    def _counters(self) -> Mapping[str | int, int]:
        user, nice, system, idle, iowait, irq, softirq, steal, *_ = (
            int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
        busy = user + nice + system + irq + softirq + steal
        return {
            "t_ns": time.monotonic_ns(),
            "busy": busy,
            "total": busy + idle + iowait,
            "steal": steal,
            "softnet": _softnet_drops(),
            **{pid: _process_ticks(pid) for pid in self._switch_pids},
        }


def judge(samples: Sequence[Sample]) -> list[str]:
    """Why a trial with these samples can't be trusted; empty where nothing speaks against it.

    One bad second is noise; a tenth of all seconds is not.
    """
    if not samples:
        return ["no sample of the machine was taken"]
    reasons = []
    busy = np.array([sample.cpu_busy for sample in samples])
    late = np.array([sample.wakeup_late_s for sample in samples])
    for values, limit, words in (
        (busy, BUSY_LIMIT, "all cores were over {limit:.0%} busy in {share:.0%} of the seconds"),
        (late, LATE_LIMIT_S, "a sleeping probe woke over {limit:.3f} s late in {share:.0%} of the seconds"),
    ):
        share = float((values > limit).mean())
        if share > _SHARE_OF_SECONDS:
            reasons.append(words.format(limit=limit, share=share))
    drops = sum(sample.softnet_drops for sample in samples)
    if drops:
        reasons.append(f"the kernel dropped {drops} packets before any link did (softnet backlog)")
    return reasons


def available_memory_bytes() -> int:
    """Memory that programs can still have."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _process_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _softnet_drops() -> int:
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines)
