"""What the report draws of one trial and no metric holds: completions, the ISP matrix, links over time.

In goes a `Measured`; out comes a small `TrialDetails` that no longer refers to the trial's tables, so that a
study of many trials fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.analysis.load import Manifest
from testbed.analysis.metrics import Measured, fold, link_utilisation
from testbed.analysis.paths import directions_of
from testbed.topology.model import Link, Network

Float64 = npt.NDArray[np.float64]

SERIES_POINTS = 120  # as many as a plot of a few hundred pixels can show
_TIMES = ("asked_ns", "effective_ns")
SHORTEST_STEP_S = 1.0  # switches are read each second: a finer series would show the sampling


@dataclass(frozen=True)
class Changed:
    """An entry of the experiment's `events:` and what became of it; times in seconds since the trial's start.

    `asked_s` is None where it was not reached, `effective_s` also where it failed, `error` then says why.
    """

    number: int
    text: str
    asked_s: float | None = None
    effective_s: float | None = None
    error: str = ""


@dataclass(frozen=True)
class TrialDetails:
    """Of one trial: sorted completions of leechers that finished (seconds), how many leechers there were,
    payload bytes between ISPs float64[from, to] in the network's order, mean utilisation of each core link
    while the swarm was active, and the utilisation of interdomain links' busier direction over time, at
    `series_s` since the swarm's start, which was at `start_s`; what was changed meanwhile.
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
    start_s: float = 0.0
    changes: tuple[Changed, ...] = ()


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
        start_s=trial.manifest.active_ns[0] / 1e9,
        changes=tuple(sorted(_changes(trial.events), key=lambda change: change.number)),
    )


def _changes(events: Sequence[Mapping[str, Any]]) -> Iterator[Changed]:
    for event in events:
        if event.get("event") in ("change", "change_failed", "change_not_reached"):
            asked, effective = (event[key] / 1e9 if key in event else None for key in _TIMES)
            yield Changed(event["number"], event["text"], asked, effective, event.get("error", ""))


def _utilisation_series(measured: Measured) -> tuple[Float64, dict[str, Float64]]:
    """Middles of the time steps (seconds) and each interdomain link's utilisation in them."""
    steps = min(SERIES_POINTS, int(measured.active_s / SHORTEST_STEP_S))
    if steps < 1:
        return np.zeros(0), {}
    edges_ns = np.linspace(*measured.trial.manifest.active_ns, steps + 1).astype(np.float64)
    step_s = measured.active_s / steps
    rates_bps = np.diff(measured.counters.bytes_at(edges_ns), axis=1) * 8 / step_s
    series: dict[str, Float64] = {}
    for link in measured.links("interdomain"):
        both = [
            _utilisation(measured, link, end, rates_bps[code], edges_ns)
            for code, end in zip(directions_of(link, measured.codes), (link.a, link.b), strict=True)
        ]
        series[link.id] = np.maximum(*both)
    return (np.arange(steps, dtype=np.float64) + 0.5) * step_s, series


def _utilisation(
    measured: Measured, link: Link, end: str, carried_bps: Float64, edges_ns: Float64
) -> Float64:
    """The utilisation of a direction in each step, of the capacity that it had in the mean of that step.

    What was carried is spread evenly between two counts, and so is the capacity: a rate that changes between
    them would else make a peak that was not there.
    """
    rate_bps = _mean_rates_bps(measured, link, end, edges_ns)
    background_bps = link.direction(end).background_bps
    out: Float64 = (carried_bps + background_bps) / (rate_bps + background_bps)
    return out


def _mean_rates_bps(measured: Measured, link: Link, end: str, edges_ns: Float64) -> Float64:
    history = measured.trial.history
    if len(history.settings(link.id, end)) == 1:
        return np.full(len(edges_ns) - 1, float(link.direction(end).rate_bps))
    counted_ns = measured.counters.times_of(measured.codes.direction[link.id, end])
    times_ns = np.union1d(counted_ns, [0, edges_ns[-1]]).astype(np.float64)
    could_bits = [
        history.mean_rate_bps(link.id, end, before, after) * (after - before) / 1e9
        for before, after in pairwise(times_ns)
    ]
    rates: Float64 = np.diff(np.interp(edges_ns, times_ns, np.cumsum([0.0, *could_bits])))
    return rates / (np.diff(edges_ns) / 1e9)
