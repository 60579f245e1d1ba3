"""What the machine had to do while a trial ran, sampled each second, and whether that can be trusted.

`Probe` reads the kernel's own counters, those of a delay line, and how late a sleeping thread wakes; `judge`
is pure: samples in, reasons for doubt out. docs/fidelity.md says where the limits come from.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from testbed.emulation.cpu import CoreTimes, core_times, cpu_s, thread_cpu_s
from testbed.emulation.delay.line import DelayLine, LineCounters
from testbed.emulation.machine import available_memory_bytes
from testbed.emulation.measurement import Echo, Echoes

_SLEEP_S = 0.01
_PRESSURE = Path("/proc/pressure/cpu")

BUSY_LIMIT = 0.98
"""Above this share of all cores, processes wait for a core, and delays are the machine's own."""

STEAL_LIMIT = 0.05
"""A hypervisor that takes more than this from all cores stops every process for milliseconds at a time."""

PRESSURE_LIMIT = 0.9
"""Share of a second in which some process waited for a core. Bursts of many clients alone make some."""

LATE_LIMIT_S = 0.02
"""A process that wakes later than this is late by as much as a long link delays; idle: below 0.01."""

DATAPATH_LATE_LIMIT_S = 0.002
"""A switch's answer that is later than this, in the median of a second, is later than a link may be off.

How much of a core a switch uses tells nothing: a userspace one asks its ports without end.
"""

LINE_LIMIT = 0.95
"""A delay line that uses more than this of one core has no time left for more frames."""

LINE_LATE_LIMIT_S = 2**11 / 1e6
"""One frame in a hundred leaves the delay line later than this: more than a link's delay may be off.

The line counts by powers of two of a microsecond, and this is the one that is nearest to 2 ms.
"""

SHARE_OF_SECONDS = 0.1
"""One bad second is noise; more than this share of all seconds is not."""

_LINE_SHARE = 0.99


@dataclass(frozen=True)
class Sample:
    """One second of the machine. What this machine does not have is None.

    `cpu_busy` and `cpu_steal` are shares of all cores, `datapath_cpu` that of the busiest thread of a switch
    and `line_cpu` that of the delay line, of one core. `cpu_pressure` is the share of the time in which some
    process waited for a core. `datapath_late_s` is the median of what switches took too long to answer,
    `line_late_s` what one frame in a hundred left the delay line late by.
    """

    t_ns: int
    cpu_busy: float
    cpu_steal: float
    datapath_cpu: float
    wakeup_late_s: float
    softnet_drops: int
    memory_available: int
    cpu_pressure: float | None = None
    datapath_late_s: float | None = None
    line_cpu: float | None = None
    line_late_s: float | None = None
    line_lost: int | None = None

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Counters:
    """What only grows, at one moment."""

    t_ns: int
    cores: CoreTimes
    pressure_us: int | None
    softnet: int
    thread_s: Mapping[int, float]
    line_s: float
    line: LineCounters | None


class Probe:
    """Samples the machine; `sample` once a second from the trial's loop."""

    def __init__(
        self, switch_pids: Sequence[int], delay_line: DelayLine | None = None, echoes: Sequence[Echo] = ()
    ) -> None:
        self._switch_pids = switch_pids
        self._delay_line = delay_line
        self._before = self._counters()
        self._late_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sleep_and_wake, name="wake-up probe", daemon=True)
        self._thread.start()
        self._echoes = Echoes(echoes)

    def sample(self) -> Sample:
        """What happened since the last sample."""
        now, before = self._counters(), self._before
        self._before = now
        late, self._late_s = self._late_s, 0.0
        return replace(_sample(before, now, late), datapath_late_s=self._echoes.late_s())

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._echoes.close()

    def _sleep_and_wake(self) -> None:
        while not self._stop.is_set():
            due = time.monotonic() + _SLEEP_S
            time.sleep(_SLEEP_S)
            self._late_s = max(self._late_s, time.monotonic() - due)

    def _counters(self) -> _Counters:
        line = self._delay_line
        return _Counters(
            t_ns=time.monotonic_ns(),
            cores=core_times(),
            pressure_us=_pressure_us(),
            softnet=_softnet_drops(),
            thread_s={thread: s for pid in self._switch_pids for thread, s in thread_cpu_s(pid).items()},
            line_s=cpu_s([line.pid]) if line else 0.0,
            line=line.counters() if line else None,
        )


