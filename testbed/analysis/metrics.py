"""Every metric of one trial, from its record.

In goes a `Trial` (through `measure`, which reads its transfers and counters once into a `Measured`); out come
`Row`s, a metric's value in a scope: `all`, `isp:<name>`, `link:<id>` or `peer:<host>`. What each metric means
stands in `definitions.METRICS`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from testbed.analysis.counters import Counters, read_counters
from testbed.analysis.definitions import BILLED_SHARE, BILLING_SLOTS, METRICS
from testbed.analysis.kernels import add_pair_sums, expand_pairs, jain_index, rank_percentile, sent_again
from testbed.analysis.load import Trial, codes_of, read_transfers
from testbed.analysis.paths import Codes, directions_of, encode, paths_over_time
from testbed.analysis.wire import FRAME_HEADER_BYTES, explained_bytes, lost_bytes, residual, with_wasted
from testbed.topology.model import Direction, Link, LinkKind
from testbed.topology.routing import Paths

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


RESIDUAL_LIMIT = 0.05
"""A trial whose residual is above this is suspect: part of its traffic was not measured."""
RESIDUAL_FLOOR_BYTES = 1_000_000
"""Where less than this crosses between ISPs, what portals and the tracker say is a large part of it."""

CORE_KINDS: tuple[LinkKind, ...] = ("internal", "interdomain")


class Row(NamedTuple):
    """One value. The unit is that of `definitions.METRICS`, the tariff's currency where it bills."""

    metric: str
    scope: str
    value: float
    unit: str


@dataclass(frozen=True)
class Leechers:
    """The leechers of a trial; arrays of one length. Times and rates are nan where one did not finish."""

    hosts: tuple[str, ...]
    isps: npt.NDArray[np.str_]
    completion_s: Float64
    rate_bps: Float64

    @property
    def finished(self) -> Bool:
        return ~np.isnan(self.completion_s)


@dataclass(frozen=True)
class Period:
    """A time in which no route changed: its paths, and the payload int64[hosts, hosts] that took them."""

    paths: Paths
    pair_bytes: Int64

    @property
    def links_between(self) -> Int64:
        """int64[PoPs, PoPs]: the number of core links on each path."""
        pops = math.isqrt(len(self.paths.start) - 1)
        return np.diff(self.paths.start).reshape(pops, pops)


@dataclass(frozen=True)
class Measured:
    """What metrics are computed from.

    `periods` are those between two changes of routes, one where none changed; `active_bytes`
    float64[directions] is what switches counted while the swarm was active.
    """

    trial: Trial
    codes: Codes
    counters: Counters
    leechers: Leechers
    periods: tuple[Period, ...]
    active_bytes: Float64

    @cached_property
    def pair_bytes(self) -> Int64:
        """Payload int64[hosts, hosts], [src, dst]."""
        total: Int64 = np.sum([period.pair_bytes for period in self.periods], axis=0)
        return total

    @property
    def active_s(self) -> float:
        start_ns, end_ns = self.trial.manifest.active_ns
        return (end_ns - start_ns) / 1e9

    def links(self, *kinds: LinkKind) -> tuple[Link, ...]:
        return tuple(link for link in self.trial.network.links if link.kind in kinds)


def measure(trial: Trial) -> Measured:
    """Read a trial's transfers and counters once. Raises RunError where they contradict its topology."""
    codes = encode(trial.network)
    counters = read_counters(trial.links, codes, trial.folder)
    paths = paths_over_time(trial.network, trial.routes, trial.history.failed)
    moved = _pair_bytes(trial, codes, [at_ns for at_ns, _ in paths[1:]])
    until = counters.bytes_at(np.array(trial.manifest.active_ns, np.float64))
    return Measured(
        trial=trial,
        codes=codes,
        counters=counters,
        leechers=_leechers(trial, moved.sum(axis=(0, 1)), codes),
        periods=tuple(Period(path, pairs) for (_, path), pairs in zip(paths, moved, strict=True)),
        active_bytes=until[:, 1] - until[:, 0],
    )


def trial_rows(measured: Measured) -> list[Row]:
    """All metrics of a trial. A metric that has no meaning here (no tariff, nobody finished) has no row."""
    rows = [
        *completion_rows(measured.leechers),
        *payload_rows(measured),
        *interdomain_rows(measured),
        *utilisation_rows(measured),
        *charge_rows(measured),
        *residual_rows(measured),
    ]
    return [row for row in rows if not math.isnan(row.value)]


