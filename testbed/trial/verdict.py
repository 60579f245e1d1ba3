"""Why a finished trial may not be trusted, from its own record. Pure: tables in, reasons in words out.

An empty list of reasons makes the verdict `valid`, any reason `suspect`. What the machine did meanwhile is
judged by `testbed.emulation.fidelity`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from testbed.emulation.links import needs_offload, shaping
from testbed.spec.units import FRAME_BYTES, format_rate
from testbed.topology.model import Network
from testbed.tracker.guidance import NOT_NEEDED
from testbed.trial.history import NOTED_S, History, Move

LOSS_LIMIT = 0.001
"""Of what a switch received, more than this may not be lost between its ports, nor come from nowhere."""

RATE_TOLERANCE = 1.02
"""A link that carried more than this times its rate, over the swarm's life, was not shaped."""

SECOND_TOLERANCE = 1.1
"""The same for one second between two polls, whose times are those of the answers."""

SHARE_OF_SECONDS = 0.1
"""One such second may be an answer that came late; more than this share of all seconds is not."""

REROUTE_S = 1.0
"""A cut is noted, and senders hear of it, within this time; what they send until then is lost."""

HANDFUL = 20
"""So many packets may meet no rule; of many packets `LOSS_LIMIT` may."""

_NAMED = 3
_LARGEST_SEGMENT_BYTES = 65536
_SMALLEST_FRAME_BYTES = 42  # an ARP request on a virtual link, which pads nothing


def doubts(
    network: Network,
    links: pa.Table,
    peers: pa.Table,
    transfers: pa.Table,
    content_bytes: int,
    unfinished: Sequence[str],
    timeout_s: float,
    active_ns: tuple[int, int],
    datapath: str,
    history: History | None = None,
    switches: pa.Table | None = None,
) -> list[str]:
    """The reasons that a trial's tables give; `active_ns` is the time of the swarm since the start.

    `datapath` is that of Open vSwitch, as in `testbed.emulation.capabilities.Engines`. `history` is what the
    links were set to over time; without it they stayed as they were built.
    """
    history = history or History(network)
    balances, thrown_away = _balances(links, history), _thrown_away(switches)
    return [
        *_unfinished(unfinished, network, timeout_s),
        *_corrupt(peers),
        *_incomplete_records(peers, transfers, content_bytes),
        *_lossy_switches(network, balances, thrown_away, datapath),
        *_without_rule(network, balances, thrown_away, history),
        *_fast_links(links, active_ns, history),
        *_unexplained_drops(network, links, history),
    ]


def _unfinished(unfinished: Sequence[str], network: Network, timeout_s: float) -> Iterator[str]:
    if unfinished:
        leechers = sum(host.role == "leecher" for host in network.hosts)
        yield (
            f"{len(unfinished)} of {leechers} leechers were not done within {timeout_s:.0f} s: "
            f"{_some(unfinished)}"
        )


def _corrupt(peers: pa.Table) -> Iterator[str]:
    corrupt = [row["host"] for row in peers.to_pylist() if row["hash_ok"] is False]
    if corrupt:
        yield f"downloads with a wrong hash: {_some(corrupt)}"


def _incomplete_records(peers: pa.Table, transfers: pa.Table, content_bytes: int) -> Iterator[str]:
    """Peers whose record has no end, and finished leechers whose logged blocks are not the whole content."""
    rows = peers.to_pylist()
    endless = [row["host"] for row in rows if row["left_ns"] is None]
    if endless:
        yield f"no complete record of {_some(endless)}"
    blocks = transfers.select(["dst", "piece", "block", "bytes"]).group_by(["dst", "piece", "block"])
    logged: dict[str, int] = defaultdict(int)
    for row in blocks.aggregate([("bytes", "max")]).to_pylist():
        logged[row["dst"]] += row["bytes_max"]
    partial = [
        row["host"]
        for row in rows
        if row["completed_ns"] is not None and logged[row["host"]] != content_bytes
    ]
    if partial:
        yield f"the block log of {_some(partial)} is not the whole content"


