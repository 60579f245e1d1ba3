"""Matplotlib told where it may keep its fonts and settings: `plotting.prepare()` before it is imported.

Where it can write to nothing at home, it says so in two lines on stderr and starts anew each time.
The packages that draw call this in their `__init__`, which Python runs before any module inside.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from testbed import caches


def folder(environment: Mapping[str, str], home: Path | None, temporary: Path) -> Path | None:
    """Where matplotlib keeps its files; None where it finds a place by itself.

    Its own places are those of the XDG base directory specification: a folder for settings, one for caches.
    """
    if environment.get("MPLCONFIGDIR"):
        return None
    for variable, usual in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")):
        base = environment.get(variable) or (home and home / usual)
        if not base or not caches.writable(Path(base) / "matplotlib"):
            return caches.private_folder("matplotlib", temporary)
    return None


def prepare() -> None:
    """Set MPLCONFIGDIR where matplotlib needs it."""
    own = folder(os.environ, caches.home(), Path(tempfile.gettempdir()))
    if own is not None:
        os.environ["MPLCONFIGDIR"] = str(own)
