"""The record of what a portal said: each published map of p-distances that differs from the one before.

In come snapshots, out go JSON lines, one a pair of PIDs; a trial makes its distances.parquet of them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from testbed.portal.alto.model import Matrix
from testbed.portal.site import Snapshot


class DistancesLog:
    """Appends the default map's numerical routingcost, faults included, to the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: tuple[tuple[str, ...], Matrix] | None = None

    def __call__(self, snapshot: Snapshot) -> None:
        """Write a row for each pair that has a cost, if any changed; `t_ns` is now (CLOCK_MONOTONIC)."""
        published = snapshot.published
        default = published.network_maps[0]
        pids = tuple(default.prefixes)
        costs = published.costs[default.id, published.cost_types[0].name]
        before, self._written = self._written, (pids, costs)
        if before and pids == before[0] and np.array_equal(costs, before[1], equal_nan=True):
            return
        names = [json.dumps(pid) for pid in pids]
        begin = f'{{"t_ns": {time.monotonic_ns()}, "src_pid": '
        with self._path.open("a", encoding="utf-8") as file:
            for source, row in zip(names, costs.tolist(), strict=True):
                file.writelines(
                    f'{begin}{source}, "dst_pid": {target}, "p_distance": {cost!r}}}\n'
                    for target, cost in zip(names, row, strict=True)
                    if cost == cost
                )
