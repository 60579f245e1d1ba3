"""Numba, told where it may keep what it compiled: `from testbed.compiled import njit`.

Numba caches beside the module or at home, and refuses to cache where it can write neither, as for a reader
who owns neither. It must be told before it is imported, so all modules take it from here.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def cache_folder(packages: Path, home: Path, temporary: Path) -> Path | None:
    """Where compiled code is kept; None where numba finds a place by itself.

    A folder that others could write to is not trusted: what lies in a cache is run.
    """
    if os.access(packages, os.W_OK) or os.access(home, os.W_OK):
        return None
    folder = temporary / f"testbed-numba-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if ours else Path(tempfile.mkdtemp(prefix="testbed-numba-", dir=temporary))


if "NUMBA_CACHE_DIR" not in os.environ:
    _folder = cache_folder(Path(__file__).parent, Path.home(), Path(tempfile.gettempdir()))
    if _folder is not None:
        os.environ["NUMBA_CACHE_DIR"] = str(_folder)

from numba import get_num_threads, njit, prange  # noqa: E402

__all__ = ["get_num_threads", "njit", "prange"]