def fold(pairs: npt.NDArray[np.generic], groups: npt.NDArray[np.int32], count: int) -> Float64:
    """Sum a matrix [src, dst] by groups of its rows and columns: float64[count, count]."""
    member = np.zeros((count, len(groups)))
    member[groups, np.arange(len(groups))] = 1
    result: Float64 = member @ pairs.astype(np.float64) @ member.T
    return result


def completion_rows(leechers: Leechers) -> Iterator[Row]:
    """Completion times, rates, fairness: all, by ISP and by peer."""
    everyone = np.ones(len(leechers.hosts), np.bool_)
    for scope, members in (("all", everyone), *_by_isp(leechers)):
        done = members & leechers.finished
        times, rates = leechers.completion_s[done], leechers.rate_bps[done]
        yield _row("unfinished", scope, int((members & ~done).sum()))
        if len(times):
            yield _row("completion_s.mean", scope, float(times.mean()))
            yield _row("completion_s.median", scope, float(np.median(times)))
            yield _row("completion_s.p95", scope, rank_percentile(times[np.newaxis], 0.95)[0])
            yield _row("completion_s.max", scope, times.max())
            yield _row("rate_bps", scope, float(rates.mean()))
            yield _row("fairness", scope, jain_index(rates))
    for host, time, rate in zip(leechers.hosts, leechers.completion_s, leechers.rate_bps, strict=True):
        yield _row("completion_s", f"peer:{host}", time)
        yield _row("rate_bps", f"peer:{host}", rate)


def payload_rows(measured: Measured) -> Iterator[Row]:
    """Locality, links crossed per byte and what seeds sent, from the transfers; an ISP's are what it
    received.
    """
    codes, pairs = measured.codes, measured.pair_bytes
    same_isp = codes.isp_of_host[:, np.newaxis] == codes.isp_of_host
    same_pid = codes.pid_of_host[:, np.newaxis] == codes.pid_of_host
    crossings = _crossings(measured)
    everyone = np.ones(len(codes.isp_of_host), np.bool_)
    seeds = np.array([host.role == "seed" for host in measured.trial.network.hosts], np.bool_)
    by_isp = [(f"isp:{name}", codes.isp_of_host == code) for name, code in codes.isp.items()]
    for scope, members in (("all", everyone), *by_isp):
        got = pairs * members  # by receiver
        total = float(got.sum())
        pid, isp = float((got * same_pid).sum()), float((got * (same_isp & ~same_pid)).sum())
        yield _row("bytes_same_pid", scope, pid)
        yield _row("bytes_same_isp", scope, isp)
        yield _row("bytes_other_isp", scope, total - pid - isp)
        if total:
            yield _row("locality", scope, (pid + isp) / total)
            yield _row("unit_bdp", scope, float((crossings * members).sum()) / total)
        yield _row("server_bytes", scope, float(pairs[seeds & members].sum()))


def _crossings(measured: Measured) -> Int64:
    """Payload bytes times the core links that each crossed: int64[src, dst]."""
    at = np.ix_(measured.codes.pop_of_host, measured.codes.pop_of_host)
    total: Int64 = np.sum(
        [period.pair_bytes * period.links_between[at] for period in measured.periods], axis=0
    )
    return total


def interdomain_rows(measured: Measured) -> Iterator[Row]:
    """What crossed links between ISPs, from switch counters: all, by ISP and by link."""
    network, codes = measured.trial.network, measured.codes
    total = measured.counters.total(measured.counters.bytes)
    links = measured.links("interdomain")
    both = {link.id: float(total[list(directions_of(link, codes))].sum()) for link in links}
    for scope, touched in _links_by_scope(measured, links):
        yield _row("interdomain_bytes", scope, sum(both[link.id] for link in touched))
        for metric, relationship in (("transit_bytes", "customer-provider"), ("peering_bytes", "peer-peer")):
            part = [both[link.id] for link in touched if link.relationship == relationship]
            yield _row(metric, scope, sum(part))
    everything = sum(both.values())  # what leaves one ISP enters another
    yield _row("interdomain_in_bytes", "all", everything)
    yield _row("interdomain_out_bytes", "all", everything)
    for isp in network.isps:
        sent = [codes.direction[link.id, end] for link, end in _own_ends(measured, isp.name)]
        came = [codes.direction[link.id, link.other(end)] for link, end in _own_ends(measured, isp.name)]
        yield _row("interdomain_out_bytes", f"isp:{isp.name}", total[sent].sum())
        yield _row("interdomain_in_bytes", f"isp:{isp.name}", total[came].sum())
    for link in links:
        yield _row("interdomain_bytes", f"link:{link.id}", both[link.id])


