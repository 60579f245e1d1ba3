"""Why a finished trial may not be trusted, from its own record. Pure: tables in, reasons in words out.

An empty list of reasons makes the verdict `valid`, any reason `suspect`. What the machine did meanwhile is
judged by `testbed.emulation.fidelity`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from testbed.emulation.links import needs_offload, shaping
from testbed.spec.units import FRAME_BYTES, format_rate
from testbed.topology.model import Network

LOSS_LIMIT = 0.001
"""Of what a switch received, more than this may not be lost between its ports, nor come from nowhere."""

RATE_TOLERANCE = 1.02
"""A link that carried more than this times its rate, over the swarm's life, was not shaped."""

SECOND_TOLERANCE = 1.1
"""The same for one second between two polls, whose times are those of the answers."""

SHARE_OF_SECONDS = 0.1
"""One such second may be an answer that came late; more than this share of all seconds is not."""

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
) -> list[str]:
    """The reasons that a trial's tables give; `active_ns` is the time of the swarm since the start.

    `datapath` is that of Open vSwitch, as in `testbed.emulation.capabilities.Engines`.
    """
    return [
        *_unfinished(unfinished, network, timeout_s),
        *_corrupt(peers),
        *_incomplete_records(peers, transfers, content_bytes),
        *_lossy_switches(network, links, datapath),
        *_fast_links(network, links, active_ns),
        *_unexplained_drops(network, links),
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


def _lossy_switches(network: Network, links: pa.Table, datapath: str) -> Iterator[str]:
    """Switches that lost packets for which no link's queue answers, or sent what they had not received.

    Where a queue refuses a packet, a userspace Open vSwitch throws away what else it meant to send there in
    that moment, so as many again as full queues count are theirs too: packets that a link loses at random are
    refused to nobody. How large they were is not known: bytes lost are exact where no queue dropped any.
    """
    balances: dict[str, _Balance] = defaultdict(_Balance)
    for row in _last_rows(links):
        into = balances[network.link_by_id[row["link"]].other(row["direction"])]
        into.packets_in += row["packets"]
        into.bytes_in += row["bytes"]
        out = balances[row["direction"]]
        out.packets_out += row["packets"]
        out.bytes_out += row["bytes"]
        dropped = row["drops"] or 0
        out.dropped += dropped
        loss = network.link_by_id[row["link"]].direction(row["direction"]).loss
        least, _ = _at_random(loss, row["packets"] + dropped)
        out.refused += max(0, dropped - least)
    for pop in network.pops:
        found = balances[pop.id]
        lost = found.packets_in - found.packets_out - found.dropped
        if datapath == "netdev":
            lost -= found.refused
        lost_bytes = found.bytes_in - found.bytes_out
        most_packets, most_bytes = LOSS_LIMIT * found.packets_in, LOSS_LIMIT * found.bytes_in + FRAME_BYTES
        if lost > most_packets:
            yield (
                f"the switch of {pop.id} lost {lost} of {found.packets_in} packets beyond what queues dropped"
            )
        elif not found.dropped and lost_bytes > most_bytes:
            yield (
                f"the switch of {pop.id} lost {lost_bytes} of {found.bytes_in} bytes, "
                "and no queue dropped any"
            )
        if -lost_bytes > most_bytes:
            yield f"the switch of {pop.id} sent {-lost_bytes} bytes more than it received, {found.bytes_in}"


def _fast_links(network: Network, links: pa.Table, active_ns: tuple[int, int]) -> Iterator[str]:
    """Links that carried more than their rate over the whole time, or in too many single seconds."""
    begin_ns, end_ns = active_ns
    for (name, source), rows in _by_direction(links).items():
        direction = network.link_by_id[name].direction(source)
        limit = direction.rate_bps
        burst_bits = shaping(direction, emulate_delay=False).burst_bytes * 8
        # What a queue sends when the swarm has ended took its time too.
        last = next((row for row in rows if row["t_ns"] >= end_ns), rows[-1])
        seconds = (max(last["t_ns"], end_ns) - begin_ns) / 1e9
        rate = (last["bytes"] * 8 - burst_bits) / seconds if seconds > 0 else 0.0
        if rate > RATE_TOLERANCE * limit:
            yield (
                f"link {name} carried {format_rate(rate)} from {source}, and it is set to "
                f"{format_rate(limit)}"
            )
            continue
        over = [
            (bits - burst_bits) / seconds
            for bits, seconds in _windows(rows)
            if bits - burst_bits > SECOND_TOLERANCE * limit * seconds
        ]
        if len(over) > SHARE_OF_SECONDS * (len(rows) - 1):
            yield (
                f"link {name} carried up to {format_rate(max(over))} from {source} in {len(over)} of "
                f"{len(rows) - 1} seconds, and it is set to {format_rate(limit)}"
            )


def _windows(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    """(bits, seconds) between each two polls."""
    for before, after in pairwise(rows):
        if after["t_ns"] > before["t_ns"]:
            yield (after["bytes"] - before["bytes"]) * 8, (after["t_ns"] - before["t_ns"]) / 1e9


def _unexplained_drops(network: Network, links: pa.Table) -> Iterator[str]:
    """Links that dropped packets although their queue can't have been full, nor is the loss they are set to.

    A queue that was full is sent within seconds after it: where a link did not carry as many bytes around a
    drop as its queue holds, the drop was not the queue's.
    """
    largest_bytes = _LARGEST_SEGMENT_BYTES if needs_offload(network) else FRAME_BYTES
    for (name, source), rows in _by_direction(links).items():
        direction = network.link_by_id[name].direction(source)
        wanted = shaping(direction, emulate_delay=False)
        full_bytes = wanted.queue_bytes or (wanted.queue_packets or 0) * _SMALLEST_FRAME_BYTES
        drops = sum(dropped for dropped, carried in _drops(rows) if carried + largest_bytes < full_bytes)
        _, most = _at_random(direction.loss, rows[-1]["packets"] + drops)
        if drops > most:
            yield f"link {name} dropped {drops} packets from {source} while its queue was not full"


def _at_random(loss: float, packets: int) -> tuple[int, int]:
    """How many of so many packets a random loss takes, at least and at most: five standard deviations."""
    mean, off = loss * packets, 5 * math.sqrt(loss * (1 - loss) * packets)
    return max(0, round(mean - off)), round(mean + off)


def _drops(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """(packets dropped, bytes carried around that time), for each span between two looks at a queue.

    Queues are read up to a second before the counters and empty into the next, so a row on both sides counts.
    """
    seen_drops, since = 0, 0
    for number, row in enumerate(rows):
        if row["drops"] is None:
            continue
        if row["drops"] > seen_drops:
            before = rows[since - 1]["bytes"] if since else 0
            yield row["drops"] - seen_drops, rows[min(number + 1, len(rows) - 1)]["bytes"] - before
        seen_drops, since = row["drops"], number


def _last_rows(links: pa.Table) -> list[dict[str, Any]]:
    """The last sample of each link direction; counters only grow."""
    return [rows[-1] for rows in _by_direction(links).values()]


def _by_direction(links: pa.Table) -> Mapping[tuple[str, str], list[dict[str, Any]]]:
    """The samples of each (link, sending end), in order of time."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in links.to_pylist():
        found[row["link"], row["direction"]].append(row)
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
