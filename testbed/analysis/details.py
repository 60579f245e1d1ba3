"""What the report draws of one trial and no metric holds: completions, the ISP matrix, links over time.

In goes a `Measured`; out comes a small `TrialDetails` that no longer refers to the trial's tables, so that a
study of many trials fits in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.analysis.load import Manifest
from testbed.analysis.metrics import Measured, fold, link_utilisation
from testbed.analysis.paths import directions_of
from testbed.topology.model import Network

Float64 = npt.NDArray[np.float64]

SERIES_POINTS = 120  # as many as a plot of a few hundred pixels can show
SHORTEST_STEP_S = 1.0  # switches are read each second: a finer series would show the sampling


@dataclass(frozen=True)
class TrialDetails:
    """Of one trial: sorted completions of leechers that finished (seconds), how many leechers there were,
    payload bytes between ISPs float64[from, to] in the network's order, mean utilisation of each core link
    while the swarm was active, and the utilisation of interdomain links' busier direction over time, at
    `series_s` since the swarm's start.
    """

    manifest: Manifest
    network: Network
    completions_s: Float64
    leechers: int
    isp_bytes: Float64
    utilisation: Mapping[str, float]
    series_s: Float64
    series: Mapping[str, Float64]
    events: tuple[Mapping[str, Any], ...]


def trial_details(measured: Measured) -> TrialDetails:
    """Take out of a measured trial what the report draws."""
    trial, leechers = measured.trial, measured.leechers
    series_s, series = _utilisation_series(measured)
    return TrialDetails(
        manifest=trial.manifest,
        network=trial.network,
        completions_s=np.sort(leechers.completion_s[leechers.finished]),
        leechers=len(leechers.hosts),
        isp_bytes=fold(measured.pair_bytes, measured.codes.isp_of_host, len(trial.network.isps)),
        utilisation=link_utilisation(measured) if measured.active_s > 0 else {},
        series_s=series_s,
        series=series,
        events=trial.events,
    )


def _utilisation_series(measured: Measured) -> tuple[Float64, dict[str, Float64]]:
    """Middles of the time steps (seconds) and each interdomain link's utilisation in them."""
    steps = min(SERIES_POINTS, int(measured.active_s / SHORTEST_STEP_S))
    if steps < 1:
        return np.zeros(0), {}
    edges_ns = np.linspace(*measured.trial.manifest.active_ns, steps + 1)
    step_s = measured.active_s / steps
    rates_bps = np.diff(measured.counters.bytes_at(edges_ns), axis=1) * 8 / step_s
    series: dict[str, Float64] = {}
    for link in measured.links("interdomain"):
        forward, backward = directions_of(link, measured.codes)
        series[link.id] = np.maximum(
            link.forward.utilisation(rates_bps[forward]), link.backward.utilisation(rates_bps[backward])
        )
    return (np.arange(steps, dtype=np.float64) + 0.5) * step_s, series
