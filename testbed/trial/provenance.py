"""What made a result: versions of programs and libraries, the kernel, which of these decide the outcome."""

from __future__ import annotations

import platform
from importlib import metadata

import mininet.net

import testbed
from testbed.emulation.capabilities import Engines
from testbed.emulation.probes import program


def notes(engines: Engines, scale: float = 1.0) -> list[str]:
    """What a reader of the result must know about the machine that made it."""
    found = []
    if engines.delay == "none":
        found.append(
            "Delays were not emulated: this kernel lacks what they need (see testbed doctor). "
            "Rates and queues were."
        )
    if scale != 1:
        found.append(
            f"All rates were those of the topology times {scale:g}: downloads took about {1 / scale:.3g} "
            "times as long as they would there, and bills by rate are as much smaller. Delays stayed."
        )
    return found


def versions() -> dict[str, str]:
    """The versions of the programs and libraries that take part in a trial."""
    packages = (
        "libtorrent",
        "ryu",
        "os-ken",
        "eventlet",
        "aiohttp",
        "numpy",
        "numba",
        "pyarrow",
        "pydantic",
        "Jinja2",
    )
    return {
        "testbed": testbed.__version__,
        "python": platform.python_version(),
        "mininet": mininet.net.VERSION,
        "openvswitch": program("ovs-vswitchd", "--version")().found,
        "iproute2": program("tc", "-V")().found,
        **{name: metadata.version(name) for name in packages},
    }


def deciding_environment(engines: Engines) -> dict[str, str]:
    """What of the machine decides a trial's outcome, and so is part of its id."""
    found = versions()
    return {
        **{name: found[name] for name in ("testbed", "libtorrent", "ryu", "openvswitch")},
        "kernel": platform.release(),
        "datapath": engines.datapath,
        "delay": engines.delay,
    }
