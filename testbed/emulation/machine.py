"""This machine as the planner sees it: what a measurement of its speed holds for, its memory and its disk."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from testbed.emulation.capabilities import Engines
from testbed.emulation.journal import RUNS, downloads_base
from testbed.emulation.probes import program


def identity(engines: Engines) -> dict[str, str]:
    """What a measurement of speed holds for: with another kernel or processor it is another machine."""
    return {
        "kernel": platform.release(),
        "openvswitch": program("ovs-vswitchd", "--version")().found,
        "processor": _model(Path("/proc/cpuinfo").read_text()) or platform.machine(),
        "cores": str(os.cpu_count()),
        "datapath": engines.datapath,
        "delay": engines.delay,
    }


def free_download_bytes() -> int:
    """The room where a run keeps what peers download."""
    return shutil.disk_usage(downloads_base(RUNS.parent)).free


def available_memory_bytes() -> int:
    """Memory that programs can still have."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _model(cpuinfo: str) -> str:
    """The processor's name; empty where the kernel tells none, as on ARM."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return ""