def _sample(before: _Counters, now: _Counters, wakeup_late_s: float) -> Sample:
    seconds = max((now.t_ns - before.t_ns) / 1e9, 1e-3)
    idle_s = now.cores.idle_s - before.cores.idle_s
    steal_s = now.cores.steal_s - before.cores.steal_s
    total_s = max(now.cores.total_s - before.cores.total_s, 1e-3)
    busiest_s = max((s - before.thread_s.get(thread, 0.0) for thread, s in now.thread_s.items()), default=0.0)
    pressure = None
    if now.pressure_us is not None and before.pressure_us is not None:
        pressure = (now.pressure_us - before.pressure_us) / 1e6 / seconds
    sample = Sample(
        t_ns=now.t_ns,
        cpu_busy=1 - idle_s / total_s,
        cpu_steal=steal_s / total_s,
        datapath_cpu=busiest_s / seconds,
        wakeup_late_s=wakeup_late_s,
        softnet_drops=now.softnet - before.softnet,
        memory_available=available_memory_bytes(),
        cpu_pressure=pressure,
    )
    if now.line is None or before.line is None:
        return sample
    return replace(
        sample,
        line_cpu=(now.line_s - before.line_s) / seconds,
        line_late_s=now.line.late_s(_LINE_SHARE, before.line),
        line_lost=now.line.lost - before.line.lost,
    )


@dataclass(frozen=True)
class _Limit:
    """A column of the samples that may be above `most` in a tenth of the seconds, and the words if not."""

    column: str
    most: float
    words: str


_LIMITS = (
    _Limit("cpu_busy", BUSY_LIMIT, "all cores were over {most:.0%} busy"),
    _Limit("cpu_steal", STEAL_LIMIT, "the hypervisor took over {most:.0%} of all cores"),
    _Limit("cpu_pressure", PRESSURE_LIMIT, "some process waited for a core over {most:.0%} of the time"),
    _Limit("wakeup_late_s", LATE_LIMIT_S, "a sleeping probe woke over {most:.3f} s late"),
    _Limit("datapath_late_s", DATAPATH_LATE_LIMIT_S, "a switch answered over {most:.3f} s late"),
    _Limit("line_cpu", LINE_LIMIT, "the delay line used over {most:.0%} of its core"),
    _Limit(
        "line_late_s", LINE_LATE_LIMIT_S, "one frame in a hundred left the delay line over {most:.3f} s late"
    ),
)


def judge(samples: Sequence[Sample]) -> list[str]:
    """Why a trial with these samples can't be trusted; empty where nothing speaks against it.

    Each reason says the limit, in how many of the seconds it was passed, and the most that was seen.
    """
    if not samples:
        return ["no sample of the machine was taken"]
    reasons = []
    for limit in _LIMITS:
        values = [value for sample in samples if (value := getattr(sample, limit.column)) is not None]
        over = sum(value > limit.most for value in values)
        if over > SHARE_OF_SECONDS * len(values):
            most = f"{max(values):.3f} s" if limit.column.endswith("_s") else f"{max(values):.0%}"
            words = limit.words.format(most=limit.most)
            reasons.append(f"{words} in {over} of {len(values)} seconds, at most {most}")
    drops = sum(sample.softnet_drops for sample in samples)
    if drops:
        reasons.append(f"the kernel dropped {drops} packets before any link did (softnet backlog)")
    lost = sum(sample.line_lost or 0 for sample in samples)
    if lost:
        reasons.append(f"the delay line lost {lost} frames that no link dropped")
    return reasons


def _pressure_us() -> int | None:
    """How long some process has waited for a core; None on a kernel without pressure stall information."""
    try:
        some = _PRESSURE.read_text().splitlines()[0]
    except OSError:  # also where it was built in and is off
        return None
    return int(some.rpartition("total=")[2])


def _softnet_drops() -> int:
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines)