@dataclass
class _Balance:
    """What went into a switch and what came out of it."""

    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: int = 0
    refused: int = 0  # of those dropped, what no random loss explains
    cut: int = 0  # what may have been lost where a link was cut, at most
    uncounted: int = 0  # what meters may have dropped and never told, at most


@dataclass
class _ThrownAway:
    """Packets that a switch dropped by its rules."""

    unrouted: int = 0
    metered: int = 0


def _thrown_away(switches: pa.Table | None) -> Mapping[str, _ThrownAway]:
    found: dict[str, _ThrownAway] = defaultdict(_ThrownAway)
    for row in switches.to_pylist() if switches is not None else ():
        found[row["pop"]] = _ThrownAway(row["unrouted"], row["metered"])
    return found


def _lossy_switches(
    network: Network,
    balances: Mapping[str, _Balance],
    thrown_away: Mapping[str, _ThrownAway],
    datapath: str,
) -> Iterator[str]:
    """Switches that lost packets for which no link's queue answers, or sent what they had not received.

    Where a queue refuses a packet, a userspace Open vSwitch throws away what else it meant to send there in
    that moment, so as many again as full queues count are theirs too: packets that a link loses at random are
    refused to nobody. How large they were is not known: bytes lost are exact where no queue dropped any, no
    rule threw packets away, and no link was cut. A meter that goes takes its last count with it: it can't
    have dropped more than the switch received from one count to the next.
    """
    for pop in network.pops:
        found, thrown = balances[pop.id], thrown_away[pop.id]
        explained = found.dropped + thrown.unrouted + thrown.metered + found.cut + found.uncounted
        lost = found.packets_in - found.packets_out - explained
        if datapath == "netdev":
            lost -= found.refused
        lost_bytes = found.bytes_in - found.bytes_out
        most_packets, most_bytes = LOSS_LIMIT * found.packets_in, LOSS_LIMIT * found.bytes_in + FRAME_BYTES
        if lost > most_packets:
            yield (
                f"the switch of {pop.id} lost {lost} of {found.packets_in} packets beyond what queues dropped"
            )
        elif not explained and lost_bytes > most_bytes:
            yield (
                f"the switch of {pop.id} lost {lost_bytes} of {found.bytes_in} bytes, "
                "and no queue dropped any"
            )
        if -lost_bytes > most_bytes:
            yield f"the switch of {pop.id} sent {-lost_bytes} bytes more than it received, {found.bytes_in}"


def _balances(links: pa.Table, history: History) -> Mapping[str, _Balance]:
    balances: dict[str, _Balance] = defaultdict(_Balance)
    for (name, source), rows in _by_direction(links).items():
        row, link = rows[-1], history.network.link_by_id[name]
        into, out = balances[link.other(source)], balances[source]
        into.packets_in += row["packets"]
        into.bytes_in += row["bytes"]
        out.packets_out += row["packets"]
        out.bytes_out += row["bytes"]
        dropped = row["drops"] or 0
        out.dropped += dropped
        least, _ = _at_random(history, name, source, rows, dropped)
        out.refused += max(0, dropped - least)
        for before, after in pairwise(rows):
            if any(before["t_ns"] <= at_ns < after["t_ns"] for at_ns in history.uncounted):
                into.uncounted += after["packets"] - before["packets"]
        for move in history.moves:
            if move.link == name:
                # Which of the two ends counted a packet that was lost between them is not known.
                most = _lost_by(move, source, row, history)
                into.cut += most
                out.cut += most
    return balances


def _lost_by(move: Move, source: str, last: Mapping[str, Any], history: History) -> int:
    """The most packets that one direction of a link can lose when it goes down or comes up.

    That is what its rate sends until all switches have other routes and senders know, what is on the wire,
    and what waits in its queue, in packets of the size that it carries.
    """
    settings = history.settings(move.link, source)
    direction = [way for at_ns, way in settings if at_ns <= move.begin_ns][-1]
    seconds: float = (min(move.end_ns, last["t_ns"]) - move.begin_ns) / 1e9 + REROUTE_S + direction.delay_s
    wanted = shaping(direction, emulate_delay=False)
    queue_bytes = wanted.queue_bytes or (wanted.queue_packets or 0) * FRAME_BYTES
    size_bytes: float = last["bytes"] / last["packets"] if last["packets"] else FRAME_BYTES
    sent_bytes = max(0.0, seconds) * direction.rate_bps / 8 + queue_bytes
    return math.ceil(sent_bytes / size_bytes)


