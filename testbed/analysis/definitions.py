"""The metrics: name, unit, which way is better, and what each means, in the order in which tables show them.

`METRICS` is the one list of them; the analysis takes units from it and the report its definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

BILLING_SLOTS = 100
BILLED_SHARE = 0.95


@dataclass(frozen=True)
class Metric:
    """One metric. `better` is None where neither more nor less is better in itself."""

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher"] | None
    meaning: str


_ALL = (
    Metric(
        "completion_s.mean",
        "Completion time, mean",
        "s",
        "lower",
        "From a leecher's start to its last piece, mean over the leechers that finished.",
    ),
    Metric("completion_s.median", "Completion time, median", "s", "lower", "The same, median."),
    Metric(
        "completion_s.p95", "Completion time, 95th percentile", "s", "lower", "The same, 95th percentile."
    ),
    Metric("completion_s.max", "Completion time, last", "s", "lower", "The same, the slowest leecher."),
    Metric("unfinished", "Leechers that did not finish", "leechers", "lower", "Left out of times and rates."),
    Metric(
        "rate_bps",
        "Download rate, mean",
        "bit/s",
        "higher",
        "Payload received over completion time, mean over the leechers that finished.",
    ),
    Metric(
        "interdomain_bytes",
        "Between ISPs",
        "bytes",
        "lower",
        "Bytes that crossed links between ISPs, from switch counters with all headers, both directions, "
        "each link once. Of one ISP: on the links that it has an end of.",
    ),
    Metric(
        "interdomain_in_bytes",
        "Into the ISP",
        "bytes",
        "lower",
        "What came into the ISP over them; the sum of all ISPs is all that crossed.",
    ),
    Metric("interdomain_out_bytes", "Out of the ISP", "bytes", "lower", "What left the ISP over them."),
    Metric("transit_bytes", "On transit links", "bytes", "lower", "The same, customer-provider links."),
    Metric("peering_bytes", "On peering links", "bytes", "lower", "The same, peer-peer links."),
    Metric(
        "locality",
        "Locality",
        "share",
        "higher",
        "Share of the payload that came from a sender of the same ISP, the same PID included.",
    ),
    Metric("bytes_same_pid", "Payload from the same PID", "bytes", None, "As clients report it."),
    Metric(
        "bytes_same_isp",
        "Payload from the same ISP",
        "bytes",
        None,
        "From another PID of the receiver's ISP.",
    ),
    Metric("bytes_other_isp", "Payload from other ISPs", "bytes", None, "The three sum to all payload."),
    Metric(
        "unit_bdp",
        "Links crossed per byte",
        "links",
        "lower",
        "Mean number of internal and interdomain links that a payload byte crossed (unit bandwidth-distance "
        "product). Of one ISP: of the payload that its leechers received.",
    ),
    Metric(
        "max_utilisation",
        "Busiest link",
        "share",
        "lower",
        "Highest mean utilisation of a direction of an internal or interdomain link while the swarm was "
        "active.",
    ),
    Metric(
        "charge",
        "Monthly bill for traffic between ISPs",
        "per month",
        "lower",
        "What the ISP would pay if a month were like this trial: the time while the swarm was active is cut "
        f"into {BILLING_SLOTS} slots (they stand for the 8640 five-minute slots of a month), the rate of the "
        "95th percentile slot is taken for each direction of each charged link, and the higher one is billed "
        "at the tariff's price per Mbit/s; flat tariffs are added as they are. The customer pays for "
        "transit, both sides for a charged peering link.",
    ),
    Metric("server_bytes", "Payload from seeds", "bytes", "lower", "Payload that the seeds sent."),
    Metric(
        "fairness",
        "Fairness",
        "index",
        "higher",
        "Jain's index over the rates of the leechers that finished: 1 where all are equal.",
    ),
    Metric(
        "residual",
        "Residual",
        "share",
        None,
        "Switch counters of the links between ISPs against what the clients report, after headers and "
        "protocol messages: the share of counted bytes that is not explained. Large means that something was "
        "not measured.",
    ),
    Metric("residual_internal", "Residual, internal links", "share", None, "The same on links inside ISPs."),
    Metric("residual_access", "Residual, access links", "share", None, "The same on access links."),
    Metric("completion_s", "Completion time", "s", "lower", "Of one peer (scope peer:<host>)."),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
