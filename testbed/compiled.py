"""Numba, told where it may keep what it compiled: `from testbed.compiled import njit`.

Numba caches beside the module or at home, and refuses to cache where it can write neither, as for a reader
who owns neither. It must be told before it is imported, so all modules take it from here.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from testbed import caches


def cache_folder(packages: Path, home: Path | None, temporary: Path) -> Path | None:
    """Where compiled code is kept; None where numba finds a place by itself."""
    if caches.writable(packages) or (home is not None and caches.writable(home)):
        return None
    return caches.private_folder("numba", temporary)


if "NUMBA_CACHE_DIR" not in os.environ:
    _folder = cache_folder(Path(__file__).parent, caches.home(), Path(tempfile.gettempdir()))
    if _folder is not None:
        os.environ["NUMBA_CACHE_DIR"] = str(_folder)

from numba import get_num_threads, njit, prange  # noqa: E402

__all__ = ["get_num_threads", "njit", "prange"]