def _without_rule(
    network: Network,
    balances: Mapping[str, _Balance],
    thrown_away: Mapping[str, _ThrownAway],
    history: History,
) -> Iterator[str]:
    """Switches that had no rule for packets, although no link was cut that could be the reason."""
    if history.moves:
        return
    for pop in network.pops:
        unrouted, received = thrown_away[pop.id].unrouted, balances[pop.id].packets_in
        if unrouted > max(HANDFUL, LOSS_LIMIT * received):
            yield f"the switch of {pop.id} had no rule for {unrouted} of {received} packets"


def _fast_links(links: pa.Table, active_ns: tuple[int, int], history: History) -> Iterator[str]:
    """Links that carried more than their rate over the whole time, or in too many single seconds."""
    begin_ns, end_ns = active_ns
    for (name, source), rows in _by_direction(links).items():
        burst_bits = max(
            shaping(direction, emulate_delay=False).burst_bytes * 8
            for _, direction in history.settings(name, source)
        )
        # What a queue sends when the swarm has ended took its time too.
        last = next((row for row in rows if row["t_ns"] >= end_ns), rows[-1])
        until_ns = max(last["t_ns"], end_ns)
        seconds = (until_ns - begin_ns) / 1e9
        bits = last["bytes"] * 8 - burst_bits
        set_to = f"it is set to {format_rate(history.mean_rate_bps(name, source, begin_ns, until_ns))}"
        if len(history.settings(name, source)) > 1:
            set_to += " in the mean"
        if seconds > 0 and bits > RATE_TOLERANCE * history.most_bits(name, source, begin_ns, until_ns):
            yield f"link {name} carried {format_rate(bits / seconds)} from {source}, and {set_to}"
            continue
        over = [
            (bits - burst_bits) / ((after_ns - before_ns) / 1e9)
            for bits, before_ns, after_ns in _windows(rows)
            if bits - burst_bits > SECOND_TOLERANCE * history.most_bits(name, source, before_ns, after_ns)
        ]
        if len(over) > SHARE_OF_SECONDS * (len(rows) - 1):
            yield (
                f"link {name} carried up to {format_rate(max(over))} from {source} in {len(over)} of "
                f"{len(rows) - 1} seconds, and {set_to}"
            )


def _windows(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int, int]]:
    """(bits, from ns, to ns) between each two polls."""
    for before, after in pairwise(rows):
        if after["t_ns"] > before["t_ns"]:
            yield (after["bytes"] - before["bytes"]) * 8, before["t_ns"], after["t_ns"]


def _unexplained_drops(network: Network, links: pa.Table, history: History) -> Iterator[str]:
    """Links that dropped packets although their queue can't have been full, nor is the loss they are set to.

    A queue that was full is sent within seconds after it: where a link did not carry as many bytes around a
    drop as its queue holds, the drop was not the queue's. A link that is cut loses what waits in its queue.
    """
    largest_bytes = _LARGEST_SEGMENT_BYTES if needs_offload(network) else FRAME_BYTES
    for (name, source), rows in _by_direction(links).items():
        # A rate that changes may change the queue; the shortest is full first.
        full_bytes = min(
            wanted.queue_bytes or (wanted.queue_packets or 0) * _SMALLEST_FRAME_BYTES
            for _, direction in history.settings(name, source)
            for wanted in (shaping(direction, emulate_delay=False),)
        )
        moved_ns = [move.begin_ns for move in history.moves if move.link == name]
        drops = sum(
            look.dropped
            for look in _drops(rows)
            if look.carried_bytes + largest_bytes < full_bytes
            and not any(look.begin_ns <= at_ns <= look.end_ns for at_ns in moved_ns)
        )
        _, most = _at_random(history, name, source, rows, drops)
        if drops > most:
            yield f"link {name} dropped {drops} packets from {source} while its queue was not full"


