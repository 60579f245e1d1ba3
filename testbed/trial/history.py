"""What the links of a trial were set to, and which of them were cut, over its time. Pure.

The network as it was built and the events of a trial come in, of which those of the controller count: they
say what took effect. Times are ns since the trial's start. Verdict and analysis judge by what was true at the
time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from testbed.topology.model import Direction, Network

NOTED_S = 0.5
"""A change is noted once the kernel was read back, and so up to this long after it came into force."""

_VALUES = ("rate_bps", "delay_s", "loss")
_FOR_EVER = 2**63 - 1

Settings = tuple[tuple[int, Direction], ...]
"""What a direction was set to, each with the time from which on; the first from 0 on."""


@dataclass(frozen=True)
class Move:
    """A link went down or came up at `begin_ns`; at `end_ns` all switches had the routes that follow.

    Where that was never said, `end_ns` lies beyond every trial.
    """

    link: str
    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class History:
    """`failed` has the links without which routes were found, from each time on; the first is from 0 on.

    At the times `uncounted` meters went or were set again, and with them what they had dropped since switches
    last told.
    """

    network: Network
    failed: tuple[tuple[int, frozenset[str]], ...] = ((0, frozenset()),)
    moves: tuple[Move, ...] = ()
    uncounted: tuple[int, ...] = ()
    _changed: Mapping[tuple[str, str], Settings] = field(default_factory=dict)

    def settings(self, link: str, source: str) -> Settings:
        """All that the direction of a link that leaves `source` was set to, one after the other."""
        built = self.network.link_by_id[link].direction(source)
        return self._changed.get((link, source), ((0, built),))

    def between(
        self, link: str, source: str, begin_ns: float, end_ns: float
    ) -> Iterator[tuple[float, Direction]]:
        """(seconds, direction) of each setting that was in force in a span of time."""
        settings = self.settings(link, source)
        ends = [*(at_ns for at_ns, _ in settings[1:]), _FOR_EVER]
        for (from_ns, direction), to_ns in zip(settings, ends, strict=True):
            # What came before the trial's start was as at the start.
            first = begin_ns if from_ns == 0 else max(begin_ns, from_ns)
            if min(end_ns, to_ns) > first:
                yield (min(end_ns, to_ns) - first) / 1e9, direction

    def mean_rate_bps(self, link: str, source: str, begin_ns: float, end_ns: float) -> float:
        """The rate that a direction had in the mean of a span of time; of an empty one, at its end."""
        settings = self.settings(link, source)
        if len(settings) == 1 or end_ns <= begin_ns:
            return [direction for at_ns, direction in settings if at_ns <= max(end_ns, 0)][-1].rate_bps
        parts = list(self.between(link, source, begin_ns, end_ns))
        return sum(seconds * direction.rate_bps for seconds, direction in parts) / ((end_ns - begin_ns) / 1e9)

    def most_bits(self, link: str, source: str, begin_ns: float, end_ns: float) -> float:
        """What a direction may have carried in a span of time: around a change the faster rate counts."""
        most = self.mean_rate_bps(link, source, begin_ns, end_ns) * (end_ns - begin_ns) / 1e9
        for (_, before), (at_ns, after) in pairwise(self.settings(link, source)):
            faster = after.rate_bps > before.rate_bps
            first = at_ns - NOTED_S * 1e9 if faster else at_ns
            overlap_ns = min(end_ns, first + NOTED_S * 1e9) - max(begin_ns, first)
            most += abs(after.rate_bps - before.rate_bps) * max(0.0, overlap_ns) / 1e9
        return most


def read_history(network: Network, events: Iterable[Mapping[str, Any]]) -> History:
    """What the controller's events say, which are in order of time. Links that nobody has are left out."""
    noted = [event for event in events if event.get("event") == "controller"]
    failed: list[tuple[int, frozenset[str]]] = [(0, frozenset())]
    changed: dict[tuple[str, str], list[tuple[int, Direction]]] = defaultdict(list)
    for event in noted:
        at_ns = event.get("t_ns") or 0
        if event["kind"] == "routes" and frozenset(event["failed"]) != failed[-1][1]:
            failed.append((at_ns, frozenset(event["failed"])))
        elif event["kind"] == "change" and event["link"] in network.link_by_id:
            link = network.link_by_id[event["link"]]
            for end, values in ((link.a, event["forward"]), (link.b, event["backward"])):
                settings = changed[link.id, end] or [(0, link.direction(end))]
                new = {key: values[key] for key in _VALUES if key in values}
                changed[link.id, end] = _followed(settings, at_ns, replace(settings[-1][1], **new))
    settings_of = {way: tuple(settings) for way, settings in changed.items()}
    return History(network, tuple(failed), tuple(_moves(noted)), tuple(_uncounted(noted)), settings_of)


def _followed(
    settings: Sequence[tuple[int, Direction]], at_ns: int, after: Direction
) -> list[tuple[int, Direction]]:
    """The settings with one more; where nothing is new, or it was before the start, as many as there were."""
    if after == settings[-1][1]:
        return list(settings)
    return [(0, after)] if at_ns == 0 else [*settings, (at_ns, after)]


def _moves(noted: Sequence[Mapping[str, Any]]) -> Iterator[Move]:
    for number, event in enumerate(noted):
        if event["kind"] == "link" and event.get("t_ns") is not None:
            link, is_down = event["link"], event["state"] == "down"
            followed = (
                other["t_ns"]
                for other in noted[number:]
                if other["kind"] == "routes" and (link in other["failed"]) == is_down
            )
            yield Move(link, event["t_ns"], next(followed, _FOR_EVER))


def _uncounted(noted: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    living: set[str] = set()
    for event in noted:
        if event["kind"] == "meter":
            if event["meter"] in living and event.get("t_ns") is not None:
                yield event["t_ns"]
            (living.add if event["state"] == "set" else living.discard)(event["meter"])
