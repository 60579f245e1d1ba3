"""The switches' side of the accounting: byte and packet counters of every link direction over time.

In goes the links table of a trial; out comes a `Counters`, which answers for totals and for any moment
between two samples. Codes of directions are those of `paths.Codes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from testbed.analysis.load import codes_of
from testbed.analysis.paths import Codes

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counters:
    """Samples of each direction, sorted by time: those of direction d are rows start[d] to start[d + 1]."""

    start: Int64
    t_ns: Int64
    bytes: Int64
    packets: Int64
    drops: Int64

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """bool[directions]: whether anything counted this direction."""
        return np.diff(self.start) > 0

    def total(self, values: Int64) -> Float64:
        """float64[directions]: the last sample of `bytes`, `packets` or `drops`, 0 where there is none."""
        out = np.zeros(len(self.start) - 1)
        out[self.counted] = values[self.start[1:][self.counted] - 1]
        return out

    def times_of(self, direction: int) -> Int64:
        """When a direction was counted, ns since the trial's start."""
        return self.t_ns[self.start[direction] : self.start[direction + 1]]

    def bytes_at(self, moments_ns: npt.NDArray[Any]) -> Float64:
        """float64[directions, moments]: bytes sent until each moment, linear between two samples."""
        out = np.zeros((len(self.start) - 1, len(moments_ns)))
        for direction in np.flatnonzero(self.counted):
            rows = slice(self.start[direction], self.start[direction + 1])
            out[direction] = np.interp(moments_ns, self.t_ns[rows], self.bytes[rows])
        return out


def read_counters(links: pa.Table, codes: Codes, folder: Path) -> Counters:
    """Sort a trial's links table by direction and time. Raises RunError where it names an unknown link."""
    link_code = {link: code // 2 for (link, _), code in codes.direction.items()}
    link_ids = links.column("link").combine_chunks()
    ends = links.column("direction").combine_chunks()
    link = codes_of(link_ids, link_code, folder)
    end_names = sorted({end for _, end in codes.direction})
    end_code = {name: code for code, name in enumerate(end_names)}
    # first_end[i] is the code of the end `a` of link i, whose direction has the even code
    first_end = np.zeros(len(link_code), np.int32)
    for (_, end), code in codes.direction.items():
        if code % 2 == 0:
            first_end[code // 2] = end_code[end]
    direction = 2 * link + (codes_of(ends, end_code, folder) != first_end[link])
    t_ns = links.column("t_ns").to_numpy()
    order = np.lexsort((t_ns, direction))
    return Counters(
        start=np.searchsorted(direction[order], np.arange(len(codes.direction) + 1)),
        t_ns=t_ns[order],
        bytes=links.column("bytes").to_numpy()[order],
        packets=links.column("packets").to_numpy()[order],
        # Null where a queue was not read at that moment; counters only grow, so the last is what counts.
        drops=links.column("drops").fill_null(0).to_numpy()[order],
    )