def _at_random(
    history: History, link: str, source: str, rows: Sequence[Mapping[str, Any]], dropped: int
) -> tuple[int, int]:
    """How many packets a link's random losses take, at least and at most: five standard deviations.

    `dropped` are those that did not get as far as to be counted. Around a change of the loss, by as much as
    two counts are apart, the lower and the higher one hold.
    """
    settings = history.settings(link, source)
    if len(settings) == 1:
        loss, packets = settings[0][1].loss, rows[-1]["packets"] + dropped
        low = high = [(loss, packets)]
    else:
        low, high, seen_drops = [], [], 0
        for before, after in pairwise([{"t_ns": 0, "packets": 0}, *rows]):
            near_ns = max(after["t_ns"] - before["t_ns"], 0) + NOTED_S * 1e9
            losses = [
                way.loss
                for _, way in history.between(link, source, before["t_ns"] - near_ns, after["t_ns"] + near_ns)
            ] or [settings[-1][1].loss]
            packets = after["packets"] - before["packets"]
            low.append((min(losses), packets))
            now_drops = max(seen_drops, after["drops"] or 0)
            high.append((max(losses), packets + now_drops - seen_drops))
            seen_drops = now_drops
    least = sum(loss * n for loss, n in low) - 5 * math.sqrt(sum(p * (1 - p) * n for p, n in low))
    most = sum(loss * n for loss, n in high) + 5 * math.sqrt(sum(p * (1 - p) * n for p, n in high))
    return max(0, round(least)), round(most)


@dataclass(frozen=True)
class _Drops:
    """What a queue dropped between two looks at it, and what its link carried around that time."""

    dropped: int
    carried_bytes: int
    begin_ns: int
    end_ns: int


def _drops(rows: Sequence[Mapping[str, Any]]) -> Iterator[_Drops]:
    """The spans between two looks at a queue in which it dropped packets.

    Queues are read up to a second before the counters and empty into the next, so a row on both sides counts.
    """
    seen_drops, since = 0, 0
    for number, row in enumerate(rows):
        if row["drops"] is None:
            continue
        if row["drops"] > seen_drops:
            before = rows[since - 1] if since else {"bytes": 0, "t_ns": 0}
            last = rows[min(number + 1, len(rows) - 1)]
            dropped, carried = row["drops"] - seen_drops, last["bytes"] - before["bytes"]
            yield _Drops(dropped, carried, before["t_ns"], last["t_ns"])
        seen_drops, since = row["drops"], number


def _by_direction(links: pa.Table) -> Mapping[tuple[str, str], list[dict[str, Any]]]:
    """The samples of each (link, sending end), in order of time."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in links.to_pylist():
        found[row["link"], row["direction"]].append(row)
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")


@dataclass(frozen=True)
class Guided:
    """How many answers of the tracker that named peers had guidance, and why the others had none."""

    answers: int
    without: Mapping[str, int]

    @staticmethod
    def of(announces: pa.Table) -> Guided:
        """From a trial's table of announces; a policy that needs no guidance has no answers here."""
        rows = announces.select(["numwant", "guided", "reason"]).to_pylist()
        asked = [row for row in rows if row["numwant"] > 0 and row["reason"] != NOT_NEEDED]
        without = Counter(row["reason"] for row in asked if not row["guided"])
        return Guided(len(asked), dict(sorted(without.items())))

    @property
    def none(self) -> bool:
        """Whether guidance was needed and never had."""
        return 0 < self.answers == sum(self.without.values())

    def text(self) -> str:
        """Empty where every answer had guidance."""
        if not self.without:
            return ""
        why = ", ".join(f"{reason} {count}" for reason, count in self.without.items())
        return (
            f"{sum(self.without.values())} of {self.answers} answers of the tracker had no guidance ({why})"
        )
