"""What switches count, read at intervals: totals that only grow, and rates over the true time between. Pure.

A switch says how long its ports exist whenever it says what they counted, so the time of a count is known by
the switch's own clock, whenever the answer comes: one that is late does not fake a rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NS_PER_S = 1_000_000_000
PORT_COUNTERS = ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets", "tx_dropped", "rx_dropped")
_TX_BYTES, _TX_PACKETS, _RX_BYTES, _RX_PACKETS, _TX_DROPPED = range(5)


class SwitchClock:
    """When a switch wrote an answer, by this machine's monotonic clock, from how old its ports are.

    The least delay of an answer seen so far is taken for none.
    """

    def __init__(self) -> None:
        self._born_ns: int | None = None
        self._age_ns = 0

    def written_ns(self, arrived_ns: int, age_ns: int) -> int:
        """When an answer was written that arrived at `arrived_ns` and says that the oldest port is so old."""
        if self._born_ns is None or age_ns < self._age_ns:  # the switch has started again
            self._born_ns = arrived_ns - age_ns
        self._age_ns = age_ns
        self._born_ns = min(self._born_ns, arrived_ns - age_ns)
        return self._born_ns + age_ns


@dataclass(frozen=True)
class Poll:
    """What one switch had counted at one time. `ports` has lists in the order of `PORT_COUNTERS`, by link.

    `pairs` has [bytes, packets] that came for hosts of the PoP, by the ISP of their sender; `unrouted` is
    packets that no rule knew; `metered` has [bytes, packets] that a throttle dropped, by its name.
    """

    monotonic_ns: int
    pop: str
    ports: Mapping[str, list[int]]
    pairs: Mapping[str, list[int]]
    unrouted: int
    metered: Mapping[str, list[int]] = field(default_factory=dict)
    age_ns: int = 0
    """How old the switch's oldest port was: intervals are between these, and know no late answer."""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "age_ns"}


@dataclass
class Totals:
    """The polls of one switch: counts of rules go on where a switch that started again counts from zero."""

    last: Poll | None = None
    before: Poll | None = None
    _raw: dict[str, int] = field(default_factory=dict)
    _base: dict[str, int] = field(default_factory=dict)
    _ages_ns: dict[str, int] = field(default_factory=dict)

    def grown(self, name: str, counted: int, age_ns: int = 0) -> int:
        """The total under a name whose rule, `age_ns` old, says `counted`; the total may be older than it."""
        if counted < self._raw.get(name, 0) or age_ns < self._ages_ns.get(name, 0):
            self._base[name] = self._base.get(name, 0) + self._raw[name]
        self._raw[name], self._ages_ns[name] = counted, age_ns
        return self._base.get(name, 0) + counted

    def add(self, poll: Poll) -> None:
        self.before, self.last = self.last, poll

    @property
    def interval_s(self) -> float:
        """The time between the last two polls; 0 where there are not two."""
        if self.last is None or self.before is None:
            return 0.0
        if self.last.age_ns > self.before.age_ns:
            return (self.last.age_ns - self.before.age_ns) / NS_PER_S
        return (self.last.monotonic_ns - self.before.monotonic_ns) / NS_PER_S

    def rate_bps(self, now: int, before: int | None) -> float | None:
        """Bytes that grew from `before` to `now` between the last two polls, as a rate; None if unknown."""
        if before is None or self.interval_s <= 0 or now < before:
            return None
        return (now - before) * 8 / self.interval_s


@dataclass(frozen=True)
class DirectionCount:
    """What left `end` over a link, and how fast: from the switch that sent it, or that a host sent it to."""

    link: str
    end: str
    bytes: int
    packets: int
    dropped: int
    rate_bps: float | None
    interval_s: float
    monotonic_ns: int

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("link", "end")}


def directions(totals: Mapping[str, Totals], host_of_link: Mapping[str, str]) -> Iterator[DirectionCount]:
    """All link directions that the switches count. `host_of_link` has the host of each access link."""
    for pop, total in totals.items():
        if total.last is None:
            continue
        for link, port in total.last.ports.items():
            before = total.before.ports.get(link) if total.before else None
            yield _direction(total, total.last, link, pop, port, before, _TX_BYTES)
            if link in host_of_link:
                yield _direction(total, total.last, link, host_of_link[link], port, before, _RX_BYTES)


def _direction(
    total: Totals, last: Poll, link: str, end: str, port: list[int], before: list[int] | None, first: int
) -> DirectionCount:
    rate = total.rate_bps(port[first], before[first] if before else None)
    dropped = port[_TX_DROPPED if first == _TX_BYTES else _TX_DROPPED + 1]
    return DirectionCount(
        link, end, port[first], port[first + 1], dropped, rate, total.interval_s, last.monotonic_ns
    )


def isp_pairs(totals: Mapping[str, Totals], isp_of_pop: Mapping[str, str]) -> list[dict[str, Any]]:
    """What came from each ISP for each ISP, over all PoPs of the receiver, where anything came."""
    found: dict[tuple[str, str], list[float]] = {}
    intervals: dict[str, list[float]] = {}
    for pop, total in totals.items():
        if total.last is None:
            continue
        intervals.setdefault(isp_of_pop[pop], []).append(total.interval_s)
        for source, (count, packets) in total.last.pairs.items():
            entry = found.setdefault((source, isp_of_pop[pop]), [0, 0, 0.0])
            before = total.before.pairs.get(source) if total.before else None
            entry[0] += count
            entry[1] += packets
            entry[2] += total.rate_bps(count, before[0] if before else None) or 0.0
    return [
        {
            "source": source,
            "destination": destination,
            "bytes": int(count),
            "packets": int(packets),
            "rate_bps": rate,
            "interval_s": _mean(intervals[destination]),
        }
        for (source, destination), (count, packets, rate) in found.items()
        if packets
    ]


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0
