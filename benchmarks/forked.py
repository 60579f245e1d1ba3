"""The program of the measure `launch_200`: it has libtorrent, says that it runs, and waits to be ended."""

from __future__ import annotations

import signal
from pathlib import Path

import libtorrent


def run(_config: Path) -> int:
    """Called by the fork server in each child; there is no configuration to read."""
    print(f"runs with libtorrent {libtorrent.version}", flush=True)
    signal.pause()
    return 0