def link_utilisation(measured: Measured) -> dict[str, float]:
    """Mean utilisation of the busier direction of each internal and interdomain link while the swarm was
    active, of the capacity that it had in the mean of that time.
    """
    span = measured.trial.manifest.active_ns
    return {
        link.id: max(
            _direction_between(measured, link, end, *span).utilisation(
                measured.active_bytes[code] * 8 / measured.active_s
            )
            for code, end in zip(directions_of(link, measured.codes), (link.a, link.b), strict=True)
        )
        for link in measured.links("internal", "interdomain")
    }


def _direction_between(
    measured: Measured, link: Link, source: str, begin_ns: float, end_ns: float
) -> Direction:
    """A direction of a link with the rate that it had in the mean of a span of time."""
    rate_bps = measured.trial.history.mean_rate_bps(link.id, source, begin_ns, end_ns)
    return replace(link.direction(source), rate_bps=round(rate_bps))


def utilisation_rows(measured: Measured) -> Iterator[Row]:
    """The busiest link: all, by ISP (links with an end in it), and each link's own."""
    if measured.active_s <= 0:
        return
    used = link_utilisation(measured)
    for scope, touched in _links_by_scope(measured, measured.links("internal", "interdomain")):
        if touched:
            yield _row("max_utilisation", scope, max(used[link.id] for link in touched))
    for link, value in used.items():
        yield _row("max_utilisation", f"link:{link}", value)


def charge_rows(measured: Measured) -> Iterator[Row]:
    """Each ISP's bill, and their sum where all pay in one currency. See `definitions` for how slots scale."""
    bills: dict[str, dict[str, float]] = {}
    rates_bps = billed_rates_bps(measured)
    for link in measured.links("interdomain"):
        tariff = link.tariff
        if tariff is None or tariff.kind == "none":
            continue
        mbit_s = max(rates_bps[list(directions_of(link, measured.codes))]) / 1e6
        amount = tariff.price * (mbit_s if tariff.kind == "percentile-95" else 1.0)
        payers = (link.a,) if link.relationship == "customer-provider" else (link.a, link.b)
        for pop in payers:
            bill = bills.setdefault(tariff.currency, {})
            isp = measured.trial.network.isp_of_pop(pop)
            bill[isp] = bill.get(isp, 0.0) + amount
    for currency, bill in bills.items():
        for isp, amount in bill.items():
            yield Row("charge", f"isp:{isp}", amount, f"{currency}/month")
    if len(bills) == 1:  # a sum over currencies means nothing
        ((currency, bill),) = bills.items()
        yield Row("charge", "all", sum(bill.values()), f"{currency}/month")


def billed_rates_bps(measured: Measured) -> Float64:
    """The 95th percentile of the billing slots' rates of each link direction, bit/s: float64[directions]."""
    edges = np.linspace(*measured.trial.manifest.active_ns, BILLING_SLOTS + 1)
    if measured.active_s <= 0:
        return np.zeros(len(measured.active_bytes))
    volumes = np.diff(measured.counters.bytes_at(edges), axis=1)
    result: Float64 = rank_percentile(volumes, BILLED_SHARE) * 8 * BILLING_SLOTS / measured.active_s
    return result


def residual_rows(measured: Measured) -> Iterator[Row]:
    """Counted against explained bytes (see `wire`): interdomain links together and each, and other kinds."""
    explained = expected_bytes(measured)
    counted = measured.counters.total(measured.counters.bytes)
    for metric, kind in (
        ("residual", "interdomain"),
        ("residual_internal", "internal"),
        ("residual_access", "access"),
    ):
        known = [
            code
            for link in measured.trial.network.links
            if link.kind == kind
            for code in directions_of(link, measured.codes)
            if measured.counters.counted[code]
        ]
        yield _row(metric, "all", residual(counted[known], explained[known]))
    for link in measured.links("interdomain"):
        both = list(directions_of(link, measured.codes))
        yield _row("residual", f"link:{link.id}", residual(counted[both], explained[both]))


