"""Where libraries may keep what they made, for a user who can write neither beside them nor at home.

In come folders; out comes a private one under the temporary folder, or None where none is needed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def home() -> Path | None:
    """The user's home; None for a user who has none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def writable(folder: Path) -> bool:
    """Whether the folder can be written to, or be made if it is not there."""
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    return os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK)


def private_folder(program: str, temporary: Path) -> Path:
    """The user's own folder for a program's cache under `temporary`, the same one each time.

    A folder that others could write to is not trusted: what lies in a cache is run.
    """
    folder = temporary / f"testbed-{program}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if ours else Path(tempfile.mkdtemp(prefix=f"testbed-{program}-", dir=temporary))
