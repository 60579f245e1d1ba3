"""The loops over many rows, compiled by numba: sums by group, expansion onto links, percentiles, Jain's
index.

In go NumPy arrays of integer codes (hosts, groups, link directions are numbered from 0); out come arrays.
Nothing here knows names, files or units beyond those in the docstrings. Kernels that read rows add to an
array that the caller owns, so that a file is read batch by batch in bounded memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.compiled import get_num_threads, njit, prange

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


def add_pair_sums(
    out: Int64,
    src: Int32,
    dst: Int32,
    size: Int32,
    t_ns: Int64,
    group_of: Int32,
    *,
    start_ns: int = 0,
    bin_ns: int = 0,
) -> None:
    """Add the bytes of rows (src, dst, size, t_ns) to `out`, by time bin and by the groups of the two ends.

    `out` is int64[bins, groups, groups], indexed [bin, group of src, group of dst]. `src` and `dst` are host
    codes, `group_of` int32[hosts] maps them to groups. The bin of a row is (t_ns - start_ns) // bin_ns, and
    rows before the first or after the last bin count in that one, so that no byte is lost; `bin_ns` 0 puts
    all in bin 0.
    """
    _add_pair_sums(out, src, dst, size, t_ns, group_of, start_ns, bin_ns, get_num_threads())


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def _add_pair_sums(
    out: Int64,
    src: Int32,
    dst: Int32,
    size: Int32,
    t_ns: Int64,
    group_of: Int32,
    start_ns: int,
    bin_ns: int,
    threads: int,
) -> None:
    bins, groups, _ = out.shape
    rows = len(src)
    # Each thread sums into its own copy: two threads that add to one cell would lose bytes.
    parts = np.zeros((threads, bins, groups, groups), np.int64)
    for thread in prange(threads):
        for row in range(thread * rows // threads, (thread + 1) * rows // threads):
            slot = 0
            if bin_ns > 0:
                slot = min(max((t_ns[row] - start_ns) // bin_ns, 0), bins - 1)
            parts[thread, slot, group_of[src[row]], group_of[dst[row]]] += size[row]
    for thread in range(threads):
        out += parts[thread]


@njit(cache=True)  # type: ignore[untyped-decorator]
def expand_pairs(pairs: Float64, path_start: Int64, path_step: Int32, directions: int) -> Any:
    """Bytes on each link direction, from bytes between groups and the path of each pair.

    `pairs` is float64[bins, groups, groups]. The path of the pair (i, j) is the CSR row i * groups + j:
    path_step[path_start[row]:path_start[row + 1]], codes of link directions below `directions`. Returns
    float64[bins, directions]; with whole numbers below 2**53 it is exact.
    """
    bins, groups, _ = pairs.shape
    out = np.zeros((bins, directions), np.float64)
    for slot in range(bins):
        for i in range(groups):
            for j in range(groups):
                moved = pairs[slot, i, j]
                if moved != 0.0:
                    row = i * groups + j
                    for step in range(path_start[row], path_start[row + 1]):
                        out[slot, path_step[step]] += moved
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def sent_again(
    pairs: Float64,
    group_of: Int32,
    last_step: Int64,
    path_start: Int64,
    path_step: Int32,
    lost_share: Float64,
) -> Any:
    """Bytes that crossed each link direction only to be lost further on, and so were sent again.

    `pairs` is float64[hosts, hosts] of delivered bytes, `group_of` int32[hosts] the PoP of each host,
    `last_step` int64[hosts] the direction of its access line towards it, and the path of the PoPs (i, j) the
    CSR row i * groups + j as in `expand_pairs`. `lost_share` is float64[directions]: bytes lost at the queue
    of a direction for each byte that it carried. Returns float64[directions].
    """
    hosts = len(group_of)
    groups = int(np.sqrt(len(path_start) - 1))
    out = np.zeros(len(lost_share), np.float64)
    for src in range(hosts):
        for dst in range(hosts):
            moved = pairs[src, dst]
            if moved != 0.0:
                again = moved * lost_share[last_step[dst]]
                row = group_of[src] * groups + group_of[dst]
                for step in range(path_start[row + 1] - 1, path_start[row] - 1, -1):
                    direction = path_step[step]
                    out[direction] += again
                    again += moved * lost_share[direction]
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def rank_percentile(values: Float64, share: float) -> Any:
    """The nearest-rank percentile of each row: the ceil(share * n)-th smallest of its n values.

    `values` is float64[rows, n] with n >= 1, `share` in (0, 1]. This is how transit is billed: of 8640
    five-minute slots of a month the 8208th (P4P, SIGCOMM 2008, interdomain multihoming cost). Returns
    float64[rows].
    """
    rows, n = values.shape
    # 0.95 * 100 must be 95, though the product of the two floats may lie just above it.
    rank = min(max(int(np.ceil(share * n - 1e-9)), 1), n)
    out = np.empty(rows, np.float64)
    for row in range(rows):
        out[row] = np.sort(values[row])[rank - 1]
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def jain_index(values: Float64) -> float:
    """Jain's fairness index (sum x)^2 / (n sum x^2): 1 where all are equal, 1/n where one has all; nan if
    none.

    `values` is float64[n], not negative. Source: R. Jain, D. Chiu, W. Hawe, DEC TR-301, 1984.
    """
    total = 0.0
    squares = 0.0
    for value in values:
        total += value
        squares += value * value
    if squares == 0.0:
        return np.nan
    return total * total / (len(values) * squares)
