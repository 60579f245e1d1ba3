"""The file in which a client notes every block it received: fixed binary rows, read as a numpy array.

The client appends rows while it runs, so a reader may meet a torn last row: it is left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

# Raw CLOCK_MONOTONIC, the sender's IPv4 address as a number, the block's size, its piece and its place in it.
TRANSFER_DTYPE = np.dtype(
    [("t_ns", "<i8"), ("ip", "<u4"), ("bytes", "<i4"), ("piece", "<i4"), ("block", "<i4")]
)


def read_transfers(path: Path) -> npt.NDArray[np.void]:
    """The file's whole rows, shape (n,), dtype `TRANSFER_DTYPE`. Raises OSError where there is no file."""
    data = path.read_bytes()
    return np.frombuffer(data, TRANSFER_DTYPE, count=len(data) // TRANSFER_DTYPE.itemsize)