def accounting_doubts(measured: Measured, rows: Sequence[Row]) -> list[str]:
    """Why the two sides of the accounting do not fit: what clients report and what switches counted."""
    doubts = []
    whole = {row.metric: row.value for row in rows if row.scope == "all"}
    share = whole.get("residual", 0.0)
    if share > RESIDUAL_LIMIT and whole["interdomain_bytes"] > RESIDUAL_FLOOR_BYTES:
        doubts.append(
            f"{share:.1%} of the bytes between ISPs are not explained by what clients report (limit "
            f"{RESIDUAL_LIMIT:.0%})"
        )
    uncounted = [
        link.id
        for kind in CORE_KINDS
        for link in measured.links(kind)
        if not all(measured.counters.counted[code] for code in directions_of(link, measured.codes))
    ]
    if uncounted:
        doubts.append(f"no switch counted {', '.join(uncounted)}")
    return doubts


def expected_bytes(measured: Measured) -> Float64:
    """Bytes that reported payload explains on each link direction, by the model of `wire`:
    float64[directions].

    Payload follows the routes that were in force when it came.
    """
    pairs = with_wasted(measured.pair_bytes.astype(np.float64), _by_neighbour(measured), _wasted(measured))
    by_period = [pairs * share for share in _shares(measured)]
    payload = on_directions(measured, by_period)
    return explained_bytes(
        payload=payload,
        asked=on_directions(measured, [part.T for part in by_period]),
        again=_sent_again(measured, by_period, payload),
        packets=measured.counters.total(measured.counters.packets),
    )


def _shares(measured: Measured) -> list[Float64]:
    """The part of each pair's payload that came in each period; of a pair without any, as of all payload."""
    total = measured.pair_bytes
    everything = max(int(total.sum()), 1)
    whole = len(measured.periods) == 1
    shares = []
    for period in measured.periods:
        rest = 1.0 if whole else period.pair_bytes.sum() / everything
        share = np.full(total.shape, rest)
        np.divide(period.pair_bytes, total, out=share, where=total > 0)
        shares.append(share)
    return shares


def _sent_again(measured: Measured, by_period: Sequence[Float64], payload: Float64) -> Float64:
    """Bytes that crossed a link direction and were lost further on: float64[directions]."""
    codes, counters, network = measured.codes, measured.counters, measured.trial.network
    pop = {item.id: code for code, item in enumerate(network.pops)}
    packets = counters.total(counters.packets)
    leaves = np.full(len(codes.direction), -1, np.int64)
    enters = leaves.copy()
    last_step = np.zeros(len(codes.host), np.int64)
    for link in network.links:
        for end, direction in zip((link.a, link.b), directions_of(link, codes), strict=True):
            leaves[direction] = pop.get(end, -1)
            enters[direction] = pop.get(link.other(end), -1)
        if link.kind == "access":
            last_step[codes.host[link.a]] = directions_of(link, codes)[1]
    arrived, departed = (
        np.bincount(at[at >= 0], packets[at >= 0], len(pop)).astype(np.float64) for at in (enters, leaves)
    )
    wire = counters.total(counters.bytes) - packets * FRAME_HEADER_BYTES
    segment = np.divide(wire, packets, out=np.zeros_like(wire), where=packets > 0)
    lost = lost_bytes(counters.total(counters.drops), segment, arrived, departed, leaves)
    share = np.divide(lost, payload, out=np.zeros_like(lost), where=payload > 0)
    out = np.zeros(len(codes.direction))
    for period, pairs in zip(measured.periods, by_period, strict=True):
        out += sent_again(pairs, codes.pop_of_host, last_step, period.paths.start, period.paths.step, share)
    return out


