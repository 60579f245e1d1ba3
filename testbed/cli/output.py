"""The file that a verb makes for `-o FILE`: whole or not at all, with one answer to each thing in the way.

Text or bytes come in, a file is there afterwards or a `UserError` says why not. A regular file is written
beside its name and then renamed, so that nobody reads half of it; devices and pipes are written to directly.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from stat import S_IMODE

from testbed.errors import Problem, UserError

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_output(target: Path, content: str | bytes) -> None:
    """Write a file that the user named with `-o`; one that is there is replaced and keeps its permissions.

    Raises UserError where the path is wrong, and OSError where the disk is full.
    """
    try:
        _check(target)
        _write(target, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        if error.errno in _DISK_IS_FULL:
            raise
        what = f"{target} can't be written: {error.strerror}"
        raise UserError(Problem(what, where="-o", mend="name another file: -o FILE")) from None


def _check(target: Path) -> None:
    if target.is_dir():
        raise UserError(Problem(f"{target} is a folder", where="-o", allowed="a file"))
    if not target.parent.exists():
        mend = f"mkdir -p {target.parent}"
        raise UserError(Problem(f"there is no folder {target.parent}", where="-o", mend=mend))


def _write(target: Path, data: bytes) -> None:
    if target.exists() and not target.is_file():
        target.write_bytes(data)
    else:
        # Through a symbolic link, the file that it leads to is replaced and not the link.
        _replace(Path(os.path.realpath(target)), data)


def _replace(target: Path, data: bytes) -> None:
    there = target.exists()
    # Renaming asks for the folder's permission only; a file that its owner made read-only stays.
    if there and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    part = target.with_name(f".testbed-{os.getpid()}.part")
    try:
        part.write_bytes(data)
        if there:
            part.chmod(S_IMODE(target.stat().st_mode))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
