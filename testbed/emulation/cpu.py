"""What the kernel tells of processes: ids come in, seconds of one core and command lines go out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROCESSES = Path("/proc")


@dataclass(frozen=True)
class CoreTimes:
    """What all cores together did since the machine started, in seconds.

    `busy_s` is what ran here, interrupts included; `steal_s` is what a hypervisor kept for others.
    """

    busy_s: float
    steal_s: float
    idle_s: float

    @property
    def total_s(self) -> float:
        return self.busy_s + self.steal_s + self.idle_s


def core_times() -> CoreTimes:
    fields = [int(field) for field in (_PROCESSES / "stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, idle, iowait, irq, softirq, steal = (field / _TICKS_PER_S for field in fields[:8])
    return CoreTimes(user + nice + system + irq + softirq, steal, idle + iowait)


def cpu_s(pids: Iterable[int]) -> float:
    """The processor time of these processes with all their threads; nothing for one that has ended."""
    return sum(_used_s(_PROCESSES / str(pid)) or 0.0 for pid in pids)


def own_cpu_s() -> float:
    """The processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def command_line(pid: int) -> list[str]:
    """A process's program and arguments; empty where it has ended."""
    try:
        return (_PROCESSES / str(pid) / "cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def thread_cpu_s(pid: int) -> dict[int, float]:
    """The processor time of each thread (id) of a process; empty where it has ended."""
    try:
        tasks = list((_PROCESSES / str(pid) / "task").iterdir())
    except OSError:
        return {}
    times = {int(task.name): _used_s(task) for task in tasks}
    return {thread: used_s for thread, used_s in times.items() if used_s is not None}


def _used_s(process: Path) -> float | None:
    """What a process or thread has used, by its folder in /proc; None where it has ended."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