def on_directions(measured: Measured, by_period: Sequence[Float64]) -> Float64:
    """Spread bytes between hosts, float64[src, dst] of each period, over the links of the paths that they
    had: float64[directions].
    """
    codes = measured.codes
    out = np.zeros(len(codes.direction))
    for period, pairs in zip(measured.periods, by_period, strict=True):
        by_pop = fold(pairs, codes.pop_of_host, len(measured.trial.network.pops))
        out += expand_pairs(by_pop[np.newaxis], period.paths.start, period.paths.step, len(out))[0]
    pairs = np.sum(by_period, axis=0)
    sent, received = pairs.sum(axis=1), pairs.sum(axis=0)
    for link in measured.links("access"):
        up, down = directions_of(link, codes)  # `a` of an access link is the host
        out[up], out[down] = sent[codes.host[link.a]], received[codes.host[link.a]]
    return out


def _pair_bytes(trial: Trial, codes: Codes, edges_ns: Sequence[int]) -> Int64:
    """Payload between hosts before the first edge, between each two, and after the last:
    int64[edges + 1, src, dst].
    """
    hosts = len(codes.host)
    out = np.zeros((len(edges_ns) + 1, hosts, hosts), np.int64)
    each_alone = np.arange(hosts, dtype=np.int32)
    for part in read_transfers(trial.folder, codes.host):
        if not edges_ns:
            add_pair_sums(out, part.src, part.dst, part.size, part.t_ns, each_alone)
            continue
        period = np.searchsorted(np.array(edges_ns), part.t_ns, side="right")
        for number in range(len(out)):
            rows = period == number
            add_pair_sums(
                out[number : number + 1],
                part.src[rows],
                part.dst[rows],
                part.size[rows],
                part.t_ns[rows],
                each_alone,
            )
    return out


def _wasted(measured: Measured) -> Float64:
    peers = measured.trial.peers
    wasted = np.zeros(len(measured.codes.host))
    host = codes_of(peers.column("host").combine_chunks(), measured.codes.host, measured.trial.folder)
    wasted[host] = peers.column("bytes_wasted").fill_null(0).to_numpy()
    return wasted


def _by_neighbour(measured: Measured) -> Float64:
    """What receivers count by sender: float64[src, dst]."""
    table, host = measured.trial.neighbours, measured.codes.host
    out = np.zeros((len(host), len(host)))
    src, dst = (
        codes_of(table.column(name).combine_chunks(), host, measured.trial.folder)
        for name in ("neighbour", "host")
    )
    np.add.at(out, (src, dst), table.column("bytes_down").to_numpy())
    return out


def _leechers(trial: Trial, received: Int64, codes: Codes) -> Leechers:
    rows = trial.peers.filter(pc.equal(trial.peers.column("role"), "leecher"))
    host = codes_of(rows.column("host").combine_chunks(), codes.host, trial.folder)
    took_ns = pc.subtract(rows.column("completed_ns"), rows.column("joined_ns")).cast("float64")
    took_s = took_ns.fill_null(math.nan).to_numpy() / 1e9
    return Leechers(
        hosts=tuple(rows.column("host").to_pylist()),
        isps=np.array(rows.column("isp").to_pylist(), np.str_),
        completion_s=took_s,
        rate_bps=received[host] * 8 / took_s,
    )


def _by_isp(leechers: Leechers) -> Iterator[tuple[str, Bool]]:
    for isp in dict.fromkeys(leechers.isps.tolist()):
        yield f"isp:{isp}", leechers.isps == isp


def _own_ends(measured: Measured, isp: str) -> list[tuple[Link, str]]:
    """The interdomain links of an ISP, each with the end that is in it."""
    network = measured.trial.network
    return [
        (link, end)
        for link in measured.links("interdomain")
        for end in (link.a, link.b)
        if network.isp_of_pop(end) == isp
    ]


def _links_by_scope(measured: Measured, links: Sequence[Link]) -> Iterator[tuple[str, list[Link]]]:
    """`all` with all of the links, then each ISP with those that have an end in it."""
    network = measured.trial.network
    yield "all", list(links)
    for isp in network.isps:
        ends = [{network.isp_of_pop(link.a), network.isp_of_pop(link.b)} for link in links]
        yield f"isp:{isp.name}", [link for link, at in zip(links, ends, strict=True) if isp.name in at]


def _row(metric: str, scope: str, value: float) -> Row:
    return Row(metric, scope, float(value), METRICS[metric].unit)
